from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from voxgender.errors import SettingsError
from voxgender.peer.vocaltract import Speaker
from voxgender.peer.voices import MAN, WOMAN, speak
from voxgender.training import encoder
from voxgender.training.embeddings import embeddings
from voxgender.training.encoder import FRAME, SIZE, WINDOW, mel_power, nearest_windows, pretrained, speech_windows
from voxgender.training.manifest import Clip, ClipLabel, read_manifest
from voxgender.training.preparation import PreparationOptions, prepare
from voxgender.training.teacher import Teacher, fit, mean_vector

Vectors = npt.NDArray[np.float32]


def people(
    rng: np.random.Generator, label: ClipLabel, voice: ClipLabel, speakers: int, *, name: str, clearness: float = 3.0
) -> tuple[list[Clip], list[Vectors]]:
    """Clips labelled ``label``, two windows of two clips each, whose embeddings lie where those of ``voice`` do."""
    clips, windows = [], []
    for speaker in range(speakers):
        for number in range(2):
            vectors = rng.normal(0, 0.3, (2, SIZE))
            vectors[:, 0] += clearness * (1 if voice == "male" else -1)
            clips.append(Clip(Path(f"{name}{speaker}-{number}"), label, speaker=f"{name}{speaker}"))
            windows.append((vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32))
    return clips, windows


@pytest.fixture
def taught() -> tuple[list[Clip], list[Vectors]]:
    rng = np.random.default_rng(0)
    men, women = people(rng, "male", "male", 20, name="man"), people(rng, "female", "female", 10, name="woman")
    return men[0] + women[0], men[1] + women[1]


def test_a_probe_finds_what_parts_the_labels_whatever_their_numbers() -> None:
    rng = np.random.default_rng(1)
    vectors = rng.normal(0, 0.1, (110, 8))
    male = np.arange(110) < 100
    vectors[:, 2] += np.where(male, 0.5, -0.5)
    probe = fit(vectors, male, np.where(male, 1 / 100, 1 / 10))
    assert np.abs(probe.weights).argmax() == 2
    middle = np.zeros((1, 8))
    assert abs(float(probe(middle)[0])) < 1.0


def test_speakers_are_named_by_all_their_recordings_together(taught: tuple[list[Clip], list[Vectors]]) -> None:
    teacher = Teacher(taught[0], [taught[1]])
    rng = np.random.default_rng(2)
    clips, windows = people(rng, "", "male", 3, name="stranger")
    windows[0] = people(rng, "", "female", 1, name="like a woman once", clearness=0.3)[1][0]
    named = teacher.unlabelled(clips, windows)
    assert {one.clip.label for one in named} == {"male"}
    assert [one.clip.path for one in named] == [clip.path for clip in clips]
    assert all(one.male > 0.8 for one in named)
    assert all(np.linalg.norm(one.vector) == pytest.approx(1, abs=1e-4) for one in named)


def test_all_recordings_of_a_speaker_share_the_direction_of_their_mean(
    taught: tuple[list[Clip], list[Vectors]],
) -> None:
    """A word of half a second says little of a voice by itself."""
    teacher = Teacher(taught[0], [taught[1]])
    clips, windows = people(np.random.default_rng(5), "", "male", 2, name="stranger")
    for named in (teacher.labelled(), teacher.unlabelled(clips, windows)):
        first, second, other = (one.vector for one in named[:3])
        np.testing.assert_array_equal(first, second)
        assert np.linalg.norm(first) == pytest.approx(1, abs=1e-4)
        assert not np.allclose(first, other)


def test_who_sounds_like_neither_is_left_out(taught: tuple[list[Clip], list[Vectors]]) -> None:
    teacher = Teacher(taught[0], [taught[1]])
    assert teacher.unlabelled(*people(np.random.default_rng(3), "", "male", 4, name="doubtful", clearness=0.0)) == []
    assert teacher.unlabelled([], []) == []


def test_a_label_that_is_plainly_wrong_is_left_out(taught: tuple[list[Clip], list[Vectors]]) -> None:
    wrong = people(np.random.default_rng(4), "female", "male", 1, name="mislabelled")
    teacher = Teacher(taught[0] + wrong[0], [taught[1] + wrong[1]])
    kept = teacher.labelled()
    assert {one.clip.speaker for one in kept} == {clip.speaker for clip in taught[0]}
    assert all((one.male > 0.5) == (one.clip.label == "male") for one in kept)


def test_the_mean_of_windows_is_a_direction() -> None:
    assert mean_vector(np.array([[3.0, 0], [0, 3.0]], np.float32)) == pytest.approx([0.5**0.5] * 2)
    assert not mean_vector(np.zeros((1, 4), np.float32)).any()


