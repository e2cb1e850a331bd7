"""Decode RTP payloads to audio frames, a batch at a time."""

import logging
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import groupby
from operator import attrgetter
from typing import Protocol

import av
from aiortc import RTCRtpCodecParameters

from voxgender.audio.frames import Frame, Packet, Wave
from voxgender.audio.mixing import Mixer, mean_weights
from voxgender.media.opus import LONGEST, SAMPLE_RATE_HZ, Buffer, OpusDecoder, OpusError, scratch

logger = logging.getLogger(__name__)

_TICKS = 48_000 // SAMPLE_RATE_HZ
"""Ticks of the RTP clock, always 48 kHz for Opus, in a decoded sample."""
_MOST_LOST = _LONGEST_TICKS = LONGEST * _TICKS

_LARGEST = 1_276
"""Bytes of the largest packet of one frame (RFC 6716 section 3.4, R2), with its TOC byte; libopus refuses more."""

_STEREO = 4
"""Bit of the TOC byte: the packet has two channels (RFC 6716 section 3.1)."""
# RFC 6716 section 3.1, table 2: frame length in 48 kHz samples, by the configuration in the TOC byte.
_OPUS_FRAME = (480, 960, 1920, 2880) * 3 + (480, 960) * 2 + (120, 240, 480, 960) * 4


def opus_duration(payload: bytes) -> int:
    """Return the length of an Opus packet in 48 kHz samples, from its TOC byte (RFC 6716 section 3.1).

    It is zero if the payload is empty or malformed.
    """
    if not payload:
        return 0
    frame = _OPUS_FRAME[payload[0] >> 3]
    code = payload[0] & 3
    # Code 3 says the number of frames in the next byte; 0 is one frame, 1 and 2 are two.
    frames = (1, 2, 2)[code] if code < 3 else payload[1] & 63 if len(payload) > 1 else 0
    duration = frame * frames
    # R5: a packet holds at most 120 ms.
    return duration if duration <= _LONGEST_TICKS else 0


class Decoder(Protocol):
    """Decodes one payload format. A payload that cannot be decoded is a gap; the others are not affected."""

    clock_rate_hz: int
    may_run_double: bool
    """True if some senders' timestamps count twice as fast as the format says."""

    def duration(self, data: bytes) -> int:
        """Return the length of a payload in ticks of the RTP clock; zero if it is unknown."""
        ...

    def decode(self, payloads: Sequence[Packet]) -> list[Frame]:
        """Decode payloads in order.

        Returns:
            Frames with pts in ticks of the RTP clock. Consecutive payloads may share a frame; empty and damaged ones
            give none.
        """
        ...


def make_decoder(codec: RTCRtpCodecParameters) -> Decoder | None:
    """Make the decoder of a negotiated codec; None for formats that are no audio, such as telephone events."""
    match codec.name.lower():
        case "opus":
            return OpusPayloads(codec)
        case "pcmu" | "pcma" | "g722":
            return PlainPayloads(codec)
    return None


class Decoders:
    """Keeps the decoders of one call by payload type. They are used from one thread at a time."""

    def __init__(self) -> None:
        self._decoders: dict[int, Decoder] = {}

    def configure(self, codecs: Sequence[RTCRtpCodecParameters]) -> None:
        """Make a decoder for each audio format that was negotiated."""
        for codec in codecs:
            if codec.payloadType is not None and (decoder := make_decoder(codec)) is not None:
                self._decoders[codec.payloadType] = decoder

    def get(self, payload_type: int) -> Decoder | None:
        """Return the decoder of a payload type; None if it is no audio format."""
        return self._decoders.get(payload_type)

    def decode(self, packets: Sequence[Packet]) -> list[Frame]:
        """Decode packets in order; each may have another format."""
        frames: list[Frame] = []
        for payload_type, run in groupby(packets, key=attrgetter("payload_type")):
            frames += self._decoders[payload_type].decode(list(run))
        return frames


