"""RTP payloads -> decoded audio frames, a batch at a time."""

import logging
from collections.abc import Sequence
from fractions import Fraction

import av.error
from aiortc import RTCRtpCodecParameters
from aiortc.codecs import get_decoder
from aiortc.jitterbuffer import JitterFrame
from av import CodecContext
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.packet import Packet

logger = logging.getLogger(__name__)

OPUS_RATE_HZ = 48_000
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


class Decoder:
    """One payload format's decoder. A payload that it cannot decode costs its own time only."""

    def __init__(self, codec: RTCRtpCodecParameters) -> None:
        self.clock_rate_hz = codec.clockRate
        self._codec = codec
        self._opus = codec.name.lower() == "opus"
        self._reset()

    def duration(self, payload: bytes) -> int:
        """Length of a payload in ticks of the RTP clock; zero where it cannot be told."""
        # G.711 has a byte a sample; G.722 has a byte for two samples, and a clock of half its rate (RFC 3551).
        return opus_duration(payload) if self._opus else len(payload)

    def decode(self, packets: Sequence[tuple[int, bytes]]) -> list[AudioFrame]:
        """Decode payloads in order.

        Args:
            packets: ``(pts, payload)``, pts in ticks of the RTP clock.

        Returns:
            Frames that carry pts in ticks of the RTP clock; none for a payload that is empty or broken.
        """
        time_base = Fraction(1, self.clock_rate_hz)
        frames = []
        for pts, payload in packets:
            # FFmpeg takes an empty packet for the end of the stream and refuses all that follow.
            if not payload:
                continue
            try:
                decoded = self._decode(pts, payload)
            except (av.error.FFmpegError, ValueError) as error:
                logger.debug("payload of %d bytes cannot be decoded: %s", len(payload), error)
                self._reset()
                continue
            for frame in decoded:
                frame.pts = pts
                frame.time_base = time_base
                pts += round(frame.samples * self.clock_rate_hz / frame.sample_rate)
                frames.append(frame)
        return frames

    def _decode(self, pts: int, payload: bytes) -> list[AudioFrame]:
        if self._opus:
            return self._context.decode(Packet(payload))
        frames: list[AudioFrame] = self._plain.decode(JitterFrame(data=payload, timestamp=pts))  # type: ignore[assignment]
        return frames

    def _reset(self) -> None:
        if self._opus:
            # aiortc's own decoder always makes stereo; a mono one does half the work.
            context = CodecContext.create("libopus", "r")
            assert isinstance(context, AudioCodecContext)
            context.format = "s16"
            context.layout = "mono"
            context.sample_rate = OPUS_RATE_HZ
            self._context = context
        else:
            self._plain = get_decoder(self._codec)