@torch.inference_mode()
def test_the_encoder_hears_voices_of_one_speaker_alike() -> None:
    network = pretrained()

    def embed(voice: Speaker, seed: int) -> Vectors:
        found: Vectors = network(torch.from_numpy(speech_windows(speak(voice, 1.7, seed=seed))[:1]))[0].numpy()
        return found

    man, again, woman = embed(MAN, 1), embed(MAN, 2), embed(WOMAN, 3)
    assert man.shape == (SIZE,)
    assert np.linalg.norm(man) == pytest.approx(1, abs=1e-3)
    assert man @ again > man @ woman


def test_mel_bands_hear_a_tone_in_one_place() -> None:
    time = np.arange(WINDOW) / 16_000
    low, high = (
        mel_power(torch.from_numpy(np.sin(2 * np.pi * hz * time).astype(np.float32))[None])[0].mean(dim=0).argmax()
        for hz in (300, 3000)
    )
    assert 0 < low < high < 40


@pytest.mark.parametrize("samples", [0, 100, 1_000, 8_000, WINDOW, 60_000])
@pytest.mark.parametrize("level", [0.0, 1e-4, 0.5])
def test_every_recording_gives_windows_of_the_same_loudness(samples: int, level: float) -> None:
    audio = (level * np.random.default_rng(0).normal(size=samples)).astype(np.float32)
    windows = speech_windows(audio)
    assert windows.shape[1] == WINDOW
    assert len(windows) >= 1
    assert np.isfinite(windows).all()
    if samples >= WINDOW and level:
        assert np.sqrt(np.mean(windows**2)) == pytest.approx(10**-1.5, rel=0.05)


def test_pauses_are_left_out() -> None:
    voice = speak(MAN, 1.0, seed=1)
    silence = np.zeros(48_000, np.float32)
    assert len(speech_windows(np.concatenate([silence, voice, silence]))) == 1


def test_each_frame_finds_the_window_that_lies_around_it_also_behind_pauses() -> None:
    pause = np.zeros(70 * FRAME, np.float32)
    audio = np.concatenate([speak(MAN, 3.0, seed=1), pause, speak(WOMAN, 3.0, seed=2), pause[:77]])
    frames = audio[: audio.size // FRAME * FRAME].reshape(-1, FRAME)
    windows = speech_windows(audio)
    nearest = nearest_windows(audio)
    assert len(windows) >= 5
    assert nearest.shape == (len(frames),)
    middles = []
    for number, window in enumerate(windows):
        middle = window[WINDOW // 2 :][:FRAME]
        alike = frames @ middle / np.maximum(1e-6, np.linalg.norm(frames, axis=1) * np.linalg.norm(middle))
        middles.append(int(alike.argmax()))
        assert nearest[middles[-1]] == number
    for frame, number in enumerate(nearest):
        away = np.abs(np.array(middles) - frame)
        assert away[number] == away.min()


@pytest.mark.parametrize("samples", [0, 100, 1_000, WINDOW, 60_000])
@pytest.mark.parametrize("level", [0.0, 0.5])
def test_every_recording_has_a_nearest_window(samples: int, level: float) -> None:
    audio = (level * np.random.default_rng(0).normal(size=samples)).astype(np.float32)
    nearest = nearest_windows(audio)
    assert nearest.shape == (max(1, samples // FRAME),)
    assert set(nearest.tolist()) == set(range(len(speech_windows(audio))))


def test_recordings_are_embedded_once(corpus: Path, tmp_path: Path) -> None:
    clips = [clip for clip in read_manifest(corpus) if clip.label == "male"]
    noises = [clip for clip in read_manifest(corpus) if clip.label == "noise"]

    def heard(view: int) -> list[Vectors]:
        return embeddings(clips, tmp_path, view=view, noises=noises, seconds=8.0, workers=1)

    found = heard(0)
    before = {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
    for one, again in zip(found, heard(0), strict=True):
        np.testing.assert_array_equal(one, again)
    assert {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()} == before
    assert [one.shape[1] for one in found] == [SIZE] * len(clips)
    assert not np.allclose(found[0][:1], heard(1)[0][:1], atol=0.01), "what is augmented sounds the same"


def test_without_the_package_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r"--teacher resemblyzer: not installed; pip install"):
        pretrained()


def test_an_unknown_teacher_is_refused(corpus: Path, tmp_path: Path) -> None:
    clips = [clip for clip in read_manifest(corpus) if clip.split == "train"]
    with pytest.raises(SettingsError, match="--teacher socrates: unknown; there is resemblyzer"):
        prepare(clips, [], PreparationOptions(teacher="socrates", cache=tmp_path, workers=1))
