import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import Wav2Vec2ForSequenceClassification

from tests.inference.checkpoints import MANY_WEIGHTS, TINY, converted, network, voices
from voxgender.audio.activity import NETWORK
from voxgender.graphs.architecture import Unconvertible
from voxgender.inference import loading
from voxgender.inference.checkpoint import GRAPH
from voxgender.inference.classifier import Precision, Windows
from voxgender.inference.eager import EagerNetwork
from voxgender.inference.loading import load
from voxgender.inference.runtime import OnnxNetwork
from voxgender.peer.voices import MAN, WOMAN, speak


@pytest.mark.parametrize("seconds", [0.5, 1.0, 3.0])
def test_the_embedded_model_says_what_it_says_in_torch(seconds: float) -> None:
    directory = loading.EMBEDDED_DIRECTORY
    reference = Wav2Vec2ForSequenceClassification.from_pretrained(directory)
    heard = np.stack(
        [
            speak(voice, seconds + 0.5, seed=seed)[: round(seconds * 16_000)]
            for voice in (MAN, WOMAN)
            for seed in range(4)
        ]
    )
    windows = np.concatenate((heard, np.random.default_rng(0).normal(0, 0.1, heard.shape))).astype(np.float32)
    found = load("embedded").network(windows)
    np.testing.assert_allclose(found, EagerNetwork(reference, normalise=True)(windows), atol=1e-3)


@pytest.mark.parametrize("batch", [1, 7, 8, 9, 20])
def test_a_batch_of_any_size_says_what_its_windows_say_alone(batch: int) -> None:
    reference = network()
    graph = converted(reference)
    windows = np.concatenate([voices()] * 7)[:batch] * np.linspace(0.1, 1, batch, dtype=np.float32)[:, None] + 0.05
    alone = np.concatenate([graph(window[None]) for window in windows])
    found = graph(windows)
    assert found.shape == (batch, 2)
    np.testing.assert_allclose(found, alone, atol=1e-5)


def test_a_batch_is_divided_between_the_cores_and_keeps_its_order() -> None:
    """One thread had all windows of sixteen calls to itself, and was the first part of a server to be full."""
    directory = loading.EMBEDDED_DIRECTORY / GRAPH
    alone, divided = OnnxNetwork(directory), OnnxNetwork(directory, runs=3)
    heard = np.random.default_rng(0).normal(0, 0.1, (26, 8_000)).astype(np.float32)
    used: set[int] = set()
    run = divided._run

    def note(windows: Windows) -> Any:
        used.add(threading.get_ident())
        assert len(windows) <= 8
        return run(windows)

    divided._run = note  # type: ignore[method-assign]
    for batch in (1, 4, 5, 16, 26):
        np.testing.assert_allclose(divided(heard[:batch]), alone(heard[:batch]), atol=1e-5)
    assert len(used) > 1


def test_in_eight_bits_a_window_is_not_changed_by_those_beside_it() -> None:
    """The scale of the inputs was found for a whole batch, so that a loud call made a quiet one coarser."""
    graph = converted(network(), precision="int8")
    windows = voices() * np.array([[1.0], [0.01], [0.1]], dtype=np.float32)
    alone = np.concatenate([graph(window[None]) for window in windows])
    np.testing.assert_array_equal(graph(windows), alone)


@pytest.mark.parametrize(("precision", "encoder"), [("auto", "int8"), ("fp32", "fp32"), ("int8", "int8")])
def test_a_large_network_goes_by_way_of_files_that_do_not_stay(
    precision: Precision, encoder: Precision, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    reference = network(**MANY_WEIGHTS)
    graph = converted(reference, precision=precision)
    assert list(tmp_path.iterdir()) == []
    assert graph.precision == encoder
    tolerance = 1e-4 if encoder == "fp32" else 0.1
    np.testing.assert_allclose(graph(voices()), EagerNetwork(reference, normalise=True)(voices()), atol=tolerance)


def test_small_networks_are_exact_unless_asked_otherwise() -> None:
    reference = network()
    assert converted(reference).precision == "fp32"


@pytest.mark.parametrize(("shape", "threads"), [(MANY_WEIGHTS, 2), (TINY, 1)])
def test_threads_are_for_large_networks_and_sleep_when_idle(shape: dict[str, Any], threads: int) -> None:
    """Threads that spin for the next batch would take the cores that media needs."""
    graph = converted(network(**shape), threads=2)
    options = graph._session.get_session_options()
    assert options.intra_op_num_threads == threads
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


@pytest.mark.parametrize("content", [b"", b"no graph", bytes(10_000)])
def test_a_file_that_is_no_graph_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(Unconvertible, match="ONNX Runtime refuses it"):
        OnnxNetwork(tmp_path / "model.onnx")


def test_a_graph_of_another_network_is_refused() -> None:
    with pytest.raises(Unconvertible, match="ONNX Runtime refuses it"):
        OnnxNetwork(NETWORK)
