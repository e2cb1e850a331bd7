"""Sum up a caller's measurements."""

import math
from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

from voxgender.peer.speech import PACKET_S
from voxgender.peer.voices import SpeakerTurn
from voxgender.protocol import AnyMessage, Hello, Result, Summary, VoiceLabel, Warning

IN_TIME_MS = 200.0
"""Greatest useful latency of a result in a live call."""
FLOWING = 3
"""Results in a row that have to be in time before an outage counts as over."""
MAX_AHEAD = 100
"""Packets by which a server's clock may run ahead after an outage."""

_ROUNDING_S = 0.0005

Ending = Literal["played", "hung_up", "lost"]
"""Reason of the end: the audio was over, the caller hung up, or the connection was lost."""


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Distribution of a delay, milliseconds."""

    count: int
    p50: float
    p95: float
    p99: float
    max: float

    @classmethod
    def of(cls, values_ms: Sequence[float] | npt.NDArray[np.float64]) -> "Latency | None":
        """Compute percentiles, interpolated between neighbours; ``None`` without values."""
        if not len(values_ms):
            return None
        p50, p95, p99, worst = np.percentile(values_ms, (50, 95, 99, 100)).round(1).tolist()
        return cls(count=len(values_ms), p50=p50, p95=p95, p99=p99, max=worst)


class TurnReport(msgspec.Struct, frozen=True, kw_only=True):
    """A speaker's turn, and the delay until the server named the voice."""

    start: float
    label: VoiceLabel | None
    """The speaker's voice, if known."""
    delay_ms: float | None
    """Time from sending the turn's first packet to the first result with its label, or with any voice's label if the
    speaker is not known; ``None`` without such a result."""


