"""Augment recordings with what happens to a voice on its way to a server: rooms, noise, microphones, codecs.

Every function takes and returns float32, shape ``(samples,)``, 16 kHz, of the same length.
"""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.audio.frame import AudioFrame
from scipy.ndimage import uniform_filter1d
from scipy.signal import fftconvolve, istft, resample_poly, stft

SAMPLE_RATE_HZ = 16_000

Samples = npt.NDArray[np.float32]

_OPUS_FRAME = SAMPLE_RATE_HZ // 50
_OPUS_DELAY = 104
"""Samples by which the encoder looks ahead."""


def augment(
    audio: Samples, rng: np.random.Generator, *, noises: Sequence[Samples] = (), voices: Sequence[Samples] = ()
) -> Samples:
    """Return the audio as it may reach a server, one way out of many.

    Args:
        audio: a voice, or any other sound.
        noises: recordings that may be mixed in; coloured noise may be mixed in without any.
        voices: other people, who may be mixed in as if they were far away.
        rng: source of all chance.
    """
    if rng.random() < 0.4:  # a good microphone in a quiet room, as most recordings are made
        return filtered(mixed(audio, coloured_noise(audio.size, rng), rng.uniform(20, 60)), rng, roughness_db=4)
    if voices and rng.random() < 0.3:
        audio = mixed(audio, excerpt(voices[int(rng.integers(len(voices)))], audio.size, rng), rng.uniform(12, 25))
    if rng.random() < 0.4:
        audio = reverberated(audio, rng)
    if rng.random() < 0.6:
        audio = mixed(audio, _noise(audio.size, rng, noises), rng.uniform(2, 30))
    if rng.random() < 0.6:
        audio = filtered(audio, rng, roughness_db=8)
    if rng.random() < 0.1:
        audio = clipped(audio, rng)
    if rng.random() < 0.1:
        audio = denoised(audio, rng)
    if rng.random() < 0.1:
        audio = levelled(audio, rng)
    return _through_a_codec(audio, rng)


def _noise(size: int, rng: np.random.Generator, noises: Sequence[Samples]) -> Samples:
    """Return a recorded noise, or one that is made."""
    if noises and rng.random() < 0.6:
        return excerpt(noises[int(rng.integers(len(noises)))], size, rng)
    return coloured_noise(size, rng)


def _through_a_codec(audio: Samples, rng: np.random.Generator) -> Samples:
    """Pass the audio through a telephone line, Opus, a narrow band, or nothing of these."""
    chance = rng.random()
    if chance < 0.25:
        audio = through_g711(band_limited(audio, rng, telephone=rng.random() < 0.7), rng)
        # Hum and hiss of the line.
        return mixed(audio, coloured_noise(audio.size, rng), rng.uniform(8, 35)) if rng.random() < 0.5 else audio
    if chance < 0.45:
        return through_opus(audio, bit_rate=int(rng.choice([6_000, 8_000, 12_000, 16_000, 24_000])))
    return band_limited(audio, rng) if chance < 0.65 else audio


