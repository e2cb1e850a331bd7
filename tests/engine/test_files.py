"""Files through the engine."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import av
import numpy as np
import pytest

from tests.engine.models import Fixed, Pitch
from tests.support import Samples, frames, noise, silence
from voxgender.engine import Engine
from voxgender.engine.files import analyze_file, classify_file
from voxgender.errors import AudioError
from voxgender.inference.classifier import Classifier
from voxgender.peer.voices import WOMAN, dialogue, speak
from voxgender.protocol import Change, Message, Result, Summary


def write(path: Path, audio: Samples) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=16_000, layout="mono")
        for made in frames(audio):
            container.mux(stream.encode(made))
        container.mux(stream.encode(None))
    return path


def results_of(messages: Sequence[Message]) -> list[Result]:
    return [message for message in messages if isinstance(message, Result)]


def test_hops_of_a_file_are_of_the_engine_s_length_exactly(
    make: Callable[[Classifier | None], Engine], tmp_path: Path
) -> None:
    messages = list(analyze_file(make(None), write(tmp_path / "noise.wav", noise(3.0))))
    results = results_of(messages)
    assert [round(result.end - result.start, 6) for result in results[:-1]] == [0.192] * 15
    assert results[-1].end == pytest.approx(3.0)
    assert isinstance(messages[-1], Summary)
    assert {result.latency_ms for result in results} == {0.0}


def test_a_conversation_in_a_file_is_told_as_it_was_spoken(
    make: Callable[[Classifier | None], Engine], tmp_path: Path
) -> None:
    messages = list(analyze_file(make(Pitch()), write(tmp_path / "talk.wav", dialogue().samples)))
    assert [(change.from_, change.to) for change in messages if isinstance(change, Change)] == [
        ("no_speech", "male"),
        ("male", "female"),
    ]


def test_a_file_is_judged_without_a_thread_and_all_of_its_windows_are(
    make: Callable[[Classifier | None], Engine], tmp_path: Path
) -> None:
    """Twelve seconds at once are no call that has fallen behind."""
    engine = make(Pitch())
    results = results_of(list(analyze_file(engine, write(tmp_path / "woman.wav", speak(WOMAN, 12.0)))))
    assert sum(result.scores is not None for result in results) > 55
    assert engine._thread is None


def test_a_file_is_judged_as_a_whole(make: Callable[[Classifier | None], Engine], tmp_path: Path) -> None:
    classification = classify_file(make(Pitch()), write(tmp_path / "woman.wav", speak(WOMAN, 4.0)))
    assert classification.label == "female"
    assert classification.confidence > 0.75
    assert classification.speech_s == pytest.approx(4.0, abs=0.6)
    assert str(classification).startswith("female (")
    plain = json.loads(json.dumps(classification.to_dict()))
    assert set(plain) == {"label", "confidence", "speech_seconds", "segments"}
    assert plain["segments"] == [
        {"start": round(s.start, 3), "end": round(s.end, 3), "label": "female", "confidence": round(s.confidence, 4)}
        for s in classification.segments
    ]


@pytest.mark.parametrize("audio", [silence(3), noise(3), noise(3, level=0.0005)])
def test_a_file_with_nobody_in_it_has_no_label(
    make: Callable[[Classifier | None], Engine], tmp_path: Path, audio: Samples
) -> None:
    model = Pitch()
    classification = classify_file(make(model), write(tmp_path / "nobody.wav", audio))
    assert classification.to_dict() == {"label": None, "confidence": 0.0, "speech_seconds": 0.0, "segments": []}
    assert str(classification) == "no speech"
    assert {result.label for result in classification.results} == {"no_speech"}
    assert model.heard == []


def test_noise_that_sounds_like_speech_has_no_label_where_the_model_knows_better(
    make: Callable[[Classifier | None], Engine], tmp_path: Path
) -> None:
    model = Fixed(("male", "female", "other"), (0.05, 0.05, 0.9))
    classification = classify_file(make(model), write(tmp_path / "parrot.wav", speak(WOMAN, 3.0)))
    assert classification.label is None
    assert classification.segments == ()


def test_a_word_of_a_third_of_a_second_is_judged(make: Callable[[Classifier | None], Engine], tmp_path: Path) -> None:
    word = np.concatenate([silence(1.0), speak(WOMAN, 0.4), silence(1.0)]).astype(np.float32)
    assert classify_file(make(Pitch()), write(tmp_path / "word.wav", word)).label == "female"


def test_a_file_that_is_none_is_refused(make: Callable[[Classifier | None], Engine], tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="no such file"):
        classify_file(make(None), tmp_path / "nothing.wav")
    with pytest.raises(AudioError, match="no such file"):
        list(analyze_file(make(None), tmp_path / "nothing.wav"))
