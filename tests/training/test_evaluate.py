import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from voxgender.engine import Engine
from voxgender.errors import AudioError
from voxgender.inference.classifier import Probabilities, Windows
from voxgender.training.evaluate import ALL, evaluate, tabulated
from voxgender.training.manifest import Clip, read_manifest


class ByPitch:
    """Calls a voice a man's where its autocorrelation peaks below 160 Hz; right about synthesised voices."""

    name = "pitch"
    labels: tuple[str, ...] = ("male", "female")
    min_window_ms = 500

    def __call__(self, windows: Windows) -> Probabilities:
        spectra = np.abs(np.fft.rfft(windows, 2 * windows.shape[1])) ** 2
        alike = np.fft.irfft(spectra)[:, 16_000 // 300 : 16_000 // 75]
        hz = 16_000 / (16_000 // 300 + alike.argmax(axis=1))
        male = np.where(hz < 160, 0.95, 0.05)
        return np.stack([male, 1 - male], axis=1).astype(np.float32)


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    engine = Engine(ByPitch())
    yield engine
    engine.close()


def test_figures_are_told_per_corpus_and_in_all(corpus: Path, engine: Engine) -> None:
    rows = tabulated(evaluate(read_manifest(corpus), engine))
    assert [(row.corpus, row.label) for row in rows] == [
        ("babble", "male"),
        ("babble", "female"),
        ("babble", "voices"),
        ("hiss", "noise"),
        (ALL, "male"),
        (ALL, "female"),
        (ALL, "voices"),
        (ALL, "noise"),
    ]
    voices, noise = rows[2], rows[3]
    assert (voices.files, voices.file_accuracy) == (8, 1.0)
    assert voices.window_accuracy is not None
    assert voices.window_accuracy > 0.9
    assert voices.windows > 40
    assert voices.seconds == pytest.approx(8 * 2.5, abs=0.2)
    assert (noise.file_accuracy, noise.no_speech_files, noise.gendered_share) == (None, 4, 0.0)


def test_a_wrong_label_is_counted_as_wrong(corpus: Path, engine: Engine) -> None:
    man = corpus.parent / "male0.wav"
    (row, *_) = tabulated(evaluate([Clip(man, "female")], engine))
    assert row.file_accuracy == 0
    assert row.window_accuracy is not None
    assert row.window_accuracy < 0.2


def test_time_given_a_gender_where_nobody_speaks_is_counted(corpus: Path, engine: Engine) -> None:
    man = corpus.parent / "male0.wav"
    (row, *_) = tabulated(evaluate([Clip(man, "noise")], engine))
    assert row.label == "noise"
    assert 0.3 < row.gendered_share <= 1


def test_human_sounds_are_counted_apart(corpus: Path, engine: Engine) -> None:
    hiss = corpus.parent / "noise0.wav"
    rows = tabulated(evaluate([Clip(hiss, "human-sound"), Clip(hiss, "noise")], engine))
    assert [row.label for row in rows if row.corpus == ALL] == ["noise", "human-sound"]


def test_clips_without_a_label_are_passed_over(corpus: Path, engine: Engine) -> None:
    assert tabulated(evaluate([Clip(corpus.parent / "male0.wav", "")], engine)) == []


def test_figures_are_plain_for_json(corpus: Path, engine: Engine) -> None:
    (row, *_) = tabulated(evaluate([Clip(corpus.parent / "male0.wav", "male", corpus="mine")], engine))
    plain = row.to_dict()
    assert plain["corpus"] == "mine"
    assert all(value is None or isinstance(value, str) or math.isfinite(value) for value in plain.values())


def test_a_recording_that_cannot_be_read_is_an_error(tmp_path: Path, engine: Engine) -> None:
    (tmp_path / "text.wav").write_text("no audio")
    with pytest.raises(AudioError, match=r"text\.wav"):
        list(evaluate([Clip(tmp_path / "text.wav", "male")], engine))
