import tempfile
from pathlib import Path

import numpy as np
import pytest
from transformers import Wav2Vec2ForSequenceClassification

from tests.inference.checkpoints import network, voices
from voxgender.inference import runtime, wav2vec2
from voxgender.inference.classifier import Precision
from voxgender.inference.eager import EagerNetwork, weights_of
from voxgender.inference.runtime import OnnxNetwork
from voxgender.peer.voices import MAN, WOMAN, speak


@pytest.mark.parametrize("seconds", [0.5, 1.0, 3.0])
def test_the_embedded_model_says_what_it_says_in_torch(seconds: float) -> None:
    directory = wav2vec2.EMBEDDED_DIRECTORY
    reference = Wav2Vec2ForSequenceClassification.from_pretrained(directory)
    heard = np.stack(
        [
            speak(voice, seconds + 0.5, seed=seed)[: round(seconds * 16_000)]
            for voice in (MAN, WOMAN)
            for seed in range(4)
        ]
    )
    windows = np.concatenate((heard, np.random.default_rng(0).normal(0, 0.1, heard.shape))).astype(np.float32)
    found = OnnxNetwork(reference.config.to_dict(), weights_of(reference), normalise=True)(windows)
    np.testing.assert_allclose(found, EagerNetwork(reference, normalise=True)(windows), atol=1e-3)


@pytest.mark.parametrize("batch", [1, 7, 8, 9, 20])
def test_a_batch_of_any_size_says_what_its_windows_say_alone(batch: int) -> None:
    reference = network()
    graph = OnnxNetwork(reference.config.to_dict(), weights_of(reference), normalise=True)
    windows = np.concatenate([voices()] * 7)[:batch] * np.linspace(0.1, 1, batch, dtype=np.float32)[:, None] + 0.05
    alone = np.concatenate([graph(window[None]) for window in windows])
    found = graph(windows)
    assert found.shape == (batch, 2)
    np.testing.assert_allclose(found, alone, atol=1e-5)


@pytest.mark.parametrize(("precision", "encoder"), [("auto", "int8"), ("fp32", "fp32"), ("int8", "int8")])
def test_a_large_network_goes_by_way_of_files_that_do_not_stay(
    precision: Precision, encoder: Precision, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "_LARGE", 1_000)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    reference = network(hidden_size=64, intermediate_size=128)
    graph = OnnxNetwork(reference.config.to_dict(), weights_of(reference), normalise=True, precision=precision)
    assert list(tmp_path.iterdir()) == []
    assert graph.precision == encoder
    tolerance = 1e-4 if encoder == "fp32" else 0.1
    np.testing.assert_allclose(graph(voices()), EagerNetwork(reference, normalise=True)(voices()), atol=tolerance)


def test_small_networks_are_exact_unless_asked_otherwise() -> None:
    reference = network()
    assert OnnxNetwork(reference.config.to_dict(), weights_of(reference), normalise=True).precision == "fp32"


@pytest.mark.parametrize(("large", "threads"), [(1_000, 2), (1_000_000, 1)])
def test_threads_are_for_large_networks_and_sleep_when_idle(
    large: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads that spin for the next batch would take the cores that media needs."""
    monkeypatch.setattr(runtime, "_LARGE", large)
    reference = network()
    graph = OnnxNetwork(reference.config.to_dict(), weights_of(reference), normalise=True, threads=2)
    options = graph._session.get_session_options()
    assert options.intra_op_num_threads == threads
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
