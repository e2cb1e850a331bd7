"""One call's listening: what arrives goes to the judge, what was heard comes back and becomes messages."""

from collections.abc import Iterator
from time import monotonic
from typing import NamedTuple

from voxgender import metrics
from voxgender.analysis.beat import SLACK_S, Slot
from voxgender.analysis.judge import Ear, Heard, Job, Verdicts
from voxgender.audio.activity import FRAME
from voxgender.audio.frames import SAMPLE_RATE_HZ
from voxgender.audio.hops import NO_MEDIA_S, Pause
from voxgender.audio.track import Batch
from voxgender.audio.windows import Picker
from voxgender.decisions import Decider, Observation, Span, Verdict
from voxgender.inference.batcher import Done
from voxgender.protocol import Label, Message, Result, Warning

WARN_EVERY_S = 10.0
"""A warning that still holds is said again after so long, not at every hop."""
LOOK_EVERY_S = 10.0
"""How often it is looked whether a call's hops still end in their slot."""


class Taken(NamedTuple):
    """What is known of an arrival when it is handed to the judge."""

    samples: int
    """By how many the hop is nearer to its end, as far as its packets tell."""
    at: float
    """When that was, seconds of ``time.monotonic``."""
    arrived_at: float
    """When its last packet came; 0 where none did."""
    reordered_s: float = 0.0
    since_last_s: float = 0.0
    """How long nothing had arrived by then; 0 where something did."""


class Listener:
    """State of one call: the decisions, what was warned of, how much audio is being judged.

    :meth:`take` runs ahead of :meth:`hear` by the arrivals that are being judged.

    Args:
        picker: fresh.
        hop_samples: length of a hop.
        slot: when hops are to end; None for no matter when.
    """

    def __init__(self, picker: Picker, hop_samples: int, slot: Slot | None = None) -> None:
        self._ear = Ear(picker, hop_samples)
        self._hop_samples = hop_samples
        self._decider = Decider(window_s=picker.full / SAMPLE_RATE_HZ)
        self._sequence = 0
        self._warned: dict[str, float] = {}
        self._end_s = 0.0
        self._judging = 0
        self._slot = slot
        self._looked_at: float | None = None

    def missing_s(self) -> float:
        """Audio that the next hop still wants, in seconds; of what is being judged, the packets' word is taken.

        The first packet is wanted at once: it tells when hops end.
        """
        if self._slot is not None and self._looked_at is None:
            return 0.0
        # Half a sample less: sums of seconds must not make it wait for one packet more.
        return (self._missing - 0.5) / SAMPLE_RATE_HZ

    @property
    def _missing(self) -> int:
        return (self._ear.cutter.missing - self._judging) % self._hop_samples or self._hop_samples

    def take(self, arrival: Batch | Pause | None) -> tuple[Job, Taken]:
        """Make the judge's job of what arrived; None ends the call."""
        now = monotonic()
        shorten = 0
        match arrival:
            case Batch():
                samples = _samples(arrival.duration_s)
                shorten = self._too_late(samples, arrival.arrived_at, now)
                taken = Taken(samples + shorten, now, arrival.arrived_at, arrival.reordered_s)
            case Pause():
                taken = Taken(_samples(arrival.duration_s), now, arrival.at, since_last_s=arrival.since_last_s)
            case None:
                taken = Taken(0, now, 0.0)
        self._judging += taken.samples
        return Job(self._ear, arrival, shorten), taken

    def _too_late(self, samples: int, arrived_at: float, now: float) -> int:
        """By how many samples the hop in hand would end later than its slot wants it to; looked at now and then."""
        if self._slot is None:
            return 0
        slack_s = 0.0
        if self._looked_at is not None:
            # What follows a pause is longer than a hop by its packets' word; only the judge knows what is new of it.
            if now - self._looked_at < LOOK_EVERY_S or samples > self._hop_samples:
                return 0
            slack_s = SLACK_S
        self._looked_at = now
        due = arrived_at + (self._missing - samples) / SAMPLE_RATE_HZ
        return self._slot.frames_too_late(due, slack_s=slack_s) * FRAME

    def hear(self, taken: Taken, done: Done[Verdicts] | None) -> Iterator[Message]:
        """What there is to tell after an arrival was judged, or dropped (None)."""
        self._judging -= taken.samples
        if done is None:
            yield from self._overloaded(taken.at)
            return
        if taken.since_last_s >= NO_MEDIA_S:
            yield from self._warn(
                taken.at, "no_media", "No audio packets arrive; check the network and the microphone."
            )
        elif not taken.since_last_s:
            # The warning is over: the next stop is a new one, and is told of at once.
            self._warned.pop("no_media", None)
        for heard in done.outcome.hops:
            if heard.dropped:
                yield from self._overloaded(taken.at)
            yield from self._hear(heard, taken, done)

    def _hear(self, heard: Heard, taken: Taken, done: Done[Verdicts]) -> Iterator[Message]:
        self._end_s = heard.end_s
        speech = tuple(
            Span(max(heard.start_s, heard.start_s + start / SAMPLE_RATE_HZ), heard.start_s + end / SAMPLE_RATE_HZ)
            for start, end in heard.speech
        )
        verdict = self._decider.observe(Observation(heard.start_s, heard.end_s, speech, heard.scores, heard.voice))
        if heard.end_s > heard.start_s:
            yield self._result(heard, taken, done, verdict)
        yield from verdict.events

    def finish(self) -> Iterator[Message]:
        """The last segment and the summary."""
        yield from self._decider.finish(self._end_s)

    def overall(self) -> tuple[Label, float] | None:
        """Label and confidence of the whole call; None where no speech was found."""
        return self._decider.overall()

    def _result(self, heard: Heard, taken: Taken, done: Done[Verdicts], verdict: Verdict) -> Result:
        stages_s: dict[metrics.Stage, float] = {}
        latency_s = 0.0
        metrics.RESULTS[verdict.label].inc()
        if taken.arrived_at:
            now = monotonic()
            latency_s = now - taken.arrived_at
            stages_s = {
                "receive": max(0.0, taken.at - taken.arrived_at - taken.reordered_s),
                "reorder": taken.reordered_s,
                "queue": done.queue_s,
                "decode": done.outcome.decode_s,
                "gate": done.outcome.gate_s,
                "inference": done.outcome.inference_s,
                "send": max(0.0, now - taken.at - done.queue_s - done.run_s),
            }
            if not heard.stalled:
                metrics.LATENCY_SECONDS.observe(latency_s)
                for stage, seconds in stages_s.items():
                    metrics.STAGE_SECONDS[stage].observe(seconds)
        self._sequence += 1
        return Result(
            seq=self._sequence,
            start=heard.start_s,
            end=heard.end_s,
            label=verdict.label,
            confidence=verdict.confidence,
            scores=heard.scores,
            latency_ms=latency_s * 1_000,
            stages_ms={stage: seconds * 1_000 for stage, seconds in stages_s.items()},
        )

    def _overloaded(self, now: float) -> Iterator[Warning]:
        metrics.WINDOWS_DROPPED.inc()
        yield from self._warn(now, "overloaded", "The server cannot keep up: some audio is not classified.")

    def _warn(self, now: float, code: str, message: str) -> Iterator[Warning]:
        last = self._warned.get(code)
        if last is None or now - last >= WARN_EVERY_S:
            self._warned[code] = now
            yield Warning(code=code, message=message)


def _samples(duration_s: float) -> int:
    return round(duration_s * SAMPLE_RATE_HZ)
