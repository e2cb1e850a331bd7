"""Load wav2vec2 checkpoints for sequence classification as a :class:`~.classifier.Classifier`.

One that was exported with its graph, as the embedded one, is only opened. One whose files are plain is converted
without torch, which takes seconds and hundreds of megabytes to import; all others are loaded by transformers. Either
way it runs in ONNX Runtime, if its architecture is an ordinary one.
"""

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from voxgender.errors import ModelError
from voxgender.extras import advice
from voxgender.graphs.architecture import Architecture, Unconvertible
from voxgender.inference import checkpoint
from voxgender.inference.classifier import SAMPLE_RATE_HZ, ClassLabel, Device, Precision, Probabilities, Windows
from voxgender.inference.conversion import open_network

logger = logging.getLogger(__name__)

EMBEDDED = "embedded"
"""Name of the checkpoint that comes with the package."""
EMBEDDED_DIRECTORY = Path(__file__).parents[1] / "models" / "embedded"

_ARCHITECTURE = "Wav2Vec2ForSequenceClassification"
_EXTRACTOR = "Wav2Vec2FeatureExtractor"
_SYNONYMS: Mapping[str, ClassLabel] = {
    **dict.fromkeys(("male", "m", "man", "men", "masculine"), "male"),
    **dict.fromkeys(("female", "f", "w", "woman", "women", "feminine"), "female"),
}
_ORDER: tuple[ClassLabel, ...] = ("male", "female", "other")
_LARGEST = {
    "hidden_size": 16_384,
    "num_hidden_layers": 512,
    "num_attention_heads": 1_024,
    "intermediate_size": 131_072,
    "conv_dim": 16_384,
    "conv_kernel": 16_384,
    "conv_stride": 16_384,
    "num_conv_pos_embeddings": 4_096,
    "num_conv_pos_embedding_groups": 4_096,
    "classifier_proj_size": 16_384,
}
"""Sizes in a configuration, far above those of any network: one of 10^7 layers would be made for minutes."""


class Network(Protocol):
    """A checkpoint's network, loaded in torch or ONNX Runtime."""

    def __call__(self, windows: Windows) -> npt.NDArray[np.float32]:
        """Classify windows: float32 ``(batch, samples)`` to probabilities, float32 ``(batch, outputs)``."""
        ...


class Wav2Vec2Classifier:
    """A loaded checkpoint. See :class:`~.classifier.Classifier`; made by :func:`load`."""

    min_window_ms = 500

    def __init__(self, name: str, network: Network, outputs: Sequence[ClassLabel]) -> None:
        """Name the network's outputs.

        Args:
            name: the model's name, shown to clients.
            network: computes the probabilities.
            outputs: the class of each output.
        """
        self.name = name
        self.labels = tuple(label for label in _ORDER if label in outputs)
        self._network = network
        self._sums = np.array([[output == label for label in self.labels] for output in outputs], dtype=np.float32)

    def __call__(self, windows: Windows) -> Probabilities:
        return self._network(windows) @ self._sums


def load(model: str, *, threads: int = 1, precision: Precision = "auto", device: Device = "cpu") -> Wav2Vec2Classifier:
    """Load a ``Wav2Vec2ForSequenceClassification`` that tells male from female.

    Args:
        model: ``"embedded"``, a directory in the layout of transformers, or the id of a repository on the
            Hugging Face hub, such as ``alefiury/wav2vec2-large-xlsr-53-gender-recognition-librispeech``.
        threads: threads of one run of a large model.
        precision: number format of the encoder's matrix products; ``auto`` is int8 for large models.
        device: ``cuda`` runs it in torch, in float16 unless ``precision`` is ``fp32``.

    Raises:
        ModelError: the checkpoint cannot be found, fetched or read, is of another architecture, wants other input
            than 16 kHz samples, or does not tell male from female; there is no such device; or a package that this
            takes is not installed.
    """
    name, source = _source(model)
    if Path(source).is_dir():
        checkpoint.check_files(Path(source))
    if device == "cuda":
        return _load_by_transformers(model, threads, precision, device, "it cannot run on a CUDA device but in torch")
    try:
        found = checkpoint.read(source)
        _check_architecture(model, found.config)
        _check_sizes(model, found.config, found.directory)
        _check_preprocessing(model, found.preprocessing)
        outputs = _outputs(model, found.config["id2label"])
        network = open_network(
            found.config,
            found.weights,
            normalise=found.normalise,
            fingerprint=found.fingerprint(),
            exported=found.directory / checkpoint.GRAPH,
            precision=precision,
            threads=threads,
        )
    except (Unconvertible, checkpoint.Unreadable) as reason:
        return _load_by_transformers(model, threads, precision, device, str(reason))
    except ModuleNotFoundError as missing:
        raise ModelError(f"model {model}: converting it {advice(missing)}") from missing
    return _tried(model, Wav2Vec2Classifier(name, network, outputs))


