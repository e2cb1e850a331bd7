"""The command line as a user calls it: exit status, one clear line, no traceback."""

import json
import os
import signal
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest

from voxgender.cli import main
from voxgender.peer.voices import MAN, WOMAN, speak


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    directory = tmp_path_factory.mktemp("recordings")
    sounds = {
        "man": speak(MAN, 3.0),
        "woman": speak(WOMAN, 3.0),
        "silence": np.zeros(32_000, dtype=np.float32),
    }
    paths = {}
    for name, samples in sounds.items():
        paths[name] = directory / f"{name}.wav"
        with wave.open(str(paths[name]), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(16_000)
            file.writeframes((samples * 32_000).astype("<i2").tobytes())
    return paths


def run(*arguments: str) -> int:
    try:
        return main(arguments)
    except SystemExit as done:
        return int(done.code or 0)


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("sing",),
        ("classify",),
        ("serve", "--port", "many"),
        ("serve", "--port", "70000"),
        ("serve", "--hop-ms", "1"),
        ("serve", "--ice-server", "http://x"),
        ("serve", "--workers", "0"),
        ("serve", "--workers", "2", "--max-sessions", "1"),
        ("serve", "--nodes", "http://127.0.0.1:1"),
        ("media",),
        ("media", "--secret", "s", "--registry", "http://x"),
        ("media", "--secret", "s", "--udp-ports", "2-1"),
        ("media", "--secret", "s", "--node-address", "x", "--port", "0"),
        ("signaling", "--nodes", "http://127.0.0.1:1"),
        ("signaling", "--secret", "s"),
        ("signaling", "--secret", "s", "--nodes", "http://127.0.0.1:1", "--registry", "redis://127.0.0.1:1"),
        ("signaling", "--secret", "s", "--nodes", "127.0.0.1:1"),
        ("signaling", "--secret", "s", "--model", "off"),
        ("call",),
        ("load", "http://localhost", "--peers", "x"),
    ],
)
def test_bad_usage_is_status_2_with_a_reason_on_stderr(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err
    assert "Traceback" not in captured.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("classify", "/no/such/file.wav"), "/no/such/file.wav: no such file"),
        (("classify", "--model", "/no/such/model", "x.wav"), "/no/such/model"),
        (("evaluate", "/no/such/manifest.csv"), "/no/such/manifest.csv"),
        (("export", "/no/such/run", "/tmp/never"), "/no/such/run"),
        (("call", "http://127.0.0.1:9"), "127.0.0.1:9"),
        (("call", "ftp://example.org"), "ftp"),
    ],
)
def test_failure_is_status_1_with_one_clear_line(
    arguments: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("voxgender: ")
    assert says in line


def test_help_and_version_are_status_0(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (("--help",), ("--version",), ("serve", "--help"), ("call", "--help")):
        assert run(*arguments) == 0
        assert capsys.readouterr().out


def test_classify_prints_one_json_object_a_file(
    recordings: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("classify", "--json", *map(str, recordings.values())) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["file"] for line in lines] == [str(path) for path in recordings.values()]
    assert [line["label"] for line in lines] == ["male", "female", None]
    for line in lines:
        assert set(line) == {"file", "label", "confidence", "speech_seconds", "segments"}
    assert lines[0]["speech_seconds"] == pytest.approx(3.0, abs=0.6)
    (segment,) = lines[0]["segments"]
    assert {"start", "end", "label", "confidence"} == set(segment)
    assert segment["start"] == round(segment["start"], 3)
    assert lines[2]["segments"] == []


def test_classify_goes_on_after_a_file_that_cannot_be_read(
    recordings: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("classify", "/no/such/file", str(recordings["woman"])) == 1
    captured = capsys.readouterr()
    assert "female" in captured.out
    assert "no such file" in captured.err


def test_evaluate_tells_accuracy_per_corpus_and_in_all(
    recordings: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = tmp_path / "manifest.csv"
    rows = [("man", "male", "home"), ("woman", "male", "away"), ("silence", "noise", "home")]
    manifest.write_text(
        "path,label,corpus\n" + "".join(f"{recordings[name]},{label},{corpus}\n" for name, label, corpus in rows)
    )
    assert run("evaluate", "--json", str(manifest)) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["corpora"]["home"]["male"]["file_accuracy"] == 1.0
    assert figures["corpora"]["away"]["male"]["file_accuracy"] == 0.0
    assert figures["corpora"]["home"]["noise"]["gendered_share"] == 0.0
    assert figures["all"]["voices"]["file_accuracy"] == 0.5
    assert 0 < figures["all"]["voices"]["window_accuracy"] < 1


class TestServe:
    """`voxgender serve` as a process of its own."""

    @staticmethod
    def start(*options: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "voxgender.cli", "serve", "--model", "off", "--ice-address", "127.0.0.1", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_it_says_where_it_is_and_stops_cleanly(self, number: int) -> None:
        with self.start("--port", "0") as server:
            assert server.stdout is not None
            line = server.stdout.readline()
            assert line.startswith("voxgender is ready: open http://localhost:")
            server.send_signal(number)
            _, errors = server.communicate(timeout=20)
        assert server.returncode == 0
        assert "Traceback" not in errors

    def test_a_port_that_is_taken_is_one_clear_line(self) -> None:
        with self.start("--port", "0") as first:
            assert first.stdout is not None
            port = first.stdout.readline().rpartition(":")[2].strip().rstrip("/")
            with self.start("--port", port) as second:
                _, errors = second.communicate(timeout=20)
            first.terminate()
        assert second.returncode == 1
        assert errors.startswith(f"voxgender: cannot listen on 127.0.0.1 port {port}")
        assert len(errors.splitlines()) == 1
