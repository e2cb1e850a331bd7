"""Targets of windows are of the very place of the recording that the window is from."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from voxgender.training import crops, fresh
from voxgender.training.batches import Batch, Batches, PreparedBatches
from voxgender.training.crops import SIZE
from voxgender.training.encoder import SIZE as VECTOR
from voxgender.training.fresh import DeviceTakes, FreshBatches
from voxgender.training.manifest import Clip
from voxgender.training.network import ROW, SAMPLE_RATE_HZ, bands
from voxgender.training.preparation import Material, Mixture, TeacherEmbeddings, crops_of
from voxgender.training.recordings import Recording

FRAMES_OF_A_TONE = 20
TONES = 12
FIRST, BANDS_APART = 32, 2
SPEAKER = VECTOR - 1
"""Number that is 1 in the speaker's embedding; in that of a window, it is the number of its tone."""


def tones(folder: Path, label: str, seconds_of_silence: float) -> Recording:
    """A recording of tones that rise, each in the middle of a band, and a take that is the same backwards."""
    size = FRAMES_OF_A_TONE * ROW
    time = np.arange(size) / SAMPLE_RATE_HZ
    centres, _ = bands()
    audio = np.concatenate(
        [np.zeros(int(seconds_of_silence * SAMPLE_RATE_HZ))]
        + [np.sin(2 * np.pi * centres[FIRST + BANDS_APART * number] * time) for number in range(TONES)]
    )
    takes = [(9_000 * take).astype(np.int16) for take in (audio, audio[::-1])]
    file = folder / f"{label}.npz"
    np.savez(file, take0=takes[0], take1=takes[1])
    clip = Clip(file, "male" if label == "male" else "female", speaker=label)
    return Recording(clip, file, 2)


@pytest.fixture
def material(tmp_path: Path) -> Material:
    """Two recordings. What is heard in a window is the tone in its middle."""
    silences = (0.0, 0.4)
    some = [tones(tmp_path, label, silence) for label, silence in zip(("male", "female"), silences, strict=True)]
    vectors = np.eye(VECTOR, dtype=np.float32)
    heard = []
    for silence in silences:
        before = int(silence * SAMPLE_RATE_HZ) // ROW
        nearest = np.concatenate([np.zeros(before, np.int64), np.repeat(np.arange(TONES), FRAMES_OF_A_TONE)])
        heard.append(TeacherEmbeddings(vectors[SPEAKER], vectors[:TONES], nearest))
    return Material(some, [], [], np.array([1.0, 0.0], np.float32), heard)


Source = Callable[[Material, Path, pytest.MonkeyPatch, float], Batches]


def prepared(material: Material, cache: Path, monkeypatch: pytest.MonkeyPatch, share: float) -> Batches:
    monkeypatch.setattr(crops, "augment", lambda audio, rng, **_: audio)
    mixture = Mixture(resynthesised=share, extra_resynthesised=share)
    return PreparedBatches(crops_of(material, mixture, cache, count=60, seed=0, workers=1), 40, 0)


def made_anew(material: Material, cache: Path, monkeypatch: pytest.MonkeyPatch, share: float) -> Batches:
    monkeypatch.setattr(fresh, "augmented", lambda audio, chance, **_: audio)
    mixture = Mixture(resynthesised=share, extra_resynthesised=share)
    return FreshBatches(DeviceTakes(material, "cpu", workers=1), mixture, 40, 0)


def heard_and_learned(batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the tone in the middle of each window that is not silent there, and what is to be learned of it."""
    assert batch.vectors is not None
    middle = batch.envelopes.shape[1] // 2
    sounds = batch.voices & (batch.envelopes[:, middle].amax(dim=1) > 0.5 * batch.envelopes.amax(dim=(1, 2)))
    heard = (batch.envelopes[sounds, middle].argmax(dim=1) - FIRST) / BANDS_APART
    return heard, batch.vectors[sounds].argmax(dim=1)


@pytest.mark.parametrize("source", [prepared, made_anew])
def test_a_window_of_a_recording_is_taught_what_the_encoder_hears_in_its_middle(
    source: Source, material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All windows of a recording were once taught the same, however a voice changed in it."""
    made = source(material, tmp_path / "crops", monkeypatch, 0.0)
    pairs = [heard_and_learned(made.batch(step)) for step in range(5)]
    heard, learned = (torch.cat([pair[place] for pair in pairs]) for place in (0, 1))
    assert len(set(learned.tolist())) >= TONES - 2
    # The edges of tones, and of frames, may lie half a row apart.
    assert (heard - learned).abs().max() <= 1
    assert ((heard - learned).abs() < 0.6).float().mean() > 0.9


@pytest.mark.parametrize("source", [prepared, made_anew])
def test_resynthesised_takes_are_taught_what_their_speaker_is_like(
    source: Source, material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = source(material, tmp_path / "crops", monkeypatch, 1.0).batch(0)
    assert batch.vectors is not None
    assert batch.voices.any()
    assert (batch.vectors[batch.voices].argmax(dim=1) == SPEAKER).all()
    assert not batch.vectors[~batch.voices].any()


def test_crops_say_where_in_their_recording_they_lie(
    material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crops, "augment", lambda audio, rng, **_: audio)
    made = crops_of(material, Mixture(resynthesised=0.5), tmp_path / "crops", count=40, seed=0, workers=1).crops
    assert made.plain.any()
    assert not made.plain[made.sources < 0].any()
    for crop in np.flatnonzero(made.sources >= 0):
        audio = material.labelled[made.sources[crop]].read(0 if made.plain[crop] else 1)
        whole = np.pad(audio, SIZE)[SIZE + made.begins[crop] * ROW :][:SIZE]
        power = np.mean(whole.reshape(-1, ROW) ** 2, axis=1)
        spoken = made.power[crop] > 0.01 * made.power[crop].max()
        ratios = made.power[crop][spoken] / power[spoken]
        assert ratios.max() / ratios.min() < 1.01


def test_no_crops_of_resynthesised_takes_alone_may_be_asked_for(material: Material, tmp_path: Path) -> None:
    """``--extra-resynthesised 0``, or few ``--crops``, once ended in a division by zero."""
    made = crops_of(material, Mixture(extra_resynthesised=0.0), tmp_path, count=4, seed=0, workers=1)
    assert len(made.crops.sources) == 4
