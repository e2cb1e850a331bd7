"""Make a call's messages out of its hops, with the time that each stage took."""

import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from voxgender import metrics
from voxgender.engine.call_state import Hop
from voxgender.protocol import AnyMessage, Change, Result, Segment, Warning

WARN_EVERY_S = 10.0
"""Time after which a warning that still holds is repeated."""
NO_MEDIA_S = 2.0
"""Time without packets after which a warning is sent. Browsers send one in 850 ms while their user is silent."""
NO_MEDIA = "No audio packets arrive; check the network and the microphone."
_LOW_LEVEL = "There is a voice, but it is too quiet to be heard well; turn the microphone up, or speak closer to it."


class TurnTimes(NamedTuple):
    """Times of one turn of one call, from arrival to classification, in seconds of ``time.monotonic``."""

    arrived_at: float
    """Arrival of the last packet by the kernel's clock; 0 without packets."""
    reordered_s: float
    """Time that the last packet was held back for packets before it."""
    pushed_at: float
    started_at: float
    decoded_at: float
    gated_at: float
    classified_at: float
    dropped_s: float = 0.0
    """Audio that was dropped because it waited too long for the engine."""
    windows_per_s: float = 0.0
    """Windows of a call that are classified in a second, as things are."""


class Messages:
    """Makes one call's messages: numbers results, and repeats a warning only now and then.

    Args:
        about: fields that tell the voice that the messages are about, if there are several; noted in each message.
        start_s: where the call's clock starts.
    """

    def __init__(self, *, about: dict[str, Any] | None = None, start_s: float = 0.0) -> None:
        self.about = about or {}
        self.start_s = start_s
        self._sequence = 0
        self._warned: dict[str, float] = {}

    def of(self, hops: Iterable[Hop], turn: TurnTimes | None, now: float, hop_s: float) -> Iterator[AnyMessage]:
        """Return the messages of hops that were processed in one turn.

        Args:
            hops: in order.
            turn: the turn's times; None for a file.
            now: seconds of ``time.monotonic``.
            hop_s: nominal length of a hop.
        """
        messages = self._of(hops, turn, now, hop_s)
        return messages if not self.about and not self.start_s else map(self._placed, messages)

    def _of(self, hops: Iterable[Hop], turn: TurnTimes | None, now: float, hop_s: float) -> Iterator[AnyMessage]:
        if turn is not None and turn.dropped_s:
            metrics.WINDOWS_DROPPED.inc(math.ceil(turn.dropped_s / hop_s))
            yield from self._overloaded(now, turn, hop_s)
        for hop in hops:
            assert hop.decision is not None
            if hop.silence_s >= NO_MEDIA_S:
                yield from self._warn(now, "no_media", NO_MEDIA)
            elif not hop.silence_s:
                # Media is back, so the next stop is warned of at once.
                self._warned.pop("no_media", None)
            if hop.too_quiet:
                yield from self._warn(now, "low_level", _LOW_LEVEL)
            if hop.skipped:
                metrics.WINDOWS_DROPPED.inc()
                yield from self._overloaded(now, turn, hop_s)
            if hop.end_s > hop.start_s:
                yield self._result(hop, turn, now)
            yield from hop.decision.events
            yield from hop.closing

    def _placed(self, message: AnyMessage) -> AnyMessage:
        """Return a message with the voice that it is about, and its times on the clock of the stream or the room."""
        match message:
            case Result() | Segment():
                times = {"start": message.start + self.start_s, "end": message.end + self.start_s}
            case Change():
                times = {"at": message.at + self.start_s}
            case _:
                times = {}
        return msgspec.structs.replace(message, **self.about, **times)

    def _result(self, hop: Hop, turn: TurnTimes | None, now: float) -> Result:
        assert hop.decision is not None
        metrics.results(hop.decision.label).inc()
        stages_s: dict[metrics.Stage, float] = {}
        latency_s = 0.0
        if turn is not None and turn.arrived_at:
            latency_s = max(0.0, now - turn.arrived_at)
            stages_s = {
                "receive": max(0.0, turn.pushed_at - turn.arrived_at - turn.reordered_s),
                "reorder": turn.reordered_s,
                # Negative if a packet came while the turn began.
                "queue": max(0.0, turn.started_at - turn.pushed_at),
                "decode": turn.decoded_at - turn.started_at,
                "gate": turn.gated_at - turn.decoded_at,
                "inference": turn.classified_at - turn.gated_at,
                "send": max(0.0, now - turn.classified_at),
            }
            if not hop.silence_s:
                metrics.LATENCY_SECONDS.observe(latency_s)
                for stage, seconds in stages_s.items():
                    metrics.STAGE_SECONDS[stage].observe(seconds)
        self._sequence += 1
        return Result(
            seq=self._sequence,
            start=hop.start_s,
            end=hop.end_s,
            label=hop.decision.label,
            confidence=hop.decision.confidence,
            scores=hop.scores,
            latency_ms=latency_s * 1_000,
            stages_ms={stage: seconds * 1_000 for stage, seconds in stages_s.items()},
        )

    def _overloaded(self, now: float, turn: TurnTimes | None, hop_s: float) -> Iterator[Warning]:
        rate = turn.windows_per_s if turn is not None else 0.0
        message = (
            f"The server cannot keep up: of each call, {rate:.1f} windows a second are classified, of {1 / hop_s:.1f}."
            if rate or turn is None
            else "The server has lost the model, which runs elsewhere: nothing is classified until it is back."
        )
        yield from self._warn(now, "overloaded", message, rate)

    def _warn(self, now: float, code: str, message: str, windows_per_s: float | UnsetType = UNSET) -> Iterator[Warning]:
        last = self._warned.get(code)
        if last is None or now - last >= WARN_EVERY_S:
            self._warned[code] = now
            yield Warning(code=code, message=message, windows_per_s=windows_per_s)
