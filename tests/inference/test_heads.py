"""Every head that transformers has for classifying audio, and those of two layers that it does not have."""

import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers.models.auto.modeling_auto import MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES

from tests.engine.test_files import write
from tests.inference import tiny
from tests.inference.checkpoints import LARGE_SHAPE, rewrite, voices
from voxgender.engine import Engine
from voxgender.engine.files import classify_file
from voxgender.errors import ModelError
from voxgender.inference import heads
from voxgender.inference.checkpoint import read
from voxgender.inference.eager import EagerNetwork, read_network
from voxgender.inference.labels import parse
from voxgender.inference.loading import EMBEDDED_DIRECTORY, load
from voxgender.inference.runtime import OnnxNetwork
from voxgender.peer.voices import dialogue


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recording") / "voices.wav"
    write(path, dialogue(turn_s=1.5, pause_s=0.8).samples)
    return path


def test_the_list_is_that_of_transformers() -> None:
    assert set(heads.HEADS) == set(MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES.values()) == set(tiny.HEADS)


@pytest.mark.parametrize("architecture", tiny.HEADS)
def test_each_head_classifies_a_file(
    architecture: str, tmp_path: Path, recording: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = tiny.save(architecture, tmp_path / "checkpoint")
    with caplog.at_level(logging.WARNING, "voxgender"):
        classifier = load(str(directory))
    is_fast = tiny.HEADS[architecture].is_fast
    assert isinstance(classifier.network, OnnxNetwork if is_fast else EagerNetwork)
    assert ("runs in torch" in caplog.text) is not is_fast
    windows = voices()
    expected = tiny.by_transformers(architecture, directory, windows)
    np.testing.assert_allclose(classifier(windows), expected[:, ::-1], atol=1e-3)
    engine = Engine(classifier)
    verdict = classify_file(engine, recording)
    assert verdict.label in ("male", "female", "uncertain")
    assert verdict.speech_s > 2
    assert any(result.scores for result in verdict.results)


@pytest.mark.parametrize("architecture", [name for name, head in tiny.HEADS.items() if head.is_fast])
@pytest.mark.parametrize(
    "shape",
    [{}, LARGE_SHAPE, {"do_stable_layer_norm": True, "use_weighted_layer_sum": True}],
    ids=["base", "large", "sum"],
)
def test_the_graph_of_each_family_says_what_transformers_says(architecture: str, shape: Any, tmp_path: Path) -> None:
    directory = tiny.save(architecture, tmp_path / "checkpoint", **shape)
    classifier = load(str(directory))
    assert isinstance(classifier.network, OnnxNetwork)
    for samples in (8_000, 12_345, 37_777):
        windows = voices(samples)
        expected = tiny.by_transformers(architecture, directory, windows)
        np.testing.assert_allclose(classifier(windows), expected[:, ::-1], atol=2e-4)


def test_distances_beyond_the_last_bucket_of_wavlm_are_one(tmp_path: Path) -> None:
    directory = tiny.save("WavLMForSequenceClassification", tmp_path, num_buckets=16, max_bucket_distance=20)
    windows = voices(32_000)
    expected = tiny.by_transformers("WavLMForSequenceClassification", directory, windows)
    np.testing.assert_allclose(load(str(directory))(windows), expected[:, ::-1], atol=2e-4)


def test_hubert_without_a_norm_before_its_projection(tmp_path: Path) -> None:
    directory = tiny.save("HubertForSequenceClassification", tmp_path, feat_proj_layer_norm=False)
    classifier = load(str(directory))
    assert isinstance(classifier.network, OnnxNetwork)
    expected = tiny.by_transformers("HubertForSequenceClassification", directory, voices())
    np.testing.assert_allclose(classifier(voices()), expected[:, ::-1], atol=2e-4)


@pytest.mark.parametrize("named", [True, False])
def test_audeerings_age_and_gender_tell_children(named: bool, tmp_path: Path, recording: Path) -> None:
    """Its head is none of transformers', which took random weights in its place."""
    labels = ("female", "male", "child")
    directory = tiny.save_speech_head("AgeGenderModel", tmp_path, labels)
    if not named:
        rewrite(directory / "config.json", id2label={str(index): f"LABEL_{index}" for index in range(3)})
    classifier = load(str(directory))
    assert classifier.labels == ("male", "female", "child")
    assert isinstance(classifier.network, OnnxNetwork)
    expected = reference("AgeGenderModel", directory)(voices())
    np.testing.assert_allclose(classifier(voices()), expected[:, [1, 0, 2]], atol=1e-4)
    verdict = classify_file(Engine(classifier), recording)
    scored = [result.scores for result in verdict.results if result.scores]
    assert scored
    assert all(list(scores) == ["male", "female", "child"] for scores in scored)


@pytest.mark.parametrize("pooling", ["mean", "sum", "max", None])
def test_a_head_of_two_layers_pools_as_it_says(pooling: str | None, tmp_path: Path) -> None:
    architecture = "Wav2Vec2ForSpeechClassification"
    directory = tiny.save_speech_head(architecture, tmp_path, ("ang", "hap"), pooling_mode=pooling)
    classifier = load(str(directory))
    assert isinstance(classifier.network, OnnxNetwork)
    np.testing.assert_allclose(classifier(voices()), reference(architecture, directory)(voices()), atol=1e-4)


def reference(architecture: str, directory: Path) -> EagerNetwork:
    with torch.no_grad():
        return EagerNetwork(read_network("m", directory, architecture, tensors(directory)), normalise=True)


def tensors(directory: Path) -> list[str]:
    return list(read(str(directory)).weights())


def test_names_of_a_checkpoint_that_say_nothing_are_given_by_the_user(tmp_path: Path) -> None:
    directory = tiny.save("Wav2Vec2ForSequenceClassification", tmp_path, ("LABEL_0", "LABEL_1", "LABEL_2"))
    classifier = load(str(directory), labels=parse(["female=LABEL_0,male=LABEL_2", "female=LABEL_1"]))
    expected = tiny.by_transformers("Wav2Vec2ForSequenceClassification", directory, voices())
    assert classifier.labels == ("male", "female")
    np.testing.assert_allclose(
        classifier(voices()), np.stack([expected[:, 2], expected[:, 0] + expected[:, 1]], axis=1), atol=1e-4
    )


def test_a_trained_model_whose_labels_say_nothing_tells_a_man_from_a_woman_once_they_are_named(
    tmp_path: Path, recording: Path
) -> None:
    directory = shutil.copytree(EMBEDDED_DIRECTORY, tmp_path / "mine", ignore=shutil.ignore_patterns("*.onnx"))
    rewrite(directory / "config.json", id2label={str(index): f"LABEL_{index}" for index in range(3)})
    with pytest.raises(ModelError, match=r"'LABEL_0', 'LABEL_1', 'LABEL_2', and 'LABEL_0' says too little"):
        load(str(directory))
    own = read(str(EMBEDDED_DIRECTORY)).config["id2label"]
    labels = ",".join(f"{'other' if name == 'noise' else name}=LABEL_{index}" for index, name in own.items())
    engine = Engine(load(str(directory), labels=parse([labels])))
    assert [segment.label for segment in classify_file(engine, recording).segments] == ["male", "female"]
