"""Run wav2vec2 checkpoints by transformers, in torch: as the reference, and if there is no graph for them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.utils import parametrize
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2ForSequenceClassification
from transformers import logging as transformers_logging

from voxgender.errors import ModelError
from voxgender.inference.classifier import Device, Windows


class EagerNetwork:
    """Runs a network in torch. Probabilities are in the checkpoint's order of labels."""

    def __init__(
        self, network: Wav2Vec2ForSequenceClassification, *, normalise: bool, device: Device = "cpu", half: bool = False
    ) -> None:
        """Wrap a network.

        Args:
            normalise: whether each window is brought to zero mean and unit variance first.
            half: multiply in float16.
        """
        self._network: Any = network.train(False).requires_grad_(False).to(device)
        self._normalise = normalise
        self._device = device
        self._half = half

    @torch.inference_mode()
    def __call__(self, windows: Windows) -> npt.NDArray[np.float32]:
        """Classify windows: float32 ``(batch, samples)`` to float32 ``(batch, labels)``."""
        audio = torch.from_numpy(np.ascontiguousarray(windows, dtype=np.float32)).to(self._device)
        with torch.autocast(self._device, torch.float16, enabled=self._half):
            logits = self._network(_normalised(audio) if self._normalise else audio).logits
        probabilities: npt.NDArray[np.float32] = logits.float().softmax(dim=1).cpu().numpy()
        return probabilities


def read_config(model: str, source: str) -> dict[str, Any]:
    """Read ``config.json`` by transformers.

    Args:
        model: as the user named it.
        source: a directory or a hub id, for transformers.

    Raises:
        ModelError: it cannot be found, fetched or read.
    """
    with _model_errors(model, source), _quiet_transformers():
        config, _ = Wav2Vec2Config.get_config_dict(source)
    if not config:
        raise ModelError(f"model {model}: holds no config.json; that is no checkpoint of transformers")
    return config


def read_preprocessing(model: str, source: str) -> dict[str, Any]:
    """Read ``preprocessor_config.json`` by transformers. See :func:`read_config`."""
    with _model_errors(model, source), _quiet_transformers():
        preprocessing, _ = Wav2Vec2FeatureExtractor.get_feature_extractor_dict(source)
    if not isinstance(preprocessing, dict):
        raise ModelError(f"model {model}: its preprocessor_config.json holds no object")
    return preprocessing


def read_network(model: str, source: str) -> Wav2Vec2ForSequenceClassification:
    """Read the network with its weights, in float32.

    Raises:
        ModelError: the checkpoint cannot be found, fetched or read, or weights are missing or of another shape.
    """
    with _model_errors(model, source), _quiet_transformers():
        loaded: Any = Wav2Vec2ForSequenceClassification.from_pretrained(
            source, dtype=torch.float32, output_loading_info=True
        )
        network, report = loaded
    if missing := sorted(map(str, (*report["missing_keys"], *report["mismatched_keys"]))):
        raise ModelError(
            f"model {model}: {len(missing)} of its weights are missing or of another shape, {missing[0]} for one; "
            "it is damaged, or was never trained to classify"
        )
    _merge_parametrizations(network)
    found: Wav2Vec2ForSequenceClassification = network
    return found


def weights_of(network: Wav2Vec2ForSequenceClassification) -> dict[str, npt.NDArray[np.float32]]:
    """Return the network's weights by name; they share its memory."""
    return {name: tensor.numpy() for name, tensor in network.state_dict().items()}


def prepare(device: Device, threads: int) -> None:
    """Set torch's number of threads, for the whole process, and check that it finds the device.

    Raises:
        ModelError: torch finds no such device.
    """
    torch.set_num_threads(threads)
    if device == "cuda" and not torch.cuda.is_available():
        raise ModelError("device cuda: torch finds no CUDA device; is its build for CUDA, and the driver installed?")


def _merge_parametrizations(network: torch.nn.Module) -> None:
    """Store the positional convolution's weight itself, in place of the norm and direction that training needs."""
    for module in network.modules():
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight")


def _normalised(audio: Tensor) -> Tensor:
    """Normalise a batch of windows, as ``Wav2Vec2FeatureExtractor.zero_mean_unit_var_norm`` does each."""
    centred = audio - audio.mean(dim=1, keepdim=True)
    return centred * torch.rsqrt(centred.square().mean(dim=1, keepdim=True) + 1e-7)


@contextmanager
def _model_errors(model: str, source: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if Path(source).is_dir():
            raise ModelError(f"model {model}: {_first_line(error)}") from error
        raise ModelError(
            f"model {model}: no such directory here, and not to be had from the hub ({_first_line(error)})"
        ) from error
    except Exception as error:  # transformers and torch raise whatever they stumble over
        raise ModelError(f"model {model}: damaged, or not a wav2vec2 checkpoint ({_first_line(error)})") from error


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Keep transformers from writing to stderr and drawing progress bars; errors are raised as ``ModelError``."""
    verbosity = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__).strip().rstrip(".")
