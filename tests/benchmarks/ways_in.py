"""One call in real time by each way into the library: the share of a core that its process takes."""

import asyncio
import resource
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import av
import numpy as np
from scipy.signal import resample_poly

from tests.benchmarks.tables import Measured, markdown
from tests.support import Samples, TimedTrack, in_real_time, silence
from voxgender import Voice, analyze, classify
from voxgender.peer.voices import MAN, WOMAN, speak

CHUNK_S = 0.02
SPEECH_S = 2.0
"""Length of a turn, and of the pause after it."""
TURNS = 4

Way = Callable[[Samples], Awaitable[None]]


async def measure(brief: bool) -> Measured:
    turns = 1 if brief else TURNS
    pieces = [piece for turn in range(turns) for piece in (_turn(turn), silence(SPEECH_S))]
    speech = np.concatenate(pieces).astype(np.float32)
    # The networks are loaded once a process.
    await classify(speech[:16_000], rate=16_000)
    # There and back, so that a machine whose speed drifts wrongs none.
    order = list(WAYS) if brief else [*WAYS, *reversed(WAYS)]
    spent: dict[str, list[float]] = {name: [] for name in WAYS}
    for name in order:
        before = _cpu_s()
        await WAYS[name](speech)
        spent[name].append((_cpu_s() - before) / (speech.size / 16_000))
    rows = [(name, *_percent(values)) for name, values in spent.items()]
    table = markdown(("way in", "% of a core a call", "of two runs, apart by"), rows)
    return Measured({"seconds": speech.size / 16_000, "cpu_s_of_a_second": spent}, table)


async def _track(speech: Samples) -> None:
    """Frames as a decoder of Opus gives them: 48 kHz, 16 bits, stereo."""
    wide = resample_poly(speech, 3, 1).astype(np.float32)
    await _read(analyze(TimedTrack(list(in_real_time(wide, rate=48_000, layout="stereo")))))


async def _pcm(speech: Samples) -> None:
    await _read(analyze(_paced(_pieces(_int16(speech).tobytes(), 32_000)), rate=16_000))


async def _phone(speech: Samples) -> None:
    data = _mulaw(resample_poly(speech, 1, 2))
    await _read(analyze(_paced(_pieces(data, 8_000)), rate=8_000, encoding="mulaw"))


async def _arrays(speech: Samples) -> None:
    wide = resample_poly(speech, 3, 1).astype(np.float32)
    await _read(analyze(_paced(np.array_split(wide, round(wide.size / 48_000 / CHUNK_S))), rate=48_000))


async def _two_channels(speech: Samples) -> None:
    both = np.stack([_int16(speech), _int16(np.roll(speech, speech.size // 2))], axis=1)
    await _read(analyze(_paced(_pieces(both.tobytes(), 64_000)), rate=16_000, channels=2))


async def _pushed(speech: Samples) -> None:
    async with Voice(rate=16_000, on_message=lambda _: None) as voice:
        async for piece in _paced(_pieces(_int16(speech).tobytes(), 32_000)):
            voice.push(piece)


async def _whole(speech: Samples) -> None:
    await classify(speech, rate=16_000)


WAYS: dict[str, Way] = {
    "`analyze(track)`, 48 kHz stereo": _track,
    "`analyze(chunks, rate=16000)`": _pcm,
    '`analyze(chunks, rate=8000, encoding="mulaw")`': _phone,
    "`analyze(arrays, rate=48000)`, float32": _arrays,
    "`analyze(chunks, rate=16000, channels=2)`, two voices": _two_channels,
    "`Voice(rate=16000)`, pushed": _pushed,
    "`classify(samples, rate=16000)`, as fast as it goes": _whole,
}


async def _paced(pieces: Sequence[object]) -> AsyncIterator[object]:
    """Give each piece at its time."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    for number, piece in enumerate(pieces):
        await asyncio.sleep(began + (number + 1) * CHUNK_S - loop.time())
        yield piece


async def _read(messages: AsyncIterator[object]) -> None:
    async for _ in messages:
        pass


def _turn(number: int) -> Samples:
    return speak(WOMAN if number % 2 else MAN, SPEECH_S)


def _pieces(data: bytes, bytes_per_s: int) -> list[bytes]:
    size = round(bytes_per_s * CHUNK_S)
    return [data[start : start + size] for start in range(0, len(data), size)]


def _int16(samples: Samples) -> "np.ndarray[tuple[int], np.dtype[np.int16]]":
    return (np.clip(samples, -1, 1) * 32_767).astype("<i2")


def _mulaw(samples: Samples) -> bytes:
    encoder = av.CodecContext.create("pcm_mulaw", "w")
    assert isinstance(encoder, av.AudioCodecContext)
    encoder.format, encoder.layout, encoder.sample_rate = "s16", "mono", 8_000
    frame = av.AudioFrame.from_ndarray(_int16(samples)[None], format="s16", layout="mono")
    frame.sample_rate = 8_000
    return b"".join(bytes(packet) for packet in encoder.encode(frame))


def _percent(values: Sequence[float]) -> tuple[float, float | None]:
    apart = max(values) - min(values) if len(values) > 1 else None
    return 100 * sum(values) / len(values), apart and 100 * apart


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
