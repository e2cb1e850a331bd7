import logging
from typing import Any

import numpy as np
import pytest
import torch
from transformers import Wav2Vec2ForSequenceClassification

from tests.inference.checkpoints import LARGE_SHAPE, MANY_WEIGHTS, TINY, Make, by_transformers
from voxgender.errors import ModelError
from voxgender.inference import loading
from voxgender.inference.eager import EagerNetwork
from voxgender.inference.loading import load
from voxgender.inference.runtime import OnnxNetwork

UNUSUAL = {"hidden_act": "silu"}
"""Something that only transformers knows."""


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("shape", [TINY, LARGE_SHAPE], ids=["base", "large"])
def test_probabilities_are_those_of_transformers(make: Make, windows: Any, normalise: bool, shape: Any) -> None:
    directory = make(("female", "male"), normalise=normalise, **shape)
    classifier = load(str(directory))
    assert classifier.labels == ("male", "female")
    found = classifier(windows)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, by_transformers(directory, windows)[:, ::-1], atol=1e-4)


def test_a_batch_says_what_its_windows_say_alone(make: Make, windows: Any) -> None:
    classifier = load(str(make()))
    alone = np.concatenate([classifier(window[None]) for window in windows])
    np.testing.assert_allclose(classifier(windows), alone, atol=1e-5)
    assert len(np.unique(alone[:, 0])) == 3


@pytest.mark.parametrize(
    ("labels", "male", "female"),
    [
        (("male", "female"), 0, 1),
        (("female", "male"), 1, 0),
        (("FEMALE", "Male"), 1, 0),
        (("M", "F"), 0, 1),
        (("woman", "man"), 1, 0),
    ],
)
def test_labels_are_the_checkpoints_own(make: Make, windows: Any, labels: Any, male: int, female: int) -> None:
    directory = make(labels)
    found = load(str(directory))(windows)
    expected = by_transformers(directory, windows)
    np.testing.assert_allclose(found, expected[:, [male, female]], atol=1e-5)


def test_what_is_no_voice_adds_up_to_other(make: Make, windows: Any) -> None:
    directory = make(("music", "female", "noise", "male"))
    classifier = load(str(directory))
    assert classifier.labels == ("male", "female", "other")
    found, expected = classifier(windows), by_transformers(directory, windows)
    np.testing.assert_allclose(found[:, 2], expected[:, 0] + expected[:, 2], atol=1e-5)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)


def test_loudness_does_not_matter_to_a_checkpoint_that_normalises(make: Make, windows: Any) -> None:
    classifier = load(str(make()))
    np.testing.assert_allclose(classifier(windows * 0.1 + 0.2), classifier(windows), atol=1e-3)


def test_digital_silence_gives_probabilities(make: Make) -> None:
    found = load(str(make()))(np.zeros((1, 8_000), np.float32))
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)


def test_the_name_is_the_directorys(make: Make) -> None:
    assert load(f"{make()}/").name == "checkpoint"


def test_a_large_model_takes_the_threads_it_is_given(make: Make) -> None:
    classifier = load(str(make(**MANY_WEIGHTS)), threads=2)
    assert isinstance(classifier.network, OnnxNetwork)
    assert classifier.network._session.get_session_options().intra_op_num_threads == 2


def test_torch_takes_the_threads_it_is_given(make: Make) -> None:
    before = torch.get_num_threads()
    try:
        load(str(make(**UNUSUAL)), threads=before + 1)
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


def test_an_unusual_architecture_runs_in_torch_and_says_so(
    make: Make, windows: Any, caplog: pytest.LogCaptureFixture
) -> None:
    directory = make(**UNUSUAL)
    with caplog.at_level(logging.WARNING, "voxgender"):
        classifier = load(str(directory))
    assert isinstance(classifier.network, EagerNetwork)
    assert f"model {directory} runs in torch" in caplog.text
    assert "hidden_act" in caplog.text
    np.testing.assert_allclose(classifier(windows), by_transformers(directory, windows)[:, ::-1], atol=1e-5)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_a_device_that_is_not_there_is_refused(make: Make) -> None:
    with pytest.raises(ModelError, match="device cuda: torch finds no CUDA device"):
        load(str(make()), device="cuda")


def test_transformers_logging_is_left_as_it_was(make: Make) -> None:
    from transformers import logging

    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    load(str(make()))
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


def test_the_embedded_checkpoint_is_small_and_needs_no_code_of_its_own() -> None:
    directory = loading.EMBEDDED_DIRECTORY
    assert {"config.json", "preprocessor_config.json", "model.safetensors"} <= {f.name for f in directory.iterdir()}
    assert (directory / "model.safetensors").stat().st_size <= 6_000_000
    network = Wav2Vec2ForSequenceClassification.from_pretrained(directory)
    assert network.num_parameters() < 1_500_000
    assert load("embedded").labels == ("male", "female", "other")