class OpusPayloads:
    """Decodes Opus (RFC 7587) to 16 kHz mono. Losses of up to 120 ms are recovered or concealed.

    A stream is decoded in stereo from its first stereo packet on, and mixed by :class:`Mixer`: libopus' own mix
    is the mean, which is silence where one channel is inverted.
    """

    may_run_double = False

    def __init__(self, codec: RTCRtpCodecParameters) -> None:
        self.clock_rate_hz = codec.clockRate
        self._decoder = OpusDecoder()
        self._mixer: Mixer | None = None
        self._end_pts: int | None = None

    def duration(self, data: bytes) -> int:
        return opus_duration(data)

    def decode(self, payloads: Sequence[Packet]) -> list[Frame]:
        frames: list[Frame] = []
        pcm = scratch()
        start_pts = 0
        for pts, data, after_loss, _ in merged(payloads):
            lost = pts - self._end_pts if after_loss and self._end_pts is not None else 0
            if not 0 < lost <= _MOST_LOST:
                lost = 0
            turns_stereo = self._mixer is None and bool(data[0] & _STEREO) and opus_duration(data) > 0
            if pcm.size and (turns_stereo or pts - lost != self._end_pts):
                frames.append(self._wave(pcm, start_pts))
            if turns_stereo:
                self._decoder, self._mixer = OpusDecoder(channels=2), Mixer(mean_weights(2))
            before = pcm.size
            try:
                # In this order: recovery has to come before the packet that it comes from.
                count = self._decoder.recover(data, lost // _TICKS, pcm) if lost else 0
                count += self._decoder.decode(data, pcm)
            except OpusError as error:
                logger.debug("payload of %d bytes: %s", len(data), error)
                pcm.size = before
                continue
            if not before:
                start_pts = pts - lost
            self._end_pts = pts - lost + _TICKS * count
        if pcm.size:
            frames.append(self._wave(pcm, start_pts))
        return frames

    def _wave(self, pcm: Buffer, start_pts: int) -> Wave:
        samples = pcm.pop()
        if self._mixer is None:
            return Wave(samples, start_pts, self.clock_rate_hz)
        return Wave(self._mixer.mix(samples.reshape(-1, 2).T, SAMPLE_RATE_HZ), start_pts, self.clock_rate_hz)


def merged(payloads: Sequence[Packet]) -> Iterator[Packet]:
    """Merge consecutive payloads, so that libopus is called once for up to 120 ms.

    The decoded samples are the same. Empty payloads are left out, because libopus takes them for lost ones.
    """
    run: list[bytes] = []
    first = Packet(0, b"")
    step = most = 0
    for payload in payloads:
        if not payload.data:
            continue
        follows = payload.pts == first.pts + step * len(run) and not payload.after_loss
        fits = len(payload.data) <= _LARGEST
        if run and follows and fits and len(run) < most and payload.data[0] == first.data[0]:
            run.append(payload.data)
            continue
        if run:
            yield Packet(first.pts, merge_packets(run), first.after_loss)
        first, run = payload, [payload.data]
        step = opus_duration(payload.data)
        # Only packets of a single frame (code 0) can be merged without parsing them, and of a size that can be written.
        most = _LONGEST_TICKS // step if step and fits and payload.data[0] & 3 == 0 else 1
    if run:
        yield Packet(first.pts, merge_packets(run), first.after_loss)


def merge_packets(packets: Sequence[bytes]) -> bytes:
    """Merge Opus packets that have one frame each and the same configuration into one packet.

    RFC 6716 section 3.2.5: code 3, variable bit rate; the last frame's length is what is left.
    """
    if len(packets) == 1:
        return packets[0]
    lengths = bytearray()
    for packet in packets[:-1]:
        length = len(packet) - 1
        # Section 3.2.1: one byte, or two that add up.
        lengths += bytes((length,)) if length < 252 else bytes((252 + length % 4, (length - 252 - length % 4) // 4))
    frames = b"".join([packet[1:] for packet in packets])
    return bytes((packets[0][0] | 3, 0x80 | len(packets))) + bytes(lengths) + frames


_FFMPEG = {"pcmu": ("pcm_mulaw", 8_000), "pcma": ("pcm_alaw", 8_000), "g722": ("g722", 16_000)}
"""FFmpeg's decoders and their sample rates. G.722's RTP clock has half of its rate (RFC 3551 section 4.5.2)."""


def ffmpeg_decoder(name: str) -> av.AudioCodecContext:
    """Return FFmpeg's decoder of ``pcmu``, ``pcma`` or ``g722``, to 16-bit mono samples."""
    of_ffmpeg, sample_rate_hz = _FFMPEG[name]
    decoder = av.CodecContext.create(of_ffmpeg, "r")
    assert isinstance(decoder, av.AudioCodecContext)
    decoder.format, decoder.layout, decoder.sample_rate = "s16", "mono", sample_rate_hz
    return decoder


class PlainPayloads:
    """Decodes G.711 and G.722 (RFC 3551) by FFmpeg."""

    def __init__(self, codec: RTCRtpCodecParameters) -> None:
        self.clock_rate_hz = codec.clockRate
        # G.722 has samples at 16 kHz and, by an old mistake, timestamps at 8 kHz (RFC 3551 section 4.5.2).
        self.may_run_double = codec.name.lower() == "g722"
        self._decoder = ffmpeg_decoder(codec.name.lower())

    def duration(self, data: bytes) -> int:
        # G.711 has a byte a sample; G.722 has a byte for two samples, and a clock of half its rate.
        return len(data)

    def decode(self, payloads: Sequence[Packet]) -> list[Frame]:
        time_base = Fraction(1, self.clock_rate_hz)
        frames: list[Frame] = []
        for pts, data, _, _ in payloads:
            if not data:
                continue
            for frame in self._decoder.decode(av.Packet(data)):
                frame.pts, frame.time_base = pts, time_base
                pts += round(frame.samples * self.clock_rate_hz / frame.sample_rate)
                frames.append(frame)
        return frames
