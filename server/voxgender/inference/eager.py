"""Run checkpoints by transformers, in torch: as the reference, where there is no graph for them, and on GPUs.

Only files that :mod:`~.checkpoint` has found are read: no hub is asked, and neither pickles nor a checkpoint's own code
are run.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import transformers
from torch import Tensor
from torch.nn.utils import parametrize
from transformers import Wav2Vec2Model, Wav2Vec2PreTrainedModel
from transformers import logging as transformers_logging

from voxgender.errors import ModelError, first_line
from voxgender.inference.classifier import SAMPLE_RATE_HZ, Device, Precision, Windows
from voxgender.inference.heads import SAMPLES, SPEECH_HEADS

_DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}


class EagerNetwork:
    """Runs a network in torch. Probabilities are in the checkpoint's order of labels."""

    dtype: torch.dtype
    """Number format of weights and values."""

    def __init__(
        self,
        network: torch.nn.Module,
        *,
        normalise: bool,
        device: Device = "cpu",
        precision: Precision = "fp32",
        extractor: Any = None,
    ) -> None:
        """Wrap a network.

        Args:
            network: takes samples, or an extractor's features, and returns logits.
            normalise: whether each window is brought to zero mean and unit variance first, without an extractor.
            device: where it runs.
            precision: number format of weights and values: ``fp32``, ``fp16`` or ``bf16``.
            extractor: makes features of windows, as spectrograms; None for a network that takes samples.
        """
        self.dtype = _DTYPES.get(precision, torch.float32)
        self._network: Any = network.train(False).requires_grad_(False).to(device, self.dtype)
        self._normalise = normalise
        self._device = device
        self._extractor = extractor

    @torch.inference_mode()
    def __call__(self, windows: Windows) -> npt.NDArray[np.float32]:
        """Classify windows: float32 ``(batch, samples)`` to float32 ``(batch, labels)``."""
        logits = self._network(**self._inputs(windows)).logits
        probabilities: npt.NDArray[np.float32] = logits.float().softmax(dim=1).cpu().numpy()
        return probabilities

    def _inputs(self, windows: Windows) -> Mapping[str, Tensor]:
        if self._extractor is not None:
            features = self._extractor(list(windows), sampling_rate=SAMPLE_RATE_HZ, return_tensors="pt")
            return {name: self._given(tensor) for name, tensor in features.items()}
        audio = torch.from_numpy(np.ascontiguousarray(windows, dtype=np.float32)).to(self._device)
        return {"input_values": self._given(normalised(audio) if self._normalise else audio)}

    def _given(self, tensor: Tensor) -> Tensor:
        return tensor.to(self._device, self.dtype if tensor.is_floating_point() else None)


class SpeechHead(torch.nn.Module):
    """Two layers on pooled hidden states, as audEERING and others trained them."""

    def __init__(self, hidden_size: int, labels: int) -> None:
        super().__init__()
        self.dense = torch.nn.Linear(hidden_size, hidden_size)
        self.out_proj = torch.nn.Linear(hidden_size, labels)

    def forward(self, pooled: Tensor) -> Tensor:
        logits: Tensor = self.out_proj(torch.tanh(self.dense(pooled)))
        return logits


class SpeechClassifier(Wav2Vec2PreTrainedModel):
    """Classifies by a :class:`SpeechHead` on wav2vec2, under the names that such checkpoints give their weights.

    audEERING's age-and-gender models call their classes' head ``gender``, and have another, ``age``, which is not read.
    """

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.wav2vec2 = Wav2Vec2Model(config)
        head = SpeechHead(config.hidden_size, config.num_labels)
        self.head_name = config.speech_head
        self.pooling = getattr(config, "pooling_mode", None) or "mean"
        setattr(self, self.head_name, head)
        self._keys_to_ignore_on_load_unexpected = [r"^age\."]
        self.post_init()  # type: ignore[no-untyped-call]

    def forward(self, input_values: Tensor) -> Any:
        hidden = self.wav2vec2(input_values).last_hidden_state
        pooled = {"mean": hidden.mean, "sum": hidden.sum, "max": hidden.amax}[self.pooling](dim=1)
        return SimpleNamespace(logits=getattr(self, self.head_name)(pooled))


def read_extractor(model: str, preprocessing: Mapping[str, Any]) -> Any:
    """Make the extractor that a ``preprocessor_config.json`` describes; None for one of samples.

    Raises:
        ModelError: the description is damaged.
    """
    kind = preprocessing.get("feature_extractor_type", SAMPLES)
    if kind == SAMPLES:
        return None
    with _model_errors(model), _quiet_transformers(), warnings.catch_warnings():
        # It warns of spectrograms' empty filters, which the checkpoint was trained with.
        warnings.simplefilter("ignore")
        return getattr(transformers, kind).from_dict(dict(preprocessing))


def read_network(model: str, directory: Path, architecture: str, tensors: Sequence[str]) -> torch.nn.Module:
    """Read a network with its weights, in float32.

    Args:
        model: as the user named it.
        directory: holds the checkpoint.
        architecture: one of :mod:`~.heads`.
        tensors: names of the checkpoint's weights.

    Raises:
        ModelError: the checkpoint cannot be read, or weights are missing, not finite or of another shape.
    """
    made: Any = getattr(transformers, architecture, None)
    given: dict[str, Any] = {}
    with _model_errors(model), _quiet_transformers():
        if architecture in SPEECH_HEADS:
            made = SpeechClassifier
            config: Any = transformers.Wav2Vec2Config.from_pretrained(directory, local_files_only=True)
            config.speech_head = "gender" if "gender.dense.weight" in tensors else "classifier"
            given["config"] = config
        network, report = made.from_pretrained(
            directory,
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # so that they are reported
            **given,
        )
    # The latter with both shapes.
    if missing := sorted((*report["missing_keys"], *(name for name, *_ in report["mismatched_keys"]))):
        raise ModelError(
            f"model {model}: {len(missing)} of its weights are missing or of another shape, {missing[0]} for one; "
            "it is damaged, or was never trained to classify"
        )
    for name, tensor in network.named_parameters():
        if not torch.isfinite(tensor).all():
            raise ModelError(f"model {model}: its {name} holds NaN or infinity, as after training that failed")
    _merge_parametrizations(network)
    found: torch.nn.Module = network
    return found


def prepare(device: Device, threads: int) -> None:
    """Set torch's number of threads, for the whole process, and check that it finds the device.

    Raises:
        ModelError: torch finds no such device.
    """
    torch.set_num_threads(threads)
    if device == "cuda" and not torch.cuda.is_available():
        raise ModelError("device cuda: torch finds no CUDA device; is its build for CUDA, and the driver installed?")


def best_format() -> Precision:
    """Return the number format for the GPU: bf16, which has the range of fp32, where it computes in that."""
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"


def _merge_parametrizations(network: torch.nn.Module) -> None:
    """Store the positional convolution's weight itself, in place of the norm and direction that training needs."""
    for module in network.modules():
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight")


def normalised(audio: Tensor) -> Tensor:
    """Normalise a batch of windows, as ``Wav2Vec2FeatureExtractor.zero_mean_unit_var_norm`` does each."""
    centred = audio - audio.mean(dim=1, keepdim=True)
    return centred * torch.rsqrt(centred.square().mean(dim=1, keepdim=True) + 1e-7)


@contextmanager
def _model_errors(model: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # transformers and torch raise whatever they stumble over
        raise ModelError(f"model {model}: damaged, or of another architecture ({first_line(error)})") from error


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
