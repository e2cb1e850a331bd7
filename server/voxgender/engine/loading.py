"""Load a model and make an engine for it, without the server's settings and without HTTP."""

import atexit
import os
import threading
from collections.abc import Sequence

from voxgender.engine.engine import HOP_MS, WINDOW_MS, Engine
from voxgender.engine.schedule import check_hop
from voxgender.inference.classifier import Classifier, Device, Precision
from voxgender.inference.labels import LabelPair
from voxgender.system import usable_cores

OFF = "off"
"""Name for no model: everything runs but the classification."""

_engines: dict[str, Engine] = {}
_loading: dict[str, threading.Lock] = {}
"""Held while a model is loaded, one for each, so that nobody waits for the model of others."""
_of_parents: list[Engine] = []
"""Engines of the processes that this one was forked from, kept because their threads, which to end would wait for, are
not here."""


def load_engine(
    model: str = "embedded",
    *,
    revision: str = "",
    labels: Sequence[LabelPair] = (),
    precision: Precision = "auto",
    device: Device = "cpu",
    threads: int = 0,
    window_ms: int = WINDOW_MS,
    hop_ms: int = HOP_MS,
) -> Engine:
    """Load a model and make an engine for it. Takes seconds, so call it on another thread than an event loop's.

    Args:
        model: ``embedded``, ``off``, a local directory or a hub id of a classifier of audio.
        revision: branch, tag or commit of a hub's repository.
        labels: labels of the model's outputs, where they are not to be guessed.
        precision: number format of the model's products.
        device: processor of the model.
        threads: threads of the model; 0 for one less than there are cores.
        window_ms: audio that the model classifies at once.
        hop_ms: time between two results.

    Raises:
        ModelError: the model cannot be loaded.
        SettingsError: the hop is not a whole number of ticks.
    """
    check_hop(hop_ms)
    classifier = None
    if model != OFF:
        classifier = load_classifier(
            model, revision=revision, labels=labels, precision=precision, device=device, threads=threads
        )
    return Engine(classifier, window_ms=window_ms, hop_ms=hop_ms)


def load_classifier(
    model: str,
    *,
    revision: str = "",
    labels: Sequence[LabelPair] = (),
    precision: Precision = "auto",
    device: Device = "cpu",
    threads: int = 0,
) -> Classifier:
    """Load a model and try it. See :func:`load_engine`.

    Raises:
        ModelError: the model cannot be loaded.
    """
    # Imported late, so that health checks are answered while it loads.
    from voxgender.inference import loading

    threads = threads or max(1, usable_cores() - 1)
    return loading.load(model, revision=revision, labels=labels, threads=threads, precision=precision, device=device)


def shared_engine(model: str | os.PathLike[str]) -> Engine:
    """Return the process's engine with this model; load it at the first call. It lives as long as the process.

    Raises:
        ModelError: the model cannot be loaded.
    """
    name = _name(model)
    # Each of these steps is atomic.
    with _loading.setdefault(name, threading.Lock()):
        if name not in _engines:
            _engines[name] = load_engine(name)
        return _engines[name]


def loaded_engine(model: str | os.PathLike[str]) -> Engine | None:
    """Return the process's engine with this model if it has been loaded, without waiting; else None."""
    return _engines.get(_name(model))


def _name(model: str | os.PathLike[str]) -> str:
    """Return a name that means the same model wherever the process goes: a directory's whole path."""
    name = os.fspath(model)
    directory = os.path.expanduser(name)  # noqa: PTH111 - it raises nothing
    return os.path.abspath(directory) if os.path.isdir(directory) else name  # noqa: PTH100, PTH112 - likewise


@atexit.register
def halt_all() -> None:
    """Stop all engines of the process for good, because it ends."""
    while _engines:
        _engines.popitem()[1].halt()


def _start_anew() -> None:
    """Forget the engines of the process that this one was forked from: a fork has none of their threads."""
    _loading.clear()
    _of_parents.extend(_engines.values())
    _engines.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)
