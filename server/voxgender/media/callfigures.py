"""Sum up how a call is going, for operators."""

from collections import Counter
from typing import Any

from voxgender.protocol import Message, Result

_WEIGHT = 1 / 8
"""Weight of a new latency in the mean."""


class CallFigures:
    """Shares of labels in the speech of a call, and the mean latency of its results."""

    def __init__(self) -> None:
        self._results: Counter[str] = Counter()
        self._latency_ms: float | None = None

    def observe(self, message: Message) -> None:
        """Count a message of the call."""
        if not isinstance(message, Result):
            return
        if message.label != "no_speech":
            self._results[message.label] += 1
        before = message.latency_ms if self._latency_ms is None else self._latency_ms
        self._latency_ms = before + (message.latency_ms - before) * _WEIGHT

    def to_dict(self) -> dict[str, Any]:
        """Return ``shares`` by label, which add up to 1 or are empty, and ``latency_ms``, None before a result."""
        results = self._results.total()
        return {
            "shares": {label: round(count / results, 3) for label, count in sorted(self._results.items())},
            "latency_ms": None if self._latency_ms is None else round(self._latency_ms, 1),
        }
