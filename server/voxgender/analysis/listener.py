"""One call's listening: hops go to the judge, what was heard comes back and becomes messages."""

from collections.abc import Iterator
from time import monotonic
from typing import NamedTuple

import numpy as np

from voxgender import metrics
from voxgender.analysis.judge import Heard, Job, Judge
from voxgender.audio.hops import Hop
from voxgender.audio.resampler import SAMPLE_RATE_HZ, Samples
from voxgender.audio.ring import Ring
from voxgender.audio.windows import Picker
from voxgender.decisions import Decider, Observation, Span, Verdict
from voxgender.inference.batcher import Done
from voxgender.protocol import Label, Message, Result, Warning

WARN_EVERY_S = 10.0
"""A warning that still holds is said again after so long, not at every hop."""

_NOTHING: Samples = np.zeros(0, dtype=np.float32)


class Moment(NamedTuple):
    """A hop without its samples: all that is needed once it has been judged."""

    start_s: float
    end_s: float
    arrived_at: float = 0.0
    taken_at: float = 0.0
    """When it was handed to the judge, seconds of ``time.monotonic``."""
    stalled: bool = False

    @classmethod
    def of(cls, hop: Hop) -> "Moment":
        return cls(hop.start_s, hop.end_s, hop.arrived_at, monotonic(), hop.stalled)


class Listener:
    """State of one call: the newest audio, the decisions, what was warned of.

    :meth:`take` runs ahead of :meth:`hear` by the hops that are being judged.
    """

    def __init__(self, judge: Judge, picker: Picker) -> None:
        self._ear = judge.ear(picker)
        self._ring = Ring(picker.reach)
        self._decider = Decider(window_s=picker.full / SAMPLE_RATE_HZ)
        self._sequence = 0
        self._warned: dict[str, float] = {}
        self._end_s = 0.0

    @property
    def now(self) -> Moment:
        """The call's clock: the end of the last hop taken."""
        return Moment(self._end_s, self._end_s)

    def take(self, hop: Hop) -> Job:
        """Make the judge's job of the next hop."""
        self._ring.append(hop.samples)
        self._end_s = hop.end_s
        return Job(self._ear, hop.samples, self._ring.latest(self._ring.capacity), last=False)

    def last(self) -> Job:
        """The job that ends the call's last utterance."""
        return Job(self._ear, _NOTHING, self._ring.latest(self._ring.capacity), last=True)

    def hear(self, moment: Moment, done: Done[Heard] | None) -> Iterator[Message]:
        """What there is to tell after a hop was judged, or dropped (None)."""
        if moment.stalled:
            yield from self._warn(moment, "no_media", "No audio packets arrive; check the network and the microphone.")
        if done is None or done.outcome.dropped:
            metrics.WINDOWS_DROPPED.inc()
            yield from self._warn(moment, "overloaded", "The server cannot keep up: some audio is not classified.")
        if done is None:
            return
        heard = done.outcome
        speech = tuple(
            Span(
                max(moment.start_s, moment.start_s + start / SAMPLE_RATE_HZ),
                moment.start_s + end / SAMPLE_RATE_HZ,
            )
            for start, end in heard.speech
        )
        verdict = self._decider.observe(Observation(moment.start_s, moment.end_s, speech, heard.scores, heard.voice))
        if moment.end_s > moment.start_s:
            yield self._result(moment, done, verdict)
        yield from verdict.events

    def finish(self) -> Iterator[Message]:
        """The last segment and the summary."""
        yield from self._decider.finish(self._end_s)

    def overall(self) -> tuple[Label, float] | None:
        """Label and confidence of the whole call; None where no speech was found."""
        return self._decider.overall()

    def _result(self, moment: Moment, done: Done[Heard], verdict: Verdict) -> Result:
        latency_s = monotonic() - moment.arrived_at if moment.arrived_at else 0.0
        stages_s = {
            "decode": moment.taken_at - moment.arrived_at if moment.arrived_at else 0.0,
            "queue": done.queue_s,
            "inference": done.inference_s,
        }
        metrics.RESULTS.labels(verdict.label).inc()
        if moment.arrived_at and not moment.stalled:
            metrics.LATENCY_SECONDS.observe(latency_s)
            for stage, seconds in stages_s.items():
                metrics.STAGE_SECONDS.labels(stage).observe(seconds)
        self._sequence += 1
        return Result(
            seq=self._sequence,
            start=round(moment.start_s, 3),
            end=round(moment.end_s, 3),
            label=verdict.label,
            confidence=verdict.confidence,
            scores=done.outcome.scores,
            latency_ms=round(latency_s * 1_000, 1),
            stages_ms={stage: round(seconds * 1_000, 1) for stage, seconds in stages_s.items()},
        )

    def _warn(self, moment: Moment, code: str, message: str) -> Iterator[Warning]:
        last = self._warned.get(code)
        if last is None or moment.end_s - last >= WARN_EVERY_S:
            self._warned[code] = moment.end_s
            yield Warning(code=code, message=message)
