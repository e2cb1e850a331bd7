"""Find, load and try a model as a :class:`~.classifier.Classifier`.

One that was exported with its graph, as the embedded one, is only opened. One whose architecture the graph knows is
converted without torch, which takes seconds and hundreds of megabytes to import. All others run in torch.
"""

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from voxgender.errors import ModelError, first_line
from voxgender.extras import advice
from voxgender.graphs.architecture import Unconvertible
from voxgender.inference import checkpoint, probe
from voxgender.inference.checkpoint import Checkpoint
from voxgender.inference.classifier import SAMPLE_RATE_HZ, Device, Precision, Probabilities, Windows
from voxgender.inference.conversion import open_network
from voxgender.inference.heads import EXTRACTORS, HEADS, SPEECH_HEADS
from voxgender.inference.labels import OTHER, LabelPair, name_outputs
from voxgender.inference.probe import Network

logger = logging.getLogger(__name__)

EMBEDDED = "embedded"
"""Name of the checkpoint that comes with the package."""
EMBEDDED_DIRECTORY = Path(__file__).parents[1] / "models" / "embedded"

MIN_WINDOW_MS = 500

_AGE_GENDER = ("female", "male", "child")
"""The classes of audEERING's age-and-gender models, in order; their configuration may leave them out."""


class CheckpointClassifier:
    """A loaded checkpoint. See :class:`~.classifier.Classifier`; made by :func:`load`."""

    min_window_ms = MIN_WINDOW_MS

    def __init__(self, name: str, network: Network, outputs: Sequence[str]) -> None:
        """Name the network's outputs.

        Args:
            name: the model's name, shown to clients.
            network: computes the probabilities.
            outputs: the label of each output; the probability of a label is the sum of its outputs'.
        """
        self.name = name
        self.labels = _ordered(outputs)
        self.network = network
        self._sums = np.array([[output == label for label in self.labels] for output in outputs], dtype=np.float32)

    def __call__(self, windows: Windows) -> Probabilities:
        return self.network(windows) @ self._sums


def load(
    model: str,
    *,
    revision: str = "",
    labels: Sequence[LabelPair] = (),
    threads: int = 1,
    precision: Precision = "auto",
    device: Device = "cpu",
) -> CheckpointClassifier:
    """Load a model that classifies audio, and try it.

    Args:
        model: ``"embedded"``, a directory in the layout of transformers, or the id of a repository on the
            Hugging Face hub, such as ``alefiury/wav2vec2-large-xlsr-53-gender-recognition-librispeech``.
        revision: branch, tag or commit of a repository.
        labels: labels of outputs; those that are not among them are named by a guess.
        threads: threads of one run of a large model.
        precision: number format of the encoder's matrix products.
        device: ``cuda`` runs it in torch.

    Raises:
        ModelError: the model cannot be found, fetched, read or run, wants other input than 16 kHz audio, gives no
            probabilities, or has labels that say nothing; there is no such device; or a package that this takes is not
            installed.
    """
    name, source = source_of(model, revision)
    _check_precision(precision, device)
    try:
        found = checkpoint.read(source, revision)
        architecture = architecture_of(model, found.config)
        _check_preprocessing(model, found.preprocessing)
        outputs = name_outputs(model, _names(found.config, architecture), labels)
        found.check_size()
        network = _open(model, found, architecture, threads, precision, device)
    except checkpoint.Unreadable as reason:
        raise ModelError(f"model {model}: {reason}") from reason
    except ModuleNotFoundError as missing:
        raise ModelError(f"model {model}: converting it {advice(missing)}") from missing
    probe.check(model, network, len(outputs), min_window_ms=MIN_WINDOW_MS)
    return CheckpointClassifier(name, network, outputs)


def _open(
    model: str, found: Checkpoint, architecture: str, threads: int, precision: Precision, device: Device
) -> Network:
    why = "it cannot run on a CUDA device but in torch"
    if device == "cpu":
        try:
            return open_network(
                found.config,
                found.weights,
                normalise=found.normalise,
                fingerprint=found.fingerprint(),
                exported=found.directory / checkpoint.GRAPH,
                precision=precision,
                threads=threads,
            )
        except Unconvertible as reason:
            why = str(reason)
    try:
        # torch and transformers take seconds to import, and most checkpoints do not need them.
        from voxgender.inference import eager
    except ModuleNotFoundError as missing:
        raise ModelError(f"model {model}: {why}; loading it by transformers {advice(missing)}") from missing

    eager.prepare(device, threads)
    extractor = eager.read_extractor(model, found.preprocessing)
    # Opened for its errors, which are plainer, and for the names.
    network = eager.read_network(model, found.directory, architecture, list(found.weights()))
    made = partial(eager.EagerNetwork, network, normalise=found.normalise, device=device, extractor=extractor)
    if device == "cpu":
        logger.warning("model %s runs in torch, slower than it could: %s", model, why)
        return made()
    precision = eager.best_format() if precision == "auto" else precision
    try:
        exact = probe.answers(made(precision="fp32"))
        served = made(precision=precision)
        probe.check_format(model, served, exact, precision)
    except RuntimeError as error:
        raise ModelError(f"model {model}: fails on --device {device} ({first_line(error)})") from error
    return served