def excerpt(audio: Samples, size: int, rng: np.random.Generator) -> Samples:
    """Return ``size`` samples from a random place; audio that is shorter is repeated."""
    if audio.size < size:
        audio = np.tile(audio, -(-size // audio.size))
    start = rng.integers(audio.size - size + 1)
    return audio[start : start + size]


def mixed(audio: Samples, behind: Samples, ratio_db: float) -> Samples:
    """Add ``behind`` at a level ``ratio_db`` below that of ``audio``."""
    power, other = float(np.mean(audio**2)), float(np.mean(behind**2))
    if not power or not other:
        return audio
    return audio + behind * np.float32(np.sqrt(power / other * 10 ** (-ratio_db / 10)))


def coloured_noise(size: int, rng: np.random.Generator) -> Samples:
    """Make steady noise with 1/f^a power, from white to brown, sometimes with the hum of the mains."""
    spectrum = np.fft.rfft(rng.standard_normal(size))
    hz = np.fft.rfftfreq(size, 1 / SAMPLE_RATE_HZ)
    spectrum *= np.maximum(hz, 20) ** (-rng.uniform(0, 2) / 2)
    noise = np.fft.irfft(spectrum, size)
    noise /= noise.std()
    if rng.random() < 0.2:
        mains = rng.choice([50, 60]) * rng.integers(1, 4)
        noise += rng.uniform(0.2, 2) * np.sin(2 * np.pi * mains * np.arange(size) / SAMPLE_RATE_HZ)
    return noise.astype(np.float32)


def reverberated(audio: Samples, rng: np.random.Generator) -> Samples:
    """Add a room: some echoes off walls and a tail that decays by 60 dB in 0.1 to 0.9 s."""
    reverberation_s = rng.uniform(0.1, 0.9)
    size = int(reverberation_s * SAMPLE_RATE_HZ)
    decay = 10 ** (-3 * np.arange(size) / size)
    tail = rng.standard_normal(size) * decay
    tail[: int(rng.uniform(0.001, 0.005) * SAMPLE_RATE_HZ)] = 0
    tail *= 10 ** (-rng.uniform(-3, 15) / 20) / np.sqrt(np.sum(tail**2))
    tail[0] = 1
    for _ in range(rng.integers(1, 6)):
        tail[rng.integers(16, min(size, 800))] += rng.uniform(-0.6, 0.6)
    wet: Samples = fftconvolve(audio, tail)[: audio.size].astype(np.float32)
    return wet


def filtered(audio: Samples, rng: np.random.Generator, *, roughness_db: float) -> Samples:
    """Apply a microphone's frequency response: a smooth random curve over octave bands, and a tilt."""
    hz = np.fft.rfftfreq(audio.size, 1 / SAMPLE_RATE_HZ)
    octave = np.log2(np.maximum(hz, 60) / 60)  # 0 ... 7
    knots = np.arange(9)
    curve = rng.uniform(-roughness_db, roughness_db, knots.size) / 2
    curve += rng.uniform(-2, 2) * (knots - 4)
    return _shaped(audio, 10 ** (np.interp(octave, knots, curve) / 20))


def band_limited(audio: Samples, rng: np.random.Generator, *, telephone: bool = False) -> Samples:
    """Limit the band as a telephone, a cheap microphone without lows or a codec without highs does.

    Args:
        audio: the audio.
        rng: source of all chance.
        telephone: limit it as a telephone does, and in no other way.
    """
    hz = np.fft.rfftfreq(audio.size, 1 / SAMPLE_RATE_HZ)
    low, high = [
        (rng.uniform(200, 400), rng.uniform(3200, 3600)),
        (rng.uniform(60, 300), 8000.0),
        (20.0, rng.uniform(3400, 7000)),
    ][0 if telephone else rng.integers(3)]
    slope = rng.uniform(3, 16)
    gain = 1 / np.sqrt(1 + (low / np.maximum(hz, 1)) ** slope) / np.sqrt(1 + (hz / high) ** (2 * slope))
    return _shaped(audio, gain)


def clipped(audio: Samples, rng: np.random.Generator) -> Samples:
    """Clip the peaks, hard or soft, as a converter does if the audio is too loud."""
    limit = float(np.quantile(np.abs(audio), rng.uniform(0.9, 0.995))) or 1.0
    if rng.random() < 0.5:
        return np.clip(audio, -limit, limit)
    soft: Samples = (limit * np.tanh(audio / limit)).astype(np.float32)
    return soft


def denoised(audio: Samples, rng: np.random.Generator) -> Samples:
    """Suppress noise as a microphone's software does: cut the faint parts of each band out, which leaves a flutter.

    Spectral subtraction, S. F. Boll: Suppression of acoustic noise in speech using spectral subtraction, IEEE
    Transactions on Acoustics, Speech and Signal Processing 27(2), 1979.
    """
    _, _, spectrum = stft(audio, nperseg=512)
    power = np.abs(spectrum) ** 2
    floor = np.quantile(power, rng.uniform(0.1, 0.4), axis=1, keepdims=True) * rng.uniform(1, 6)
    gain = np.maximum(1 - floor / np.maximum(power, 1e-12), rng.uniform(0.03, 0.3) ** 2) ** 0.5
    _, cleaned = istft(spectrum * gain, nperseg=512)
    return _fitted(cleaned.astype(np.float32), audio.size)


def levelled(audio: Samples, rng: np.random.Generator) -> Samples:
    """Apply automatic gain control: raise the level of faint parts."""
    width = int(rng.uniform(0.02, 0.3) * SAMPLE_RATE_HZ)
    # The filter's running sum may fall below zero by a rounding.
    level = np.sqrt(np.maximum(0.0, uniform_filter1d(audio.astype(np.float64) ** 2, width))) + 1e-9
    gain = np.maximum(level / level.max(), 10 ** (-rng.uniform(10, 30) / 20)) ** -rng.uniform(0.3, 0.8)
    evened: Samples = (audio * gain).astype(np.float32)
    return evened


def through_g711(audio: Samples, rng: np.random.Generator) -> Samples:
    """Encode and decode as the telephone network does: 8 kHz and G.711's mu-law, 8 bits a sample."""
    peak = float(np.abs(audio).max()) or 1.0
    level = peak / rng.uniform(0.1, 1.0)
    narrow = np.clip(resample_poly(audio / level, 1, 2), -1, 1)
    compressed = np.round(np.sign(narrow) * np.log1p(255 * np.abs(narrow)) / np.log(256) * 127) / 127
    decoded = np.sign(compressed) * np.expm1(np.abs(compressed) * np.log(256)) / 255
    wide: Samples = (resample_poly(decoded, 2, 1)[: audio.size] * level).astype(np.float32)
    return _fitted(wide, audio.size)


def through_opus(audio: Samples, *, bit_rate: int) -> Samples:
    """Encode and decode with Opus (RFC 6716) at ``bit_rate`` bits a second."""
    peak = float(np.abs(audio).max()) or 1.0
    encoder = av.CodecContext.create("libopus", "w")
    encoder.sample_rate = SAMPLE_RATE_HZ
    encoder.format = "s16"
    encoder.layout = "mono"
    encoder.time_base = Fraction(1, SAMPLE_RATE_HZ)
    encoder.bit_rate = bit_rate
    encoder.options = {"application": "voip", "frame_duration": "20", "compression_level": "3"}
    decoder = av.CodecContext.create("libopus", "r")
    decoder.sample_rate = SAMPLE_RATE_HZ
    decoder.layout = "mono"
    pcm = (audio * (0.9 * 32767 / peak)).astype(np.int16)
    pcm = np.pad(pcm, (0, -pcm.size % _OPUS_FRAME + 2 * _OPUS_FRAME))
    pieces = []
    for start in range(0, pcm.size, _OPUS_FRAME):
        frame = AudioFrame.from_ndarray(pcm[None, start : start + _OPUS_FRAME], format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE_HZ
        frame.pts = start
        for packet in encoder.encode(frame):
            pieces += [piece.to_ndarray().reshape(-1) for piece in decoder.decode(av.Packet(bytes(packet)))]
    # FFmpeg decodes Opus at 48 kHz, whatever the input's rate.
    wide = resample_poly(np.concatenate(pieces).astype(np.float32), 1, 3)[_OPUS_DELAY:]
    return _fitted((wide * (peak / (0.9 * 32767))).astype(np.float32), audio.size)


def _shaped(audio: Samples, gain: npt.NDArray[np.floating[Any]]) -> Samples:
    shaped: Samples = np.fft.irfft(np.fft.rfft(audio) * gain, audio.size).astype(np.float32)
    return shaped


def _fitted(audio: Samples, size: int) -> Samples:
    return np.pad(audio[:size], (0, max(0, size - audio.size)))
