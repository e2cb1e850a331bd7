"""``Voice``: live sound that is pushed."""

import asyncio
import subprocess
import sys
import threading

import numpy as np
import pytest

from tests.support import Samples, silence
from tests.waits import PATIENCE_S
from voxgender import AnyMessage, AudioError, Segment, Summary, Voice, VoxgenderError, Warning
from voxgender.embedding.voice import MAX_PUSHED_S
from voxgender.errors import ModelError
from voxgender.peer.voices import MAN, dialogue, speak

pytestmark = pytest.mark.usefixtures("pitch")


@pytest.fixture(scope="module")
def talk() -> Samples:
    return dialogue().samples


async def rest(voice: Voice) -> list[AnyMessage]:
    async with asyncio.timeout(PATIENCE_S):
        return [message async for message in voice]


async def test_sound_pushed_at_once_is_all_analysed(talk: Samples) -> None:
    """All of 33 s but the last 4 were dropped."""
    voice = Voice(rate=16_000)
    voice.push(np.tile(talk, 3)[: 33 * 16_000])
    await voice.close()
    messages = await rest(voice)
    assert (messages[0].type, messages[-1].type) == ("hello", "summary")
    assert [s.label for s in messages if isinstance(s, Segment)] == ["male", "female"] * 3
    assert not any(isinstance(message, Warning) for message in messages)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_messages_are_iterated_over_while_sound_is_pushed(talk: Samples) -> None:
    labels = []
    async with asyncio.timeout(PATIENCE_S), Voice(16_000) as voice:
        voice.push(talk)
        async for message in voice:
            if isinstance(message, Segment):
                labels.append(message.label)
                if len(labels) == 1:
                    # Read on while it closes.
                    closing = asyncio.create_task(voice.close())
    await closing
    assert labels == ["male", "female"]


async def test_messages_may_go_to_a_callback_whose_errors_cost_it_no_message(talk: Samples) -> None:
    told: list[AnyMessage] = []
    failures: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))

    def on_message(message: AnyMessage) -> None:
        told.append(message)
        if message.type == "hello":
            raise ValueError("not now")

    async with asyncio.timeout(PATIENCE_S), Voice(16_000, on_message=on_message) as voice:
        voice.push(talk)
        with pytest.raises(VoxgenderError, match="go to on_message"):
            await anext(voice)
    assert [m.label for m in told if isinstance(m, Segment)] == ["male", "female"]
    assert told[-1].type == "summary"
    assert [str(failure["exception"]) for failure in failures] == ["not now"]


async def test_another_thread_may_push(talk: Samples) -> None:
    """Microphones call back on a thread of their own."""
    voice = Voice(16_000)

    def push_all() -> None:
        for piece in np.array_split(talk, 50):
            voice.push(piece)

    pushing = threading.Thread(target=push_all)
    pushing.start()
    await asyncio.to_thread(pushing.join)
    await voice.close()
    assert [s.label for s in await rest(voice) if isinstance(s, Segment)] == ["male", "female"]


async def test_more_than_may_wait_is_dropped_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    voice = Voice(16_000, model="embedded")
    for _ in range(8):
        voice.push(silence(10.0))
    assert voice._pushed_s <= MAX_PUSHED_S
    await voice.close()
    messages = await rest(voice)
    assert [m.code for m in messages if isinstance(m, Warning)] == ["overloaded"]
    assert isinstance(messages[-1], Summary)
    # The time of what was dropped has gone by all the same.
    assert messages[-1].duration == pytest.approx(60.0, abs=0.2)


async def test_a_voice_nobody_reads_can_be_closed() -> None:
    voice = Voice(16_000)
    for _ in range(30):
        voice.push(np.tile(silence(1.0), 2))
    async with asyncio.timeout(PATIENCE_S):
        await voice.close()
        await voice.close()


async def test_pushing_after_close_is_refused_in_a_sentence() -> None:
    voice = Voice(16_000)
    await voice.close()
    with pytest.raises(VoxgenderError, match="The voice is closed, and takes no more sound"):
        voice.push(bytes(320))


async def test_sound_of_another_kind_is_refused_and_the_voice_goes_on(talk: Samples) -> None:
    voice = Voice(16_000)
    voice.push(talk)
    for wrong in (np.zeros(4, dtype=np.int64), np.zeros((30, 40), dtype=np.int16), "sound", (8_000, silence(0.1))):
        with pytest.raises(AudioError):
            voice.push(wrong)
    await voice.close()
    assert [s.label for s in await rest(voice) if isinstance(s, Segment)] == ["male", "female"]


