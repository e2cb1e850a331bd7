import asyncio
import io
import json
import signal
import sys
from pathlib import Path

import pytest

from tests.peer.conftest import Serve
from tests.peer.test_sentences import REPORT
from tests.peer.test_speech import write_wav
from voxgender import cli
from voxgender.errors import CallError
from voxgender.peer import terminal
from voxgender.peer.caller import Caller
from voxgender.peer.printers import JsonPrinter, TextPrinter
from voxgender.peer.speech import Speech
from voxgender.peer.voices import MAN, WOMAN, speak
from voxgender.protocol import AnyMessage, Change, Error, Hello, Label, Result, Scores, Segment, Summary, Warning

CONVERSATION: list[AnyMessage] = [
    Hello(session="s", model="tiny", window_ms=1000, hop_ms=192),
    Hello(session="s", model="tiny", window_ms=1000, hop_ms=192),
    Result(seq=1, start=0, end=0.38, label="no_speech", confidence=1.0, scores=None, latency_ms=7),
    Result(
        seq=2, start=0, end=1.54, label="male", confidence=0.97, scores=Scores(male=0.97, female=0.03), latency_ms=31
    ),
    Change(at=1.54, from_="no_speech", to="male", confidence=0.97),
    Warning(code="overloaded", message="Windows are being dropped."),
    Change(at=4.8, from_="male", to="no_speech", confidence=1.0),
    Segment(start=0.5, end=4.8, label="male", confidence=0.98),
    Error(code="shutting_down", message="The server is shutting down."),
]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_pipe_gets_a_plain_line_for_every_change_and_segment() -> None:
    out = io.StringIO()
    printer = TextPrinter(out)
    for message in CONVERSATION:
        printer.message(message)

    assert out.getvalue().splitlines() == [
        "tiny, 1000 ms windows every 192 ms",
        "   1.54 s  Male       97%",
        "warning: Windows are being dropped.",
        "   4.80 s  no speech",
        "           0.50 – 4.80 s: Male 98%",
        "error: The server is shutting down.",
    ]


def test_a_terminal_also_shows_what_is_heard_now_on_one_line_that_changes() -> None:
    out = Terminal()
    printer = TextPrinter(out)
    for message in CONVERSATION[:4]:
        printer.message(message)
    live = out.getvalue()

    assert live.endswith("\r\x1b[K   1.54 s  Male       97%     31 ms")
    assert live.count("\n") == 1

    printer.message(CONVERSATION[4])
    assert out.getvalue().endswith("\r\x1b[K   1.54 s  Male       97%\n")


def test_the_report_is_told_in_sentences() -> None:
    out = io.StringIO()
    TextPrinter(out).report(REPORT)

    assert out.getvalue().splitlines() == [
        "",
        "11.5 s of audio, 9.1 s of speech in 1 segment: male 4.5 s, female 4.4 s, uncertain 0.2 s",
        "the male voice that began at 0.50 s: heard after 640 ms",
        "the female voice that began at 6.50 s: not heard",
        "60 results, 1 lost, 2 out of order; connected in 71 ms",
        "latency, last packet sent to result received: p50 31 ms, p95 44 ms, p99 60 ms",
    ]


def test_json_is_every_message_as_it_came_and_then_the_report() -> None:
    out = io.StringIO()
    printer = JsonPrinter(out)
    for message in CONVERSATION:
        printer.message(message)
    printer.report(REPORT)

    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert lines[:-1] == [message.to_dict() for message in CONVERSATION]
    assert lines[-1]["type"] == "report"
    assert lines[-1]["latency_ms"]["p95"] == 44.0


async def test_a_call_with_no_file_plays_the_test_signal(serve: Serve) -> None:
    server = await serve()
    out = io.StringIO()

    report = await terminal.call(server.url, duration_s=1.0, json=True, out=out)

    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [turn.label for turn in report.turns] == ["male", "female"]
    assert lines[0]["type"] == "hello"
    assert [line["type"] for line in lines[-2:]] == ["summary", "report"]
    assert lines[-1]["results"] == sum(line["type"] == "result" for line in lines)


