"""RTP payloads -> decoded audio frames, a batch at a time."""

import logging
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple, Protocol

import numpy as np
from aiortc import RTCRtpCodecParameters
from aiortc.codecs import get_decoder
from aiortc.jitterbuffer import JitterFrame
from av.audio.frame import AudioFrame

from voxgender.media.opus import LONGEST, SAMPLE_RATE_HZ, OpusDecoder, OpusError, Pcm

logger = logging.getLogger(__name__)

_TICKS = 48_000 // SAMPLE_RATE_HZ
"""Ticks of the RTP clock, always 48 kHz for Opus, in a decoded sample."""
_MOST_LOST = LONGEST * _TICKS

# RFC 6716 section 3.1, table 2: frame length in 48 kHz samples, by the configuration in the TOC byte.
_OPUS_FRAME = (480, 960, 1920, 2880) * 3 + (480, 960) * 2 + (120, 240, 480, 960) * 4


def opus_duration(payload: bytes) -> int:
    """Length of an Opus packet in 48 kHz samples, from its TOC byte (RFC 6716 section 3.1).

    Zero where the payload is empty or breaks the rules.
    """
    if not payload:
        return 0
    frame = _OPUS_FRAME[payload[0] >> 3]
    code = payload[0] & 3
    # Code 3 says the number of frames in the next byte; 0 is one frame, 1 and 2 are two.
    frames = (1, 2, 2)[code] if code < 3 else payload[1] & 63 if len(payload) > 1 else 0
    duration = frame * frames
    # R5: a packet holds at most 120 ms.
    return duration if duration <= 5760 else 0


class Payload(NamedTuple):
    """What one packet carries."""

    pts: int
    """In ticks of the RTP clock."""
    data: bytes
    after_loss: bool = False
    """True where packets before it were given up. A gap in time alone is DTX."""


class Decoder(Protocol):
    """One payload format's decoder. A payload that it cannot decode costs its own time only."""

    clock_rate_hz: int

    def duration(self, data: bytes) -> int:
        """Length of a payload in ticks of the RTP clock; zero where it cannot be told."""
        ...

    def decode(self, payloads: Sequence[Payload]) -> list[AudioFrame]:
        """Decode payloads in order.

        Returns:
            Frames that carry pts in ticks of the RTP clock. Payloads that follow one another may share a frame; none
            comes of one that is empty or broken.
        """
        ...


def make_decoder(codec: RTCRtpCodecParameters) -> Decoder | None:
    """The decoder of a negotiated audio codec; None for what is no audio format, such as telephone events."""
    match codec.name.lower():
        case "opus":
            return OpusPayloads(codec)
        case "pcmu" | "pcma" | "g722":
            return PlainPayloads(codec)
    return None


class OpusPayloads:
    """Opus (RFC 7587), to 16 kHz mono. Losses of up to 120 ms are recovered or concealed."""

    def __init__(self, codec: RTCRtpCodecParameters) -> None:
        self.clock_rate_hz = codec.clockRate
        self._decoder = OpusDecoder()
        self._end_pts: int | None = None

    def duration(self, data: bytes) -> int:
        return opus_duration(data)

    def decode(self, payloads: Sequence[Payload]) -> list[AudioFrame]:
        frames: list[AudioFrame] = []
        run: list[Pcm] = []
        start_pts = 0
        for payload in payloads:
            # To libopus an empty packet is a lost one; to FFmpeg it is the end of the stream.
            if not payload.data:
                continue
            lost = payload.pts - self._end_pts if payload.after_loss and self._end_pts is not None else 0
            try:
                # In this order: recovery has to come before the packet that it comes from.
                found = [self._decoder.recover(payload.data, lost // _TICKS)] if 0 < lost <= _MOST_LOST else []
                found.append(self._decoder.decode(payload.data))
            except OpusError as error:
                logger.debug("payload of %d bytes: %s", len(payload.data), error)
                continue
            pts = payload.pts - (lost if len(found) > 1 else 0)
            if run and pts != self._end_pts:
                frames.append(self._frame(run, start_pts))
                run = []
            start_pts = start_pts if run else pts
            run += found
            self._end_pts = pts + _TICKS * sum(pcm.size for pcm in found)
        if run:
            frames.append(self._frame(run, start_pts))
        return frames

    def _frame(self, run: list[Pcm], pts: int) -> AudioFrame:
        pcm = np.concatenate(run).reshape(1, -1)
        frame = AudioFrame.from_ndarray(pcm, format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE_HZ, pts, Fraction(1, self.clock_rate_hz)
        return frame


class PlainPayloads:
    """G.711 and G.722 (RFC 3551), by aiortc's decoders."""

    def __init__(self, codec: RTCRtpCodecParameters) -> None:
        self.clock_rate_hz = codec.clockRate
        self._decoder = get_decoder(codec)

    def duration(self, data: bytes) -> int:
        # G.711 has a byte a sample; G.722 has a byte for two samples, and a clock of half its rate.
        return len(data)

    def decode(self, payloads: Sequence[Payload]) -> list[AudioFrame]:
        time_base = Fraction(1, self.clock_rate_hz)
        frames = []
        for pts, data, _ in payloads:
            if not data:
                continue
            for frame in self._decoder.decode(JitterFrame(data=data, timestamp=pts)):
                assert isinstance(frame, AudioFrame)
                frame.pts, frame.time_base = pts, time_base
                pts += round(frame.samples * self.clock_rate_hz / frame.sample_rate)
                frames.append(frame)
        return frames