def source_of(model: str, revision: str) -> tuple[str, str]:
    """Return the name to show, and the directory or hub id to load.

    Raises:
        ModelError: there is no such directory, or it is given a revision.
    """
    directory = EMBEDDED_DIRECTORY if model == EMBEDDED else _directory(model)
    if directory is not None:
        if revision:
            raise ModelError(f"model {model}: is in a directory, which has no revisions; leave --model-revision out")
        return EMBEDDED if model == EMBEDDED else directory.resolve().name, str(directory)
    if "://" in model:
        raise ModelError(f"model {model}: is a URL; name the hub's repository by its id, as owner/name")
    # A hub id is "name" or "owner/name"; anything else is a path, and must not be sent to the hub.
    if model.startswith(("/", ".", "~")) or model.count("/") > 1 or Path(model).exists():
        raise ModelError(f"model {model}: no such directory")
    return model, model


def _directory(model: str) -> Path | None:
    """Return the directory that a model's name means, if there is one.

    Raises:
        ModelError: it cannot be looked for.
    """
    try:
        directory = Path(model).expanduser()
        return directory if directory.is_dir() else None
    except OSError as error:
        raise ModelError(f"model {model}: cannot be looked for ({error.strerror})") from None
    except RuntimeError:
        raise ModelError(f"model {model}: there is no such user, or no home directory; give the whole path") from None


def _check_precision(precision: Precision, device: Device) -> None:
    if precision in ("fp16", "bf16") and device == "cpu":
        raise ModelError(f"precision {precision} is for GPUs (--device cuda); the CPU takes fp32 and int8")
    if precision == "int8" and device == "cuda":
        raise ModelError("precision int8 is for the CPU; --device cuda takes fp32, fp16 and bf16")


def architecture_of(model: str, config: Mapping[str, Any]) -> str:
    """Return the architecture's name, one of :mod:`~.heads`.

    Raises:
        ModelError: it is of another architecture, or estimates numbers.
    """
    told = config.get("architectures")
    named = told[0] if isinstance(told, list) and told else f"an unnamed {config.get('model_type', 'model')}"
    if named not in HEADS + SPEECH_HEADS:
        code = "; it brings code of its own, which is never run" if "auto_map" in config else ""
        raise ModelError(f"model {model}: is {named}, which classifies no audio that transformers knows{code}")
    if config.get("problem_type") == "regression":
        raise ModelError(f"model {model}: estimates numbers (problem_type regression); only classes can be told")
    return str(named)


def _names(config: Mapping[str, Any], architecture: str) -> tuple[str, ...]:
    """Return the checkpoint's own names of its outputs, in order."""
    names = tuple(config["id2label"][index] for index in sorted(config["id2label"]))
    says_nothing = all(name.startswith("LABEL_") for name in names)
    return _AGE_GENDER if architecture == "AgeGenderModel" and says_nothing else names


def _check_preprocessing(model: str, preprocessing: Mapping[str, Any]) -> None:
    extractor = preprocessing.get("feature_extractor_type", EXTRACTORS[0])
    if extractor not in EXTRACTORS or (extractor == EXTRACTORS[0] and preprocessing.get("feature_size", 1) != 1):
        raise ModelError(f"model {model}: wants {extractor}'s features as input, which are not known here")
    rate = preprocessing.get("sampling_rate", SAMPLE_RATE_HZ)
    if not isinstance(rate, int | float):
        raise ModelError(f"model {model}: preprocessor_config.json has the sampling_rate {rate!r}, which is no number")
    if rate != SAMPLE_RATE_HZ:
        raise ModelError(f"model {model}: wants audio at {rate} Hz; only {SAMPLE_RATE_HZ} Hz can be given")


def _ordered(outputs: Sequence[str]) -> tuple[str, ...]:
    """Return each label once: male and female first, then the others as they come, then ``other``."""
    found = dict.fromkeys(outputs)
    first = [label for label in ("male", "female") if label in found]
    return (*first, *(label for label in found if label not in (*first, OTHER)), *([OTHER] if OTHER in found else []))
