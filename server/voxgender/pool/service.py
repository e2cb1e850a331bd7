"""Answer nodes' requests to a pool, independently of the HTTP server."""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from voxgender.inference.classifier import SAMPLE_RATE_HZ, Classifier
from voxgender.inference.probe import trial
from voxgender.pool import wire
from voxgender.version import __version__

REQUEST_S = 0.05
"""Time that the model should take for one request, and for one run: between two it is asked which windows are late."""
_WINDOW_MS = 1_000
_RUNS = 3
_SLOW_S = 1.0


class Asked(NamedTuple):
    """A request that was read."""

    windows: tuple[wire.WindowMessage, ...]
    arrived_at: float
    """Seconds of ``time.monotonic``."""


class Refused(Exception):
    """A request that is not answered.

    Attributes:
        status: the HTTP status.
        body: a text, or the description of the pool that the request is not for.
    """

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(status)
        self.status = status
        self.body = body


class Service:
    """A model behind the messages of :mod:`~.wire`.

    Args:
        classifier: the model; its speed is measured now.
    """

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier
        self._together = max(1, min(wire.MAX_WINDOWS, int(REQUEST_S / _window_cost_s(classifier))))
        self.description = wire.Description(
            version=wire.VERSION,
            release=__version__,
            model=classifier.name,
            labels=classifier.labels,
            min_window_ms=classifier.min_window_ms,
            together=self._together,
        )

    def read(self, body: bytes | bytearray, arrived_at: float) -> Asked:
        """Read a request.

        Raises:
            Refused: it is malformed, or for another model or version.
        """
        try:
            if msgspec.msgpack.decode(body, type=wire.Hail).version != wire.VERSION:
                raise self._other
            asked = msgspec.msgpack.decode(body, type=wire.Request)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise Refused(400, b"The body has to be a voxgender.pool.wire.Request.\n") from None
        if asked.model != self.description.id:
            raise self._other
        shortest = 2 * self.description.min_window_ms * SAMPLE_RATE_HZ // 1_000
        if any(len(window.samples) % 2 or len(window.samples) < shortest for window in asked.windows):
            raise Refused(400, b"A window is too short, or ends within a sample.\n")
        return Asked(asked.windows, arrived_at)

    def classify(self, requests: Sequence[Asked], clock: Callable[[], float] = time.monotonic) -> list[bytes]:
        """Classify the windows of some requests, those of one size together. One that is late already is left out.

        Args:
            requests: those of one batch.
            clock: gives seconds of ``time.monotonic``.

        Returns:
            The encoded answer of each request.
        """
        found: list[list[tuple[float, ...] | None]] = [[None] * len(asked.windows) for asked in requests]
        # Only windows of one size share a run: padding would change the model's input.
        by_size: dict[int, list[tuple[int, int]]] = {}
        for place, asked in enumerate(requests):
            for number, window in enumerate(asked.windows):
                by_size.setdefault(len(window.samples), []).append((place, number))
        for of_size in by_size.values():
            for at in range(0, len(of_size), self._together):
                now = clock()
                due = [
                    (place, number)
                    for place, number in of_size[at : at + self._together]
                    if now < requests[place].arrived_at + requests[place].windows[number].deadline_ms / 1_000
                ]
                if due:
                    windows = np.stack([wire.unpack(requests[place].windows[number]) for place, number in due])
                    for (place, number), row in zip(due, self._classifier(windows).tolist(), strict=True):
                        found[place][number] = tuple(row)
        return [self._answer(asked, rows) for asked, rows in zip(requests, found, strict=True)]

    def check(self) -> None:
        """Classify a window of noise.

        Raises:
            RuntimeError: the model gives no probabilities.
        """
        if not np.isfinite(self._classifier(trial(self.description.min_window_ms)[:1])).all():
            raise RuntimeError("the model gives NaN")

    def _answer(self, asked: Asked, found: Sequence[tuple[float, ...] | None]) -> bytes:
        rows = tuple(
            wire.Row(key=window.key, probabilities=probabilities)
            for window, probabilities in zip(asked.windows, found, strict=True)
        )
        return msgspec.msgpack.encode(wire.Answer(version=wire.VERSION, model=self.description.id, rows=rows))

    @property
    def _other(self) -> Refused:
        return Refused(409, msgspec.msgpack.encode(self.description))


def _window_cost_s(classifier: Classifier) -> float:
    """Return the seconds that a model takes for one of eight windows, the least of some runs."""
    windows = np.resize(trial(_WINDOW_MS), (8, _WINDOW_MS * SAMPLE_RATE_HZ // 1_000))
    took_s: list[float] = []
    # A large model takes long; one run tells enough of it.
    while len(took_s) < _RUNS and sum(took_s) < _SLOW_S:
        began = time.perf_counter()
        classifier(windows)
        took_s.append(time.perf_counter() - began)
    return min(took_s) / len(windows)