async def test_a_call_asks_for_its_options_and_is_told_them_back(serve: Serve, short_speech: Speech) -> None:
    server = await serve()
    argv = ["call", server.url, "--name", "studio", "--tag", "pilot", "--tag", "team a", "--hop-ms", "384"]
    _, settings = cli.parse(argv)
    assert settings.session.query == {"name": "studio", "tags": "pilot,team a", "hop_ms": "384"}
    told: list[AnyMessage] = []

    await Caller(server.url, short_speech, query=settings.session.query).run(told.append)

    assert isinstance(told[0], Hello)
    assert (told[0].name, told[0].tags, told[0].hop_ms) == ("studio", ("pilot", "team a"), 384)


async def test_a_hop_that_does_not_fit_is_refused_with_the_server_s_sentence(
    serve: Serve, short_speech: Speech
) -> None:
    server = await serve()
    with pytest.raises(CallError, match="192, 384, 576"):
        await Caller(server.url, short_speech, query={"hop_ms": "200"}).run()


def test_without_options_a_call_asks_for_nothing() -> None:
    _, settings = cli.parse(["listen", "http://localhost:8080", "-"])
    assert settings.session.query == {}


async def test_a_server_lost_in_mid_call_still_leaves_what_was_measured(serve: Serve) -> None:
    server = await serve()

    class Listener(io.StringIO):
        closing: asyncio.Task[None] | None = None

        def write(self, text: str) -> int:
            if '"result"' in text and not self.closing:
                self.closing = asyncio.get_running_loop().create_task(server.node.close())
            return super().write(text)

    out = Listener()
    with pytest.raises(CallError, match="shutting down"):
        await terminal.call(server.url, json=True, out=out)

    last = json.loads(out.getvalue().splitlines()[-1])
    assert (last["type"], last["ended"]) == ("report", "lost")
    assert out.closing is not None
    await out.closing


async def test_ctrl_c_hangs_up_and_prints_the_report(serve: Serve) -> None:
    server = await serve()
    calling = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "voxgender.cli", "call", server.url, "--json", "--tag", "pilot"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert calling.stdout is not None
    assert b'"tags":["pilot"]' in await calling.stdout.readline()
    while '"result"' not in (await calling.stdout.readline()).decode():
        pass

    calling.send_signal(signal.SIGINT)
    out, err = await calling.communicate()

    lines = [json.loads(line) for line in out.decode().splitlines()]
    assert [line["type"] for line in lines[-2:]] == ["summary", "report"]
    assert lines[-1]["ended"] == "hung_up"
    assert err == b""
    assert calling.returncode == 0
    assert not server.node.places.sessions()


async def test_a_room_of_files_is_printed_by_the_names_of_its_voices(serve: Serve, tmp_path: Path) -> None:
    server = await serve()
    files = {}
    for name, who in (("alice", WOMAN), ("Bob & co", MAN)):
        files[name] = write_wav(tmp_path / f"{name}.wav", speak(who, 1.6))
    out = io.StringIO()
    report = await terminal.call(server.url, voices=files, out=out)
    assert set(report.voices) == set(files)
    lines = out.getvalue().splitlines()
    for name in files:
        assert any(line.startswith(f"[{name}] ") and "s of speech in" in line for line in lines), lines
    (whole,) = [line for line in lines if "s of speech in" in line and not line.startswith("[")]
    assert "s of audio" in whole


def a_result(seq: int, channel: int, name: str, label: Label) -> Result:
    mid = str(channel)
    return Result(
        seq=seq, start=0, end=1.5, label=label, confidence=0.9, scores=None, latency_ms=7,
        channel=channel, mid=mid, name=name,
    )  # fmt: skip


def test_a_terminal_shows_what_is_heard_now_of_all_voices_of_a_room() -> None:
    out = Terminal()
    printer = TextPrinter(out)
    printer.message(a_result(1, 0, "alice", "female"))
    printer.message(a_result(1, 1, "bob", "male"))
    last = out.getvalue().rpartition("\x1b[K")[2]
    assert last.index("[alice] ") < last.index("[bob] ")
    printer.message(Summary(duration=2, speech=1, male=0, female=1, uncertain=0, segments=1, channel=0, name="alice"))
    printer.message(a_result(2, 1, "bob", "male"))
    assert "alice" not in out.getvalue().rpartition("\x1b[K")[2]
