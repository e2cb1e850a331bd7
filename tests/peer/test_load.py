import asyncio
import io
import json
import os
import signal

import msgspec
import pytest

from tests.peer.conftest import Serve
from tests.peer.test_terminal import Terminal
from voxgender.errors import CallError
from voxgender.peer import load as load_module
from voxgender.peer import terminal
from voxgender.peer.faults import Faults
from voxgender.peer.load import load
from voxgender.peer.loadreport import LoadReport, Progress

pytestmark = pytest.mark.usefixtures("nothing_left")


@pytest.fixture(autouse=True)
def one_voice(monkeypatch: pytest.MonkeyPatch, dialogue_packets: list[bytes]) -> None:
    """Synthesis takes a second a voice."""
    monkeypatch.setattr(load_module, "encode", lambda *_: [(dialogue_packets, dialogue_packets)])


def stayed(report: LoadReport) -> int:
    """Calls that stayed up, whether they were held in time or not: a busy machine is not what is tested."""
    return report.held + sum(report.not_held.values())


async def test_calls_are_held_together_measured_and_ended(serve: Serve) -> None:
    server = await serve()
    progress: list[Progress] = []

    report = await load(server.url, peers=3, seconds=1.5, on_progress=progress.append)

    assert (report.asked, stayed(report), report.failed) == (3, 3, {})
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
    assert not server.node.places.sessions()


async def test_refused_calls_are_counted_by_reason(serve: Serve) -> None:
    server = await serve(max_sessions=2)

    report = await load(server.url, peers=4, seconds=0.5)

    assert (report.asked, stayed(report)) == (4, 2)
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
    ended: list[asyncio.Task[None]] = []

    def end_one(progress: Progress) -> None:
        if progress.seconds_left and not ended:
            session_id = server.node.places.sessions()[0].id
            ended.append(asyncio.create_task(server.node.end(session_id)))

    report = await load(server.url, peers=2, seconds=1.0, on_progress=end_one)

    assert stayed(report) == 1
    assert sum(report.failed.values()) == 1


async def test_a_server_that_is_not_there_is_one_clear_error() -> None:
    with pytest.raises(CallError, match="voxgender serve"):
        await load("http://127.0.0.1:9", peers=2, seconds=60)


async def test_another_machine_is_not_loaded_by_accident() -> None:
    with pytest.raises(CallError, match="--allow-remote"):
        await load("http://192.0.2.1:8080", peers=1, seconds=1)


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
    server = await serve()
    err = Terminal()

    await terminal.load(server.url, peers=1, seconds=0.5, out=io.StringIO(), err=err)

    assert "1 of 1 calls up, " in err.getvalue()
    assert err.getvalue().endswith("\r\x1b[K")


async def test_faults_are_the_callers_and_an_outage_hits_all_of_them_half_way(serve: Serve) -> None:
    server = await serve()
    faults = Faults(loss=2, outage_ms=300, seed=1)

    report = await load(server.url, peers=2, seconds=3.0, faults=faults)

    assert report.up == 2
    assert report.faults == faults
    assert report.recovery_ms is not None
    assert report.recovery_ms.count + report.not_recovered == 2
    assert json.loads(msgspec.json.encode(report))["faults"]["outage_ms"] == 300


async def test_the_report_tells_where_a_result_s_time_goes_and_how_the_worst_call_fared(serve: Serve) -> None:
    server = await serve()

    report = await load(server.url, peers=2, seconds=1.5)

    assert {"queue", "inference"} <= report.server_stages_ms.keys()
    assert report.first_result_ms is not None
    assert report.connect_ms is not None
    assert report.first_result_ms.count == report.connect_ms.count == 2
    assert report.first_result_ms.max > report.connect_ms.p50
    assert report.worst_call_ms is not None
    assert report.latency_ms is not None
    assert report.worst_call_ms.count < report.latency_ms.count
    assert report.worst_call_ms.p95 >= report.latency_ms.p50


async def test_ctrl_c_ends_all_calls_with_the_report_so_far(serve: Serve) -> None:
    server = await serve()
    interrupted: list[Progress] = []

    def interrupt(progress: Progress) -> None:
        if 0 < progress.seconds_left < 59.5 and not interrupted:
            interrupted.append(progress)
            os.kill(os.getpid(), signal.SIGINT)

    report = await load(server.url, peers=2, seconds=60, on_progress=interrupt)

    assert (report.up, report.failed) == (2, {})
    assert report.seconds < 60
    assert report.results > 0
    assert not server.node.places.sessions()