def test_a_wrong_rate_is_refused_at_once() -> None:
    with pytest.raises(AudioError, match="441000 Hz is not taken"):
        Voice(rate=441_000)


def test_a_voice_may_be_made_before_its_event_loop_runs(talk: Samples) -> None:
    voice = Voice(16_000)
    with pytest.raises(VoxgenderError, match="No event loop runs: use the voice by `async with"):
        voice.push(talk)

    async def main() -> list[AnyMessage]:
        async with voice:
            voice.push(talk)
        return await rest(voice)

    assert [s.label for s in asyncio.run(main()) if isinstance(s, Segment)] == ["male", "female"]


async def test_a_model_that_cannot_be_loaded_is_told_where_messages_are_read() -> None:
    voice = Voice(16_000, model="./no-such-model")
    with pytest.raises(ModelError, match="no-such-model"):
        await rest(voice)
    called = Voice(16_000, model="./no-such-model", on_message=print)
    with pytest.raises(ModelError, match="no-such-model"):
        await called.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_an_error_in_its_block_ends_a_voice_at_once() -> None:
    async def fail() -> None:
        async with Voice(16_000) as voice:
            voice.push(speak(MAN, 2.0))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_voice_that_is_left_before_it_began_has_no_messages() -> None:
    """Its reader waited for ever."""
    voice = Voice(16_000)
    voice.abandon()
    assert await rest(voice) == []
    await voice.close()


def test_a_callback_that_would_have_to_be_awaited_is_refused() -> None:
    """No message came, and Python warned that a coroutine was never awaited."""

    async def on_message(_: AnyMessage) -> None: ...

    with pytest.raises(VoxgenderError, match="called and not awaited"):
        Voice(16_000, on_message=on_message)


def test_a_callback_that_cannot_be_called_is_refused() -> None:
    """Each message of the voice was a traceback in the log, and nobody was told any."""
    with pytest.raises(VoxgenderError, match="a list cannot be"):
        Voice(16_000, on_message=[])  # type: ignore[arg-type]


async def test_silence_by_the_clock_ends_a_label(talk: Samples) -> None:
    """A source that is muted gives no sound at all."""
    async with asyncio.timeout(PATIENCE_S), Voice(16_000) as voice:
        voice.push(talk[: int(1.5 * 16_000)])
        async for message in voice:
            if message.type == "segment":
                break
        assert message.type == "segment"
        assert message.label == "male"


LOADS = """
import asyncio, sys, threading

class Recorder:
    '''Notes which packages are looked for by the thread of the event loop.'''

    def find_spec(self, name, path=None, target=None):
        if threading.current_thread() is threading.main_thread():
            loaded.append(name.partition(".")[0])

loaded = []

async def main():
    import voxgender

    sys.meta_path.insert(0, Recorder())
    await USE
    print(*sorted({"numpy", "av", "onnxruntime", "aiortc", "scipy", "torch"} & set(loaded)))

async def voice():
    voice = voxgender.Voice(rate=16000)
    voice.push(bytes(32_000))
    async for message in voice:
        if message.type == "result":
            return await voice.close()

async def analyze():
    async for message in voxgender.analyze([bytes(32_000)], rate=16000):
        pass

import voxgender
asyncio.run(main())
"""


@pytest.mark.parametrize("use", ["voice()", "analyze()", "voxgender.classify(bytes(32_000), rate=16000)"])
def test_the_networks_runtimes_are_not_loaded_by_the_event_loop_s_thread(use: str) -> None:
    """The first ``Voice()`` of a process loaded numpy, FFmpeg and ONNX Runtime while its event loop stood still."""
    program = [sys.executable, "-c", LOADS.replace("USE", use)]
    ended = subprocess.run(program, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert (ended.stdout, ended.stderr) == ("\n", "")


async def test_a_voice_of_another_event_loop_is_refused() -> None:
    """Closing it there, or reading its messages, never returned."""
    voice = Voice(16_000)

    async def elsewhere() -> None:
        for use in (voice.close, voice.__anext__, voice.__aenter__):
            with pytest.raises(VoxgenderError, match="belongs to another event loop"):
                await use()

    await asyncio.to_thread(asyncio.run, elsewhere())
    await voice.close()


async def test_another_thread_may_abandon() -> None:
    """A task that another thread cancels is not woken: the reader went on waiting until something else came."""
    voice = Voice(16_000)
    assert (await anext(voice)).type == "hello"
    reading = asyncio.create_task(rest(voice))
    await asyncio.sleep(0)
    abandoning = threading.Thread(target=voice.abandon)
    abandoning.start()
    assert await reading == []
    abandoning.join()
