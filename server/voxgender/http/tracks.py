"""Put the tracks of a phone call side by side: the channels of one stream, on one clock."""

from bisect import insort
from collections.abc import Sequence
from operator import itemgetter
from typing import NamedTuple

LAG_S = 0.5
"""Time by which a track may be behind another before silence stands for it."""
MAX_GAP_S = 2.0
"""A longer gap in a track is not filled with silence but skipped. Timestamps that go back by more begin anew."""
TOLERANCE_S = 0.03
"""Timestamps may be off by this much: gateways send 20 ms at a time."""
MAX_EARLY = 4
"""Messages of a track that wait for one before them."""


class Tracks:
    """Interleaves tracks whose messages come in any order, by their numbers and timestamps.

    Args:
        names: of the tracks, in the order of the channels; those that are missing are taken as they come.
        count: number of channels; other tracks are left out.
        rate_hz: samples of a track in a second.
        silence: one sample of silence, as it is encoded.
    """

    def __init__(self, names: Sequence[str], count: int, *, rate_hz: int, silence: bytes) -> None:
        self._tracks: dict[str, _Track] = {}
        self._count = count
        self._rate_hz = rate_hz
        self._silence = silence
        for name in names[:count]:
            self._track(name)

    def add(self, name: str, chunk: int | None, at_ms: int | None, samples: bytes) -> bytes:
        """Add a message of a track.

        Args:
            name: of the track.
            chunk: number of the message in its track, counted from 1; None if it is not known.
            at_ms: time of its first sample; None if it is not known.
            samples: encoded samples.

        Returns:
            Interleaved samples that are complete with it, maybe none.
        """
        track = self._track(name)
        if track is None:
            return b""
        for message in track.in_order(_Message(chunk, at_ms, samples)):
            self._place(track, message)
        return self._ready(LAG_S)

    def rest(self) -> bytes:
        """Return all that is left, at the end of the call."""
        for track in self._tracks.values():
            for message in track.late():
                self._place(track, message)
        return self._ready(0.0)

    def _track(self, name: str) -> "_Track | None":
        if name not in self._tracks and len(self._tracks) < self._count:
            self._tracks[name] = _Track()
        return self._tracks.get(name)

    def _place(self, track: "_Track", message: "_Message") -> None:
        track.compare(message)
        size = len(self._silence)
        samples = message.samples
        if message.at_ms is not None:
            at = round(message.at_ms * self._rate_hz / 1_000)
            if track.skew is None:
                # The clock begins with the first message of any track.
                began = [other.skew for other in self._tracks.values() if other.skew is not None]
                track.skew = min(began, default=at)
            gap = at - track.skew - track.end
            tolerance = TOLERANCE_S * self._rate_hz
            if gap < -tolerance:
                samples = samples[self._known(track, message, -gap) * size :]
            else:
                track.stood_in = track.repeated = 0
            if gap > MAX_GAP_S * self._rate_hz:
                track.skew += gap
            elif gap > tolerance:
                track.append(self._silence * gap, size)
        track.append(samples, size)

    def _known(self, track: "_Track", message: "_Message", behind: int) -> int:
        """Return how many samples of a message that is behind its track's end have been heard, or silence stood for.

        Otherwise the gateway's timestamps stand still, are too slow or have begun anew: they count from here.
        """
        assert track.skew is not None
        if message.is_next or track.stands_still:
            known = min(behind, track.stood_in)
        else:
            is_anew = max(behind, track.repeated) > MAX_GAP_S * self._rate_hz
            known = 0 if is_anew else behind
        track.skew -= behind - known
        known = min(known, len(message.samples) // len(self._silence))
        track.stood_in = max(0, track.stood_in - known)
        track.repeated = 0 if message.is_next or track.stands_still else track.repeated + known
        return known

    def _ready(self, lag_s: float) -> bytes:
        tracks, size = list(self._tracks.values()), len(self._silence)
        # A track that has not begun holds the others back no longer than one that lags.
        waiting = [len(track.waiting) // size for track in tracks] + [0] * (self._count - len(tracks))
        count = max(min(waiting), max(waiting) - round(lag_s * self._rate_hz))
        if count <= 0:
            return b""
        parts = []
        for track in tracks:
            track.stand_in(self._silence, max(0, count - len(track.waiting) // size))
            parts.append(bytes(track.waiting[: count * size]))
            del track.waiting[: count * size]
        parts += [self._silence * count] * (self._count - len(tracks))
        return _interleaved(parts, size)


class _Message(NamedTuple):
    """Samples of one track, with their number in it and their time."""

    chunk: int | None
    at_ms: int | None
    samples: bytes
    is_next: bool = False
    """True if its number says that it has not come before."""


class _Track:
    def __init__(self) -> None:
        self.waiting = bytearray()
        self.end = 0
        """Samples appended so far."""
        self.skew: int | None = None
        """Time of the stream's first sample by the track's timestamps, in samples."""
        self.stood_in = 0
        """Samples of silence at its end that stand for messages that lag."""
        self.repeated = 0
        """Samples left out since the last one that had not come before."""
        self.stands_still = False
        """True if its last messages have one time and different samples: they are none that came twice."""
        self._last: _Message | None = None
        self._next = 1
        self._early: list[tuple[int, _Message]] = []

    def append(self, samples: bytes, size: int) -> None:
        self.waiting += samples
        self.end += len(samples) // size

    def compare(self, message: _Message) -> None:
        """Note whether time stands still from the last message to this one."""
        if self._last is None or message.at_ms != self._last.at_ms:
            self.stands_still = False
        elif message.samples != self._last.samples:
            self.stands_still = True
        self._last = message

    def stand_in(self, silence: bytes, count: int) -> None:
        self.append(silence * count, len(silence))
        self.stood_in += count

    def in_order(self, message: _Message) -> list[_Message]:
        """Return the messages whose turn it is with this one."""
        if message.chunk is None or message.chunk < self._next:
            return [message]
        # Sorted by the number alone: a message may come twice, and once without its time.
        insort(self._early, (message.chunk, message), key=itemgetter(0))
        ready: list[_Message] = []
        while self._early and (self._early[0][0] <= self._next or len(self._early) > MAX_EARLY):
            number, first = self._early.pop(0)
            ready.append(first._replace(is_next=number >= self._next))
            self._next = number + 1
        return ready

    def late(self) -> list[_Message]:
        """Return the messages that still wait for one before them."""
        early, self._early = self._early, []
        return [message for _, message in early]


def _interleaved(parts: Sequence[bytes], size: int) -> bytes:
    if len(parts) == 1:
        return parts[0]
    whole = bytearray(sum(map(len, parts)))
    step = size * len(parts)
    for number, part in enumerate(parts):
        for byte in range(size):
            whole[number * size + byte :: step] = part[byte::size]
    return bytes(whole)
