import asyncio
import io
import json

import pytest

from tests.peer.conftest import Serve
from voxgender.errors import CallError
from voxgender.peer import load as load_module
from voxgender.peer import terminal
from voxgender.peer.load import Progress, load

pytestmark = pytest.mark.usefixtures("nothing_left")


@pytest.fixture(autouse=True)
def one_voice(monkeypatch: pytest.MonkeyPatch, dialogue_packets: list[bytes]) -> None:
    """Synthesis takes a second a voice."""
    monkeypatch.setattr(load_module, "_voices", lambda *_: [dialogue_packets])


async def test_calls_are_held_together_measured_and_ended(serve: Serve) -> None:
    server = await serve()
    progress: list[Progress] = []

    report = await load(server.url, peers=3, seconds=1.5, on_progress=progress.append)

    assert (report.asked, report.held, report.failed) == (3, 3, {})
    assert report.seconds == pytest.approx(1.5, abs=0.5)
    # One each 192 ms and call.
    assert report.results == pytest.approx(3 * report.seconds / 0.192, abs=6)
    assert report.results_per_s == pytest.approx(report.results / report.seconds, abs=2)
    assert report.dropped_windows == 0
    assert report.latency_ms is not None
    assert report.server_latency_ms is not None
    assert report.latency_ms.count == report.server_latency_ms.count == report.results
    assert report.server_cpu_percent is not None
    assert report.server_cpu_percent > 0
    assert report.server_memory_mb is not None
    assert max(step.up for step in progress) == 3
    assert not server.node.sessions()


async def test_refused_calls_are_counted_by_reason(serve: Serve) -> None:
    server = await serve(max_sessions=2)

    report = await load(server.url, peers=4, seconds=0.5)

    assert (report.asked, report.held) == (4, 2)
    ((reason, count),) = report.failed.items()
    assert "full" in reason
    assert count == 2


async def test_calls_lost_on_the_way_are_counted_and_the_run_ends_with_them(serve: Serve) -> None:
    server = await serve()
    closing: list[asyncio.Task[None]] = []

    def pull_the_plug(progress: Progress) -> None:
        if progress.seconds_left and not closing:
            closing.append(asyncio.create_task(server.node.close()))

    with pytest.raises(CallError, match="shutting down"):
        await load(server.url, peers=2, seconds=60, on_progress=pull_the_plug)
    await closing[0]


async def test_one_call_lost_does_not_end_the_others(serve: Serve) -> None:
    server = await serve()
    ended = []

    def end_one(progress: Progress) -> None:
        if progress.seconds_left and not ended:
            session_id = next(iter(server.node._sessions))
            ended.append(asyncio.create_task(server.node.end(session_id)))

    report = await load(server.url, peers=2, seconds=1.0, on_progress=end_one)

    assert report.held == 1
    assert sum(report.failed.values()) == 1


async def test_a_server_that_is_not_there_is_one_clear_error() -> None:
    with pytest.raises(CallError, match="voxgender serve"):
        await load("http://127.0.0.1:9", peers=2, seconds=60)


async def test_another_machine_is_not_loaded_by_accident() -> None:
    with pytest.raises(CallError, match="--allow-remote"):
        await load("http://192.0.2.1:8080", peers=1, seconds=1)


async def test_every_caller_begins_somewhere_else() -> None:
    voice = [bytes([number]) for number in range(10)]

    shares = list(load_module._shares([voice], 5))

    firsts = [next(iter(share.packets)) for share in shares]
    assert firsts == [b"\x00", b"\x02", b"\x04", b"\x06", b"\x08"]
    packets = iter(shares[1].packets)
    for _ in range(8):
        next(packets)
    assert next(packets) in voice


async def test_the_report_is_printed_as_text_or_as_json(serve: Serve) -> None:
    server = await serve()
    text, plain, err = io.StringIO(), io.StringIO(), io.StringIO()

    await terminal.load(server.url, peers=1, seconds=0.5, out=text, err=err)
    await terminal.load(server.url, peers=1, seconds=0.5, json=True, out=plain, err=err)

    assert text.getvalue().startswith("1 of 1 calls held for ")
    assert "server CPU" in text.getvalue()
    assert json.loads(plain.getvalue())["type"] == "load_report"
    assert err.getvalue() == "", "progress is for terminals"


async def test_a_terminal_sees_the_progress_and_is_left_clean(serve: Serve) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    server = await serve()
    err = Terminal()

    await terminal.load(server.url, peers=1, seconds=0.5, out=io.StringIO(), err=err)

    assert "1 of 1 calls up, 0 results/s, p95 –, 0 drops" in err.getvalue()
    assert err.getvalue().endswith("\r\x1b[K")
