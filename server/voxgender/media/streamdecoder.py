"""Decode the channels of a stream of PCM, G.711, G.722 or Opus, on the engine's thread."""

from collections.abc import Callable, Sequence

import av
import numpy as np

from voxgender.audio.frames import SAMPLE_RATE_HZ, Frame, Packet, Wave
from voxgender.audio.pcm import PcmFormat
from voxgender.audio.pcmdecoder import PcmDecoder
from voxgender.audiostream import StreamFormat
from voxgender.media.decoder import ffmpeg_decoder, merged, opus_duration
from voxgender.media.opus import OpusDecoder, OpusError, scratch

_TICKS = 48_000 // SAMPLE_RATE_HZ

Decode = Callable[[Sequence[Packet]], Sequence[Frame]]


def pcm_format(form: StreamFormat) -> PcmFormat | None:
    """Return the format by which a stream is cut into packets; None if it is Opus, whose packets come cut."""
    if form.encoding == "opus":
        return None
    # G.722 has a byte in each tick of its clock, as G.711 has.
    return PcmFormat(form.rate_hz, "mulaw" if form.encoding == "g722" else form.encoding, form.channels)


def decoders(form: StreamFormat) -> list[Decode]:
    """Return for each channel the function that decodes it from the stream's packets, which come in order."""
    pcm = pcm_format(form)
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
