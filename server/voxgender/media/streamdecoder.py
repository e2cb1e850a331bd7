"""Decode the channels of a stream of PCM, G.711, G.722, AMR-WB or Opus, on the engine's thread."""

from collections.abc import Callable, Sequence
from contextlib import suppress

import av
import numpy as np

from voxgender import amrwb
from voxgender.audio.frames import SAMPLE_RATE_HZ, Frame, Packet, Samples, Wave
from voxgender.audio.pcm import PcmFormat
from voxgender.audio.pcmdecoder import PcmDecoder
from voxgender.audiostream import StreamFormat
from voxgender.media.decoder import ffmpeg_decoder, merged, opus_duration
from voxgender.media.opus import OpusDecoder, OpusError, scratch

_TICKS = 48_000 // SAMPLE_RATE_HZ
_AMR_WB_SAMPLES = round(amrwb.FRAME_S * SAMPLE_RATE_HZ)

Decode = Callable[[Sequence[Packet]], Sequence[Frame]]


def pcm_format(form: StreamFormat) -> PcmFormat | None:
    """Return the format by which a stream is cut into packets; None if it comes in packets."""
    if form.encoding == "amrwb" or form.encoding == "opus":
        return None
    # G.722 has a byte in each tick of its clock, as G.711 has.
    return PcmFormat(form.rate_hz, "mulaw" if form.encoding == "g722" else form.encoding, form.channels)


def duration_s(form: StreamFormat, packet: bytes) -> float:
    """Return how long a packet of AMR-WB or Opus lasts; 0 if it cannot be read."""
    if form.encoding == "opus":
        return opus_duration(packet) / 48_000
    count, rest = divmod(len(amrwb.frames(packet)), form.channels)
    return 0.0 if rest else count * amrwb.FRAME_S


def decoders(form: StreamFormat) -> list[Decode]:
    """Return for each channel the function that decodes it from the stream's packets, which come in order."""
    pcm = pcm_format(form)
    if form.encoding == "amrwb":
        return [_AmrWb(form.channels, channel).decode for channel in range(form.channels)]
    if pcm is None:
        return [_Opus(form.channels, channel).decode for channel in range(form.channels)]
    if form.encoding == "g722":
        return [_G722(form.channels, channel).decode for channel in range(form.channels)]
    return [PcmDecoder(pcm, channel).decode for channel in range(form.channels)]


class _G722:
    """Decodes one channel of interleaved G.722 at 64 kbit/s."""

    def __init__(self, channels: int, channel: int) -> None:
        self._channels = channels
        self._channel = channel
        self._decoder = ffmpeg_decoder("g722")

    def decode(self, packets: Sequence[Packet]) -> list[Frame]:
        data = b"".join([packet.data for packet in packets])[self._channel :: self._channels]
        frames = self._decoder.decode(av.Packet(data)) if data else []
        return [Wave(np.concatenate([frame.to_ndarray()[0] for frame in frames]))] if frames else []


class _AmrWb:
    """Decodes one channel of AMR-WB; silence stands for comfort noise, and for frames that were not sent."""

    def __init__(self, channels: int, channel: int) -> None:
        self._channels = channels
        self._channel = channel
        self._decoder = av.CodecContext.create("amrwb", "r")

    def decode(self, packets: Sequence[Packet]) -> list[Frame]:
        sound = [
            self._sound(frame)
            for packet in packets
            for frame in amrwb.frames(packet.data)[self._channel :: self._channels]
        ]
        return [Wave(np.concatenate(sound))] if sound else []

    def _sound(self, frame: bytes) -> Samples:
        if amrwb.is_speech(frame):
            assert isinstance(self._decoder, av.AudioCodecContext)
            with suppress(av.FFmpegError):
                for decoded in self._decoder.decode(av.Packet(frame)):
                    samples: Samples = decoded.to_ndarray()[0]
                    return samples
        return np.zeros(_AMR_WB_SAMPLES, np.float32)


class _Opus:
    """Decodes Opus packets, and keeps one side of stereo ones."""

    def __init__(self, channels: int, channel: int) -> None:
        self._channels = channels
        self._channel = channel
        self._decoder = OpusDecoder(channels)

    def decode(self, packets: Sequence[Packet]) -> list[Frame]:
        pcm = scratch()
        for packet in merged(packets):
            before = pcm.size
            try:
                self._decoder.decode(packet.data, pcm)
            except OpusError:
                # Silence in its place keeps the stream's clock.
                pcm.size = before
                pcm.add_silence(opus_duration(packet.data) // _TICKS * self._channels)
        samples = pcm.pop().reshape(-1, self._channels)[:, self._channel]
        return [Wave(np.ascontiguousarray(samples))] if samples.size else []
