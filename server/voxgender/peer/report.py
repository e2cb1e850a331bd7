"""What a caller measures, and how it is summed up."""

import math
from array import array
from collections import Counter
from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

from voxgender.peer.speech import PACKET_S, Turn
from voxgender.protocol import AnyMessage, Hello, Result, Summary, Voice

Ending = Literal["played", "hung_up", "lost"]
"""The audio came to its end, the caller hung up before that, or the server or the way to it went."""


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Distribution of a delay, milliseconds."""

    count: int
    p50: float
    p95: float
    p99: float
    max: float

    @classmethod
    def of(cls, values_ms: Sequence[float] | npt.NDArray[np.float64]) -> "Latency | None":
        """Percentiles, interpolated between neighbours; ``None`` of nothing."""
        if not len(values_ms):
            return None
        p50, p95, p99, worst = np.percentile(values_ms, (50, 95, 99, 100)).round(1).tolist()
        return cls(count=len(values_ms), p50=p50, p95=p95, p99=p99, max=worst)


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """One speaker's turn, and how soon the server told who it is."""

    start: float
    label: Voice | None
    """Who speaks, where that is known."""
    delay_ms: float | None
    """From the sending of the turn's first packet to the first result with its label (with any voice's, where the
    speaker is not known); ``None`` where none came."""


class Report(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="report"):
    """One call, as the caller saw it."""

    session: str
    ended: Ending
    connect_ms: float
    """From the offer to the first packet that could be sent."""
    seconds: float
    """Of audio sent."""
    messages: dict[str, int]
    """Received, by type."""
    results: int
    lost_results: int
    """Gaps in ``seq``; results travel unreliably."""
    unordered_results: int
    latency_ms: Latency | None
    """By the caller's own clock: from the sending of a window's last packet to the result's arrival."""
    server_latency_ms: Latency | None
    """What the results say: from the last packet's arrival to the send."""
    turns: tuple[Heard, ...]
    summary: Summary | None


class Recorder:
    """Takes a call's messages in as they arrive."""

    def __init__(self, sent: Sequence[float], turns: Sequence[Turn] = ()) -> None:
        """
        Args:
            sent: when each packet left, seconds; may grow meanwhile.
            turns: who speaks when, in seconds of the audio.
        """
        self._sent = sent
        self._turns = turns
        self._heard: list[float | None] = [None] * len(turns)
        self._seen: set[int] = set()
        self._latest = 0
        self._unordered = 0
        self._session = ""
        self.messages: Counter[str] = Counter()
        self._arrivals = array("d")
        self._latencies_ms = array("d")
        self._server_latencies_ms = array("d")
        self.summary: Summary | None = None

    def take(self, message: AnyMessage, arrived_at: float) -> None:
        self.messages[message.type] += 1
        match message:
            case Hello():
                self._session = message.session
            case Result():
                self._take_result(message, arrived_at)
            case Summary():
                self.summary = message

    def between(self, begin: float, end: float) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Latencies of the results that arrived in a stretch of time: by our clock (``nan`` where not known), and
        the server's own."""
        arrivals = np.array(self._arrivals)
        inside = (arrivals >= begin) & (arrivals < end)
        return np.array(self._latencies_ms)[inside], np.array(self._server_latencies_ms)[inside]

    @property
    def lost_results(self) -> int:
        return max(self._seen) - min(self._seen) + 1 - len(self._seen) if self._seen else 0

    def report(self, *, ended: Ending, connect_ms: float) -> Report:
        known = [latency for latency in self._latencies_ms if not math.isnan(latency)]
        return Report(
            session=self._session,
            ended=ended,
            connect_ms=round(connect_ms, 1),
            seconds=round(len(self._sent) * PACKET_S, 2),
            messages=dict(self.messages),
            results=self.messages["result"],
            lost_results=self.lost_results,
            unordered_results=self._unordered,
            latency_ms=Latency.of(known),
            server_latency_ms=Latency.of(self._server_latencies_ms),
            turns=tuple(
                Heard(
                    start=round(turn.start, 2),
                    label=turn.label,
                    delay_ms=None if delay is None else round(delay, 1),
                )
                for turn, delay in zip(self._turns, self._heard, strict=True)
            ),
            summary=self.summary,
        )

    def _take_result(self, result: Result, arrived_at: float) -> None:
        self._unordered += result.seq < self._latest
        self._latest = max(self._latest, result.seq)
        self._seen.add(result.seq)
        last = math.ceil(result.end / PACKET_S - 1e-6) - 1
        self._arrivals.append(arrived_at)
        self._latencies_ms.append((arrived_at - self._left(last)) * 1000)
        self._server_latencies_ms.append(result.latency_ms)
        for number, turn in enumerate(self._turns):
            wanted = ("male", "female") if turn.label is None else (turn.label,)
            if self._heard[number] is None and turn.start < result.end <= turn.end and result.label in wanted:
                self._heard[number] = (arrived_at - self._left(int(turn.start / PACKET_S))) * 1000

    def _left(self, number: int) -> float:
        return self._sent[number] if 0 <= number < len(self._sent) else math.nan
