"""Examples without a page: a publisher's labels, a model of one's own, a fleet."""

import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.examples.conftest import RunExample
from tests.publishers.conftest import HERE, Publish, p256, publishing, voices

__all__ = ["p256", "voices"]


@pytest_asyncio.fixture(loop_scope="session")
async def publish() -> AsyncIterator[Publish]:
    """A function that starts a publisher, on the event loop of these tests; it is killed at the test's end."""
    async with publishing() as start:
        yield start


async def test_a_publishers_voice_is_printed_to_its_end(
    run_example: RunExample, publish: Publish, voices: Path, p256: tuple[Path, Path]
) -> None:
    example = await run_example("publishers.py", "--port", "0")
    url = (await example.says(r"http://\S+/whip"))[0]
    certificate, key = p256
    await publish(sys.executable, HERE / "ffmpeg.py", url, voices, f"cert_file={certificate}", f"key_file={key}")
    await example.says(r"^publisher 1 +[\d.]+ – +[\d.]+ s  male$")
    await example.says(r"^publisher 1 +[\d.]+ – +[\d.]+ s  female$")
    await example.says(r"^publisher 1  spoke for [\d.]+ s$")


async def test_a_model_is_trained_exported_evaluated_and_called(run_example: RunExample) -> None:
    example = await run_example("own_model.py", "--port", "0", "--steps", "8")
    for command in ("train", "export", "evaluate", "call"):
        await example.says(rf"^\$ voxgender {command} ")
    await example.says(r"^open http://localhost:\d+, and speak to your own model$")
    assert "results, 0 lost" in example.printed


async def test_a_fleet_spreads_calls_over_its_nodes(run_example: RunExample) -> None:
    example = await run_example("fleet.py", "--port", "0")
    calls = [int((await example.says(r"^node \w+: (\d+) calls$"))[1]) for _ in range(2)]
    assert calls == [2, 2]
    speak, operate = [await example.says(rf"^{what}: +http://\S+#token=\S+$") for what in ("speak", "operate")]
    assert speak[0].rpartition("=")[2] == operate[0].rpartition("=")[2]


async def test_an_example_that_is_hung_up_on_ends_with_all_that_it_started(run_example: RunExample) -> None:
    """An example whose remote shell was closed left its servers behind: they take that for a wish to load a model."""
    example = await run_example("fleet.py", "--port", "0")
    await example.says("^operate: ")
    example.ended_by = signal.SIGHUP


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux ends what a killed process has started")
async def test_an_example_that_is_killed_leaves_nothing_behind(run_example: RunExample) -> None:
    """Each time that an editor's button ended an example, a server of it went on."""
    example = await run_example("tap.py", "--port", "0")
    await example.says("http://")
    await example.kill()