def _load_by_transformers(
    model: str, threads: int, precision: Precision, device: Device, reason: str
) -> Wav2Vec2Classifier:
    try:
        # torch and transformers take seconds to import, and most checkpoints do not need them.
        from voxgender.inference import eager
    except ModuleNotFoundError as missing:
        raise ModelError(f"model {model}: {reason}; loading it by transformers {advice(missing)}") from missing

    name, source = _source(model)
    eager.prepare(device, threads)
    config = eager.read_config(model, source)
    _check_architecture(model, config)
    _check_sizes(model, config, Path(source))
    preprocessing = eager.read_preprocessing(model, source)
    _check_preprocessing(model, preprocessing)
    loaded = eager.read_network(model, source)
    config = loaded.config.to_dict()
    outputs = _outputs(model, config["id2label"])
    normalise = bool(preprocessing.get("do_normalize", True))
    if device == "cpu":
        fingerprint = ""
        with suppress(checkpoint.Unreadable, ModelError):
            fingerprint = checkpoint.read(source).fingerprint()
        try:
            converted = open_network(
                config,
                lambda: eager.weights_of(loaded),
                normalise=normalise,
                fingerprint=fingerprint,
                precision=precision,
                threads=threads,
            )
        except Unconvertible as unconvertible:
            logger.warning("model %s runs in torch, slower than it could: %s", model, unconvertible)
        else:
            return _tried(model, Wav2Vec2Classifier(name, converted, outputs))
    half = device == "cuda" and precision != "fp32"
    network = eager.EagerNetwork(loaded, normalise=normalise, device=device, half=half)
    return _tried(model, Wav2Vec2Classifier(name, network, outputs))


def _source(model: str) -> tuple[str, str]:
    """Return the name to show, and the directory or hub id to load."""
    if model == EMBEDDED:
        return EMBEDDED, str(EMBEDDED_DIRECTORY)
    directory = Path(model).expanduser()
    if directory.is_dir():
        return directory.resolve().name, str(directory)
    # A hub id is "name" or "owner/name"; anything else is a path, and must not be sent to the hub.
    if model.startswith(("/", ".", "~")) or model.count("/") > 1 or directory.exists():
        raise ModelError(f"model {model}: no such directory")
    return model, model


def _check_architecture(model: str, config: Mapping[str, Any]) -> None:
    architectures = config.get("architectures")
    if not isinstance(architectures, list) or not architectures:
        architectures = [f"an unnamed {config.get('model_type', 'model')}"]
    if _ARCHITECTURE not in architectures:
        raise ModelError(f"model {model}: is {architectures[0]}; only {_ARCHITECTURE} can be used")


def _check_sizes(model: str, config: Mapping[str, Any], directory: Path) -> None:
    """Check that a configuration's sizes are a network's, and that its weights can be in the files.

    Raises:
        ModelError: they are not.
    """
    for name, largest in _LARGEST.items():
        told = config.get(name, largest)
        for size in told if isinstance(told, list | tuple) else [told]:
            if type(size) is not int or not 0 < size <= largest:
                raise ModelError(f"model {model}: config.json has a {name} that no network has")
    with suppress(Unconvertible):
        weights = Architecture.of(config).encoder_weights
        held = sum(file.stat().st_size for kind in ("safetensors", "bin") for file in directory.glob(f"*.{kind}"))
        if 0 < held < weights:
            raise ModelError(f"model {model}: config.json tells of {weights} weights, and the files hold {held} bytes")


def _tried(model: str, classifier: Wav2Vec2Classifier) -> Wav2Vec2Classifier:
    """Return a classifier that has classified a second of noise: one that cannot would end every call.

    Raises:
        ModelError: it fails, or gives what are no probabilities.
    """
    noise = np.random.default_rng(0).normal(0.0, 0.1, (1, SAMPLE_RATE_HZ)).astype(np.float32)
    try:
        heard = classifier(noise)
    except Exception as error:
        why = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ModelError(f"model {model}: it fails to classify a second of noise ({why[:200]})") from error
    if not np.isfinite(heard).all():
        raise ModelError(f"model {model}: it gives no numbers for a second of noise; its weights are damaged")
    return classifier


def _check_preprocessing(model: str, preprocessing: Mapping[str, Any]) -> None:
    extractor = preprocessing.get("feature_extractor_type", _EXTRACTOR)
    if extractor != _EXTRACTOR or preprocessing.get("feature_size", 1) != 1:
        raise ModelError(f"model {model}: wants {extractor}'s features as input; only samples can be given")
    rate = preprocessing.get("sampling_rate", SAMPLE_RATE_HZ)
    if rate != SAMPLE_RATE_HZ:
        raise ModelError(f"model {model}: wants audio at {rate} Hz; only {SAMPLE_RATE_HZ} Hz can be given")


def _outputs(model: str, id2label: Mapping[int, str]) -> list[ClassLabel]:
    told = [str(id2label[index]) for index in sorted(id2label)]
    outputs = [_SYNONYMS.get(label.strip().lower(), "other") for label in told]
    for wanted in ("male", "female"):
        if outputs.count(wanted) != 1:
            raise ModelError(
                f"model {model}: needs one label male and one female in id2label; it has {', '.join(told)}"
            )
    return outputs
