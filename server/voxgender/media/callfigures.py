"""Sum up how a call is going, for operators."""

from collections import Counter
from typing import Any

from voxgender.protocol import Message, Result, Summary, Usage

_WEIGHT = 1 / 8
"""Weight of a new latency in the mean."""


class CallFigures:
    """Shares of labels in the speech of a call, and the mean latency of its results."""

    def __init__(self) -> None:
        self._results: Counter[str] = Counter()
        self._latency_ms: float | None = None
        self._audio: dict[int | None, tuple[float, float]] = {}
        """Start of the first result and end of the last one of each channel that has no summary yet, seconds."""
        self._summed = Usage(0.0, 0.0)
        """Audio and speech of the channels that have one."""

    @property
    def usage(self) -> Usage:
        """Audio and speech of the call so far; a channel's speech counts from its summary on."""
        unsummed_s = sum(end - start for start, end in self._audio.values())
        return Usage(round(self._summed.audio_s + unsummed_s, 3), round(self._summed.speech_s, 3))

    def observe(self, message: Message) -> None:
        """Count a message of the call."""
        if isinstance(message, Summary):
            # As they are told, so that the sums are those of what was told.
            audio_s, speech_s = round(message.duration, 3), round(message.speech, 3)
            self._summed = Usage(self._summed.audio_s + audio_s, self._summed.speech_s + speech_s)
            self._audio.pop(message.channel, None)
        if not isinstance(message, Result):
            return
        start, _ = self._audio.get(message.channel, (message.start, 0.0))
        self._audio[message.channel] = (start, message.end)
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