class Report(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", tag="report"):
    """A caller's measurements of one call: of a room, those of all voices together."""

    session: str
    ended: Ending
    connect_ms: float
    """Time from the offer until the first packet could be sent."""
    seconds: float
    """Length of the audio sent."""
    messages: dict[str, int]
    """Number of messages received, by type."""
    results: int
    lost_results: int
    """Gaps in ``seq``; results travel unreliably."""
    unordered_results: int
    latency_ms: Latency | None
    """By the caller's own clock: from the sending of a window's last packet, even if it is lost or late on the way, to
    the result's arrival. Windows that end in an outage are left out."""
    server_latency_ms: Latency | None
    """Latency by the results themselves: from the last packet's arrival to the send."""
    first_result_ms: float | None
    """Time from the offer to the first result."""
    recovery_ms: tuple[float | None, ...]
    """Time from each outage's end until results come in time again; ``None`` if they never did."""
    turns: tuple[TurnReport, ...]
    summary: Summary | None
    voices: "dict[str, Report]" = {}
    """The same of each voice of a room, by name."""


class Recorder:
    """Records a call's messages as they arrive. All times are seconds of ``time.monotonic``."""

    def __init__(
        self,
        sent: Sequence[float],
        turns: Sequence[SpeakerTurn] = (),
        *,
        outages: Sequence[tuple[float, float]] = (),
    ) -> None:
        """Prepare for one call.

        Args:
            sent: sending time of each packet; may grow during the call.
            turns: the speakers' turns, in seconds of the audio.
            outages: begin and end of each outage; may grow during the call.
        """
        self.sent = sent
        self._turns = turns
        self.outages = outages
        self._heard: list[float | None] = [None] * len(turns)
        self._seen: set[int] = set()
        self._latest = 0
        self.unordered_results = 0
        self._ahead = 0
        self._session = ""
        self._arrivals = array("d")
        self.latencies_ms = array("d")
        self.server_latencies_ms = array("d")
        self.placed_at = 0.0
        """Time of the offer."""
        self.connect_ms = 0.0
        self.begins_s = 0.0
        """Time of the first packet by the clock of the call, seconds; above 0 for a room's voice that comes later."""
        self.hop_ms: int | None = None
        """Time between two results, from the server's ``hello``."""
        self.messages: Counter[str] = Counter()
        self.warnings: Counter[str] = Counter()
        """Number of warnings by code."""
        self.summary: Summary | None = None

    def add(self, message: AnyMessage, arrived_at: float) -> None:
        self.messages[message.type] += 1
        match message:
            case Hello():
                self._session, self.hop_ms = message.session, message.hop_ms
            case Result():
                self._take_result(message, arrived_at)
            case Warning():
                self.warnings[message.code] += 1
            case Summary():
                self.summary = message

    def between(self, begin: float, end: float) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return the latencies of the results that arrived between two times.

        The first list is by our clock, with ``nan`` for unknown ones; the second is the server's own.
        """
        arrivals = np.array(self._arrivals)
        inside = (arrivals >= begin) & (arrivals < end)
        return np.array(self.latencies_ms)[inside], np.array(self.server_latencies_ms)[inside]

    @property
    def latest_ms(self) -> float:
        """Latency of the newest result, ``nan`` if unknown."""
        return self.latencies_ms[-1] if self.latencies_ms else math.nan

    @property
    def first_result_ms(self) -> float | None:
        """Return the time from the offer to the first result, milliseconds."""
        return round((self._arrivals[0] - self.placed_at) * 1000, 1) if self._arrivals else None

    @property
    def recovery_ms(self) -> tuple[float | None, ...]:
        """Return for each outage the time from its end until results come in time again, milliseconds."""
        arrivals, in_time = np.array(self._arrivals), np.array(self.latencies_ms) <= IN_TIME_MS
        return tuple(_first_run(arrivals[arrivals >= end] - end, in_time[arrivals >= end]) for _, end in self.outages)

    @property
    def lost_results(self) -> int:
        return max(self._seen) - min(self._seen) + 1 - len(self._seen) if self._seen else 0

    def report(self, *, ended: Ending, voices: "Mapping[str, Recorder] | None" = None) -> Report:
        """Sum up.

        Args:
            ended: reason of the call's end.
            voices: what was recorded of each voice of a room, by name; the rest of the call was recorded here.
        """
        parts = [self, *(voices or {}).values()]
        latencies_ms = np.concatenate([part.latencies_ms for part in parts])
        firsts_ms = [first for part in parts if (first := part.first_result_ms) is not None]
        recoveries = zip(*(part.recovery_ms for part in parts if part.messages["result"]), strict=True)
        return Report(
            session=self._session,
            ended=ended,
            connect_ms=round(self.connect_ms, 1),
            seconds=round(max(len(part.sent) for part in parts) * PACKET_S, 2),
            messages=dict(sum((part.messages for part in parts), Counter[str]())),
            results=sum(part.messages["result"] for part in parts),
            lost_results=sum(part.lost_results for part in parts),
            unordered_results=sum(part.unordered_results for part in parts),
            latency_ms=Latency.of(latencies_ms[~np.isnan(latencies_ms)]),
            server_latency_ms=Latency.of(np.concatenate([part.server_latencies_ms for part in parts])),
            first_result_ms=min(firsts_ms, default=None),
            recovery_ms=tuple(_latest(of_each) for of_each in recoveries) or (None,) * len(self.outages),
            turns=tuple(
                TurnReport(
                    start=round(turn.start, 2),
                    label=turn.label,
                    delay_ms=None if delay is None else round(delay, 1),
                )
                for turn, delay in zip(self._turns, self._heard, strict=True)
            ),
            summary=self.summary,
            voices={
                name: msgspec.structs.replace(
                    voice.report(ended=ended), session=self._session, connect_ms=round(self.connect_ms, 1)
                )
                for name, voice in (voices or {}).items()
            },
        )

    def _take_result(self, result: Result, arrived_at: float) -> None:
        self.unordered_results += result.seq < self._latest
        self._latest = max(self._latest, result.seq)
        self._seen.add(result.seq)
        end = result.end - self.begins_s
        last = math.ceil(end / PACKET_S - 1e-6) - 1
        self._arrivals.append(arrived_at)
        self.latencies_ms.append((arrived_at - self._completed(last, arrived_at - result.latency_ms / 1000)) * 1000)
        self.server_latencies_ms.append(result.latency_ms)
        for number, turn in enumerate(self._turns):
            wanted = ("male", "female") if turn.label is None else (turn.label,)
            if self._heard[number] is None and turn.start < end <= turn.end and result.label in wanted:
                self._heard[number] = (arrived_at - self._left(int(turn.start / PACKET_S))) * 1000

    def _completed(self, last: int, heard_at: float) -> float:
        """Return when a window's last packet was sent, or ``nan`` if it cannot have arrived.

        A server may fill an outage with a little more silence than it lasted. Its clock is ahead of ours then, and the
        window's end lies in the future; so the last packet that can have arrived by ``heard_at`` counts.
        """
        last -= self._ahead
        if last >= len(self.sent) or self.sent[last] > heard_at + _ROUNDING_S:
            newest = bisect_right(self.sent, heard_at + _ROUNDING_S) - 1
            if self._ahead + last - newest > MAX_AHEAD:
                return math.nan
            self._ahead += last - newest
            last = newest
        left = self._left(last)
        return math.nan if any(start <= left < end for start, end in self.outages) else left

    def _left(self, number: int) -> float:
        return self.sent[number] if 0 <= number < len(self.sent) else math.nan


def _latest(recoveries_ms: Sequence[float | None]) -> float | None:
    """Return the longest of several voices' recoveries; None if one never recovered."""
    known = [recovery for recovery in recoveries_ms if recovery is not None]
    return max(known) if len(known) == len(recoveries_ms) else None


def _first_run(after_s: npt.NDArray[np.float64], in_time: npt.NDArray[np.bool_]) -> float | None:
    """Return the milliseconds to the first of ``FLOWING`` results in a row that are in time."""
    for start in range(len(in_time) - FLOWING + 1):
        if in_time[start : start + FLOWING].all():
            return round(float(after_s[start]) * 1000, 1)
    return None
