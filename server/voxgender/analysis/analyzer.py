"""One analyzer a process: the networks and the batcher that judges all calls together."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from functools import partial
from itertools import islice
from os import PathLike
from typing import Any, NamedTuple

from aiortc import MediaStreamTrack

from voxgender.analysis.beat import Beat, Slot
from voxgender.analysis.judge import Job, Judge, Verdicts
from voxgender.analysis.listener import Listener, Taken
from voxgender.audio.files import read_frames
from voxgender.audio.frames import SAMPLE_RATE_HZ
from voxgender.audio.hops import Pause, arrivals
from voxgender.audio.track import Batch
from voxgender.audio.windows import Picker
from voxgender.inference.batcher import Batcher, Done
from voxgender.inference.classifier import Classifier
from voxgender.protocol import Hello, Label, Message, Result, Segment, Summary

WINDOW_MS = 1_000
HOP_MS = 192
"""Six frames of the speech gate: no hop leaves a frame unfinished."""

_FRAMES_AT_ONCE = 32

_MAX_WAITING_MS = 4_000
"""Audio of a call that waits to be judged."""

_MAX_BEHIND = 250
"""Arrivals kept for a caller of ``analyze`` that does not come for its messages."""


class FileVerdict(NamedTuple):
    """A whole file's label. ``label`` is None where no speech was found."""

    label: Label | None
    confidence: float
    speech_s: float
    segments: tuple[Segment, ...]
    results: tuple[Result, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As it stands in the output of ``voxgender classify --json``."""
        return {
            "label": self.label,
            "confidence": round(self.confidence, 4),
            "speech_seconds": round(self.speech_s, 3),
            "segments": [
                {name: value for name, value in segment.to_dict().items() if name not in ("v", "type")}
                for segment in self.segments
            ],
        }

    def __str__(self) -> str:
        if self.label is None:
            return "no speech"
        return f"{self.label} ({self.confidence:.0%}, {self.speech_s:.1f} s of speech)"


class Analyzer:
    """Listens to any number of calls at once.

    Args:
        classifier: the model; None hears speech and silence, but no gender.
        window_ms: audio that the model hears at once.
        hop_ms: time between two results.
    """

    def __init__(self, classifier: Classifier | None, *, window_ms: int = WINDOW_MS, hop_ms: int = HOP_MS) -> None:
        self.window_ms = window_ms
        self.hop_ms = hop_ms
        self.model = classifier.name if classifier else "off"
        self._short_ms = min(window_ms, classifier.min_window_ms if classifier else window_ms)
        self._judge = Judge(classifier)
        self._beat = Beat(hop_ms / 1_000)
        self._batcher: Batcher[Job, Verdicts] = Batcher(self._judge, max_waiting=max(2, _MAX_WAITING_MS // hop_ms))

    def close(self) -> None:
        """Stop the inference thread. Calls still going on fail."""
        self._batcher.close()

    def hello(self, session: str) -> Hello:
        """The greeting that tells a client what is listening."""
        return Hello(session=session, model=self.model, window_ms=self.window_ms, hop_ms=self.hop_ms)

    async def analyze(self, track: MediaStreamTrack) -> AsyncGenerator[Message, None]:
        """Listen to a live track until it ends: results and events as they come, the summary last.

        The track is read as fast as it gives, whatever the pace of the caller: what neither the model nor the
        caller can keep up with is dropped, oldest first, and said in a ``warning``.

        Raises:
            AudioError: the track carries no audio.
        """
        slot = self._beat.join()
        listener = self._listener(slot)
        lane = self._batcher.lane()
        inbox: asyncio.Queue[tuple[Taken, asyncio.Future[Done[Verdicts] | None]] | None] = asyncio.Queue()
        missed: Taken | None = None

        def submit(arrival: Batch | Pause | None) -> None:
            nonlocal missed
            if inbox.qsize() >= _MAX_BEHIND and (oldest := inbox.get_nowait()) is not None:
                # All of them count as judged once this one is told of.
                missed = oldest[0]._replace(samples=oldest[0].samples + (missed.samples if missed else 0))
                _abandon(oldest[1])
            job, taken = listener.take(arrival)
            inbox.put_nowait((taken, lane.submit(job)))

        async def feed() -> None:
            try:
                async with aclosing(arrivals(track, self.hop_ms / 1_000, listener.missing_s)) as arriving:
                    async for arrival in arriving:
                        submit(arrival)
                submit(None)
            finally:
                inbox.put_nowait(None)

        feeder = asyncio.create_task(feed())
        try:
            while (waiting := await inbox.get()) is not None:
                if missed is not None:
                    # More may be missed while the caller has a message of it.
                    told, missed = missed, None
                    for message in listener.hear(told, None):
                        yield message
                taken, future = waiting
                for message in listener.hear(taken, await future):
                    yield message
            await feeder
            for message in listener.finish():
                yield message
        finally:
            slot.leave()
            feeder.cancel()
            await asyncio.gather(feeder, return_exceptions=True)
            while not inbox.empty():
                if (rest := inbox.get_nowait()) is not None:
                    _abandon(rest[1])

    def analyze_file(self, path: str | PathLike[str]) -> Iterator[Message]:
        """Listen to a file, as fast as the model can, by the very same steps as a live call.

        Raises:
            AudioError: the file is missing, is no media file, or holds no audio.
        """
        return self._replay(self._listener(), path)

    def classify_file(self, path: str | PathLike[str]) -> FileVerdict:
        """Who speaks in a file, all of its speech taken together.

        Raises:
            AudioError: the file is missing, is no media file, or holds no audio.
        """
        listener = self._listener()
        messages = list(self._replay(listener, path))
        segments = tuple(message for message in messages if isinstance(message, Segment))
        label, confidence = listener.overall() or (None, 0.0)
        (summary,) = (message for message in messages if isinstance(message, Summary))
        results = tuple(message for message in messages if isinstance(message, Result))
        return FileVerdict(label, confidence, summary.speech, segments, results)

    def _replay(self, listener: Listener, path: str | PathLike[str]) -> Iterator[Message]:
        frames = read_frames(path)
        while some := list(islice(frames, _FRAMES_AT_ONCE)):
            yield from self._hear(listener, Batch(partial(list, some), 0.0, 0.0))
        yield from self._hear(listener, None)
        yield from listener.finish()

    def _hear(self, listener: Listener, arrival: Batch | None) -> Iterator[Message]:
        job, taken = listener.take(arrival)
        (verdicts,) = self._judge([job], live=False)
        yield from listener.hear(taken, Done(verdicts, 0.0, 0.0))

    @property
    def _hop_samples(self) -> int:
        return self.hop_ms * SAMPLE_RATE_HZ // 1_000

    def _listener(self, slot: Slot | None = None) -> Listener:
        full, short = (ms * SAMPLE_RATE_HZ // 1_000 for ms in (self.window_ms, self._short_ms))
        return Listener(Picker(full=full, short=short, hop=self._hop_samples), self._hop_samples, slot)


def _abandon(future: asyncio.Future[Any]) -> None:
    if not future.cancel() and not future.cancelled():
        future.exception()  # One that nobody asks for is logged.
