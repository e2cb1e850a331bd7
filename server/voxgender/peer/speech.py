"""Make a caller's speech: Opus packets of 20 ms, and the turns of the speakers in them."""

import asyncio
import math
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from os import PathLike, fspath
from threading import Event
from typing import NamedTuple, TypeVar

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from av.audio.fifo import AudioFifo
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler

from voxgender.audio.activity import VoiceActivity
from voxgender.audio.files import read_frames
from voxgender.audio.gate import Gate
from voxgender.audio.resampler import Resampler
from voxgender.errors import AudioError
from voxgender.media.decoder import opus_duration
from voxgender.peer import vocaltract
from voxgender.peer.voices import SpeakerTurn, dialogue

T = TypeVar("T")

PACKET_S = 0.02
"""Audio in a packet, unless the answer asks for another ``ptime``."""
PACKET_SAMPLES = 960
"""Samples of a packet by the Opus clock, 48 kHz."""

_SAMPLE_RATE_HZ = 48_000
_WIDEBAND_BITS_PER_S = 24_000
_WISHES = (r"^a=fmtp:.*\bmaxplaybackrate=16000\b", r"^a=ptime:40\s*$")
_BITS_PER_S = 32_000  # As browsers encode a voice.


class Speech(NamedTuple):
    """Encoded speech, and the speakers' turns in it."""

    packets: Iterable[bytes]
    turns: tuple[SpeakerTurn, ...]
    wideband: Iterable[bytes] | None = None
    """The same packets for a receiver that asks for 16 kHz and for 40 ms in a packet.

    RFC 7587 section 6.1, ``maxplaybackrate``; RFC 8866 section 6.4, ``ptime``.
    """

    def asked_for_by(self, answer: str) -> Iterable[bytes]:
        """Return the Opus form that a browser sends after it has read an SDP answer."""
        asked = all(re.search(wish, answer, re.MULTILINE) for wish in _WISHES)
        return self.wideband if asked and self.wideband is not None else self.packets


def synthesised(seed: int = 0, *, loss: float = 0.0) -> Speech:
    """Synthesise the test signal: a man, a pause, a woman. For ``loss`` see :func:`encode`."""
    samples, turns = dialogue(seed=seed)
    frame = AudioFrame.from_ndarray(samples[None], format="flt", layout="mono")
    frame.sample_rate = vocaltract.SAMPLE_RATE_HZ
    return Speech(
        encode([frame], loss=loss),
        turns,
        encode([frame], loss=loss, wideband=True),
    )


async def in_thread(work: Callable[[Event], T]) -> T:
    """Run ``work`` in a thread, and set its event when the caller is cancelled, because a file may be endless."""
    given_up = Event()
    try:
        return await asyncio.to_thread(work, given_up)
    finally:
        given_up.set()


def from_file(path: str | PathLike[str], loss: float = 0.0, given_up: Event | None = None) -> Speech:
    """Decode a file's first audio stream, and encode it as it is played. For ``loss`` see :func:`encode`.

    Args:
        given_up: ends the search for the first word when it is set, as by :func:`in_thread`.

    Raises:
        AudioError: the file is missing, is no media file, holds no audio, or was given up.
    """
    start = _first_speech(path, given_up or Event())
    turns = () if start is None else (SpeakerTurn(start, math.inf, None),)
    wideband = encode(read_frames(path), loss=loss, wideband=True)
    return Speech(encode(read_frames(path), loss=loss), turns, wideband)


def encode(frames: Iterable[AudioFrame], *, loss: float = 0.0, wideband: bool = False) -> Iterator[bytes]:
    """Encode frames of any rate, format and layout as a browser would: mono, 32 kbit/s, 20 ms a packet.

    Args:
        wideband: encode as a browser would for a receiver that asks for 16 kHz: 24 kbit/s, and 40 ms a packet.
        loss: percent of packets that the network is known to lose. If it is not 0, each packet carries a copy of the
            one before (in-band FEC, RFC 6716 section 2.1.7).
    """
    encoder = av.CodecContext.create("libopus", "w")
    assert isinstance(encoder, AudioCodecContext)
    encoder.format, encoder.layout, encoder.rate = "s16", "mono", _SAMPLE_RATE_HZ
    encoder.bit_rate = _WIDEBAND_BITS_PER_S if wideband else _BITS_PER_S
    options = {"application": "voip"}
    samples = PACKET_SAMPLES
    if wideband:
        options |= {"cutoff": "8000", "frame_duration": "40"}
        samples *= 2
    if loss:
        options |= {"fec": "1", "packet_loss": str(math.ceil(loss))}
    encoder.options = options
    fifo = AudioFifo()
    for frame in _resample(frames):
        fifo.write(frame)
        while piece := fifo.read(samples):
            yield from map(bytes, encoder.encode(piece))
    if rest := fifo.read(0, partial=True):
        yield from map(bytes, encoder.encode(_fill(rest, samples)))
    yield from map(bytes, encoder.encode(None))


def packet_times(payload: bytes) -> int:
    """Return how many times 20 ms of audio fit into a packet, at least 1."""
    return max(1, -(-opus_duration(payload) // PACKET_SAMPLES))


def _resample(frames: Iterable[AudioFrame]) -> Iterator[AudioFrame]:
    """Resample to 48 kHz mono without gaps; a change of source in mid-stream starts a new filter."""
    for _, run in groupby(frames, lambda frame: (frame.sample_rate, frame.format.name, frame.layout.name)):
        resampler = AudioResampler(format="s16", layout="mono", rate=_SAMPLE_RATE_HZ)
        for frame in (*run, None):
            if frame is not None:
                frame.pts = None
            for converted in resampler.resample(frame):
                converted.pts = None
                yield converted


def _fill(frame: AudioFrame, samples: int) -> AudioFrame:
    pcm = np.zeros((1, samples), dtype=np.int16)
    pcm[:, : frame.samples] = frame.to_ndarray()
    filled = AudioFrame.from_ndarray(pcm, format="s16", layout="mono")
    filled.sample_rate = _SAMPLE_RATE_HZ
    return filled


def _first_speech(path: str | PathLike[str], given_up: Event) -> float | None:
    """Return the seconds until the server's own gate finds speech."""
    activity, gate, resampler = VoiceActivity(), Gate(), Resampler()
    searched = 0
    for frame in read_frames(path):
        if given_up.is_set():
            raise AudioError(f"{fspath(path)}: was given up")
        samples = resampler.convert([frame])
        if spans := gate.push(samples, activity):
            return max(0.0, (searched + spans[0][0]) / vocaltract.SAMPLE_RATE_HZ)
        searched += samples.size
    if not searched:
        raise AudioError(f"{fspath(path)}: holds no audio that can be decoded")
    return None
