"""wav2vec2 checkpoints for sequence classification, through transformers, as a :class:`~.classifier.Classifier`."""

import pickle
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import Tensor
from torch.nn.utils import parametrize
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2ForSequenceClassification
from transformers import logging as transformers_logging

from voxgender.errors import ModelError
from voxgender.inference.classifier import SAMPLE_RATE_HZ, ClassLabel, Probabilities, Windows

EMBEDDED = "embedded"
"""Name of the checkpoint that comes with the package."""
EMBEDDED_DIRECTORY = Path(__file__).parents[1] / "models" / "embedded"

_ARCHITECTURE = "Wav2Vec2ForSequenceClassification"
_EXTRACTOR = "Wav2Vec2FeatureExtractor"
_SYNONYMS: Mapping[str, ClassLabel] = {
    **dict.fromkeys(("male", "m", "man", "men", "masculine"), "male"),
    **dict.fromkeys(("female", "f", "w", "woman", "women", "feminine"), "female"),
}
_DAMAGE = (
    AttributeError,
    EOFError,
    KeyError,
    RuntimeError,
    SafetensorError,
    StrictDataclassError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
)
"""What transformers and torch raise at files that are not what their names say."""
_ORDER: tuple[ClassLabel, ...] = ("male", "female", "other")


class Wav2Vec2Classifier:
    """A loaded checkpoint. See :class:`~.classifier.Classifier`; made by :func:`load`."""

    min_window_ms = 500

    def __init__(
        self,
        name: str,
        network: Wav2Vec2ForSequenceClassification,
        outputs: Sequence[ClassLabel],
        *,
        normalise: bool,
    ) -> None:
        """Wrap a network.

        Args:
            outputs: what each of the network's outputs stands for.
            normalise: whether each window is brought to zero mean and unit variance first.
        """
        self.name = name
        self.labels = tuple(label for label in _ORDER if label in outputs)
        self._network = network.train(False).requires_grad_(False)
        self._columns = torch.tensor([self.labels.index(label) for label in outputs])
        self._normalise = normalise

    @torch.inference_mode()
    def __call__(self, windows: Windows) -> Probabilities:
        audio = torch.from_numpy(np.ascontiguousarray(windows, dtype=np.float32))
        outputs = self._network(_normalised(audio) if self._normalise else audio).logits.softmax(dim=1)
        probabilities = outputs.new_zeros(len(outputs), len(self.labels))
        found: Probabilities = probabilities.index_add_(1, self._columns, outputs).numpy()
        return found


def load(model: str, *, threads: int = 1) -> Wav2Vec2Classifier:
    """Load a ``Wav2Vec2ForSequenceClassification`` that tells male from female.

    Args:
        model: ``"embedded"``, a directory in the layout of transformers, or the id of a repository on the
            Hugging Face hub, such as ``alefiury/wav2vec2-large-xlsr-53-gender-recognition-librispeech``.
        threads: that one inference may use. torch has one such number for the whole process.

    Raises:
        ModelError: the checkpoint cannot be found, fetched or read, is of another architecture, wants other input
            than 16 kHz samples, or does not tell male from female.
    """
    name, source = _source(model)
    with _explained(model), _quiet():
        plain, _ = Wav2Vec2Config.get_config_dict(source)
        if not plain:
            raise ModelError(f"model {model}: holds no config.json; that is no checkpoint of transformers")
        _check_architecture(model, plain)
        preprocessing, _ = Wav2Vec2FeatureExtractor.get_feature_extractor_dict(source)
        _check_preprocessing(model, preprocessing)
        loaded: Any = Wav2Vec2ForSequenceClassification.from_pretrained(
            source, dtype=torch.float32, output_loading_info=True
        )
        network, report = loaded
    if missing := sorted(map(str, (*report["missing_keys"], *report["mismatched_keys"]))):
        raise ModelError(
            f"model {model}: {len(missing)} of its weights are missing or of another shape, {missing[0]} for one; "
            "it is damaged, or was never trained to classify"
        )
    outputs = _outputs(model, network.config.id2label)
    _merge_parametrizations(network)
    torch.set_num_threads(threads)
    return Wav2Vec2Classifier(name, network, outputs, normalise=preprocessing.get("do_normalize", True))


def _source(model: str) -> tuple[str, str]:
    """Name to show, and what transformers is to load."""
    if model == EMBEDDED:
        return EMBEDDED, str(EMBEDDED_DIRECTORY)
    directory = Path(model).expanduser()
    if directory.is_dir():
        return directory.resolve().name, str(directory)
    # A hub id is "name" or "owner/name"; whatever else was meant as a path must not be asked of the hub.
    if model.startswith(("/", ".", "~")) or model.count("/") > 1 or directory.exists():
        raise ModelError(f"model {model}: no such directory")
    return model, model


def _check_architecture(model: str, config: Mapping[str, Any]) -> None:
    architectures = config.get("architectures") or [f"an unnamed {config.get('model_type', 'model')}"]
    if _ARCHITECTURE not in architectures:
        raise ModelError(f"model {model}: is {architectures[0]}; only {_ARCHITECTURE} can be used")


def _check_preprocessing(model: str, preprocessing: Mapping[str, Any]) -> None:
    extractor = preprocessing.get("feature_extractor_type", _EXTRACTOR)
    if extractor != _EXTRACTOR or preprocessing.get("feature_size", 1) != 1:
        raise ModelError(f"model {model}: wants {extractor}'s features as input; only samples can be given")
    rate = preprocessing.get("sampling_rate", SAMPLE_RATE_HZ)
    if rate != SAMPLE_RATE_HZ:
        raise ModelError(f"model {model}: wants audio at {rate} Hz; only {SAMPLE_RATE_HZ} Hz can be given")


def _outputs(model: str, id2label: Mapping[int, str]) -> list[ClassLabel]:
    outputs = [_SYNONYMS.get(str(id2label[index]).strip().lower(), "other") for index in sorted(id2label)]
    for wanted in ("male", "female"):
        if outputs.count(wanted) != 1:
            told = ", ".join(str(id2label[index]) for index in sorted(id2label))
            raise ModelError(f"model {model}: needs one label male and one female in id2label; it has {told}")
    return outputs


def _merge_parametrizations(network: torch.nn.Module) -> None:
    """Store the positional convolution's weight as it is used, not as the norm and direction it was trained by."""
    for module in network.modules():
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight")


def _normalised(audio: Tensor) -> Tensor:
    """What ``Wav2Vec2FeatureExtractor.zero_mean_unit_var_norm`` does to each window, to a batch at once."""
    centred = audio - audio.mean(dim=1, keepdim=True)
    return centred * torch.rsqrt(centred.square().mean(dim=1, keepdim=True) + 1e-7)


@contextmanager
def _explained(model: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if Path(model).expanduser().is_dir() or model == EMBEDDED:
            raise ModelError(f"model {model}: {_first_line(error)}") from error
        raise ModelError(
            f"model {model}: no such directory here, and not to be had from the hub ({_first_line(error)})"
        ) from error
    except _DAMAGE as error:
        raise ModelError(f"model {model}: damaged, or not a wav2vec2 checkpoint ({_first_line(error)})") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """transformers tells of odd checkpoints on stderr and draws progress bars; what matters here becomes an error."""
    verbosity = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__).strip().rstrip(".")
