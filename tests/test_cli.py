"""The command line as a user calls it: exit status, one clear line, no traceback."""

import json
import os
import shlex
import signal
import subprocess
import sys
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from msgspec import Meta

from voxgender.cli import main, parse, settings_of
from voxgender.commands import COMMANDS
from voxgender.errors import SettingsError
from voxgender.inference import benchmark
from voxgender.options import Option, options_of
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
        ("serve", "--hop-ms", "200"),
        ("serve", "--window-ms", "1000", "--hop-ms", "1024"),
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
        ("signaling", "--secret", "s", "--nodes", f"dns:{64 * 'x'}.example:1"),
        ("signaling", "--secret", "s", "--registry", "redis://[::1"),
        ("media", "--secret", "s", "--registry", "redis://[::1"),
        ("media", "--secret", "s", "--ice-address", "a\nb"),
        ("serve", "--host", ""),
        ("serve", "--host", "a..b"),
        ("serve", "--jwt-keys", "https://[::1"),
        ("serve", "--jwt-keys", "/no/such\nfile"),
        ("serve", "--jwt-keys", "https:///jwks.json"),
        ("serve", "--advertise-address", "this one"),
        ("signaling", "--secret", "s", "--model", "off"),
        ("call",),
        ("call", "http://localhost", "a.wav"),
        ("call", "http://localhost", "alice="),
        ("call", "http://localhost", "=a.wav"),
        ("call", "http://localhost", f"{65 * 'x'}=a.wav"),
        ("call", "http://localhost", "a\nb=a.wav"),
        ("call", "http://localhost", "alice=a.wav", "alice=b.wav"),
        ("call", "http://localhost", "alice=a.wav", "--audio", "b.wav"),
        ("call", "http://localhost", *(f"{number}=a.wav" for number in range(9))),
        ("load", "http://localhost", "--peers", "x"),
    ],
)
def test_bad_usage_is_status_2_with_a_reason_on_stderr(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("voxgender: ")


COMMAND_LINES = {
    "call": ("http://127.0.0.1:9",),
    "listen": ("http://127.0.0.1:9", "/no/such/file"),
    "load": ("http://127.0.0.1:9",),
    "classify": ("/no/such/file",),
    "evaluate": ("/no/such/manifest",),
    "bench-model": ("/no/such/model",),
    "train": ("/no/such/manifest", "--out", "/no/such/folder"),
    "export": ("/no/such/run", "/no/such/folder"),
}
"""Arguments that a command needs besides the option that is tested."""
OPTIONS = [(name, option) for name, command in COMMANDS.items() for option in options_of(settings_of(command))]
each_option = pytest.mark.parametrize(
    ("command", "option"), OPTIONS, ids=[f"{command} {option.name}" for command, option in OPTIONS]
)


def bad_values(option: Option) -> Iterator[str]:
    """Values that the option's type does not allow; none for switches, and for paths, which may be any bytes."""
    annotation, *facts = get_args(option.annotation) or (option.annotation,)
    limits = next((fact for fact in facts if isinstance(fact, Meta)), Meta())
    if annotation in (int, float):
        yield from ("", "many", "1,5", "0x10", "nan", "-inf", "1e999")
        if annotation is int:
            yield from ("1.5", "9" * 40)
        if limits.ge is not None:
            yield str(limits.ge - 1)
        if limits.gt is not None:
            yield str(limits.gt)
        if limits.le is not None:
            yield str(limits.le + 1)
        if limits.multiple_of is not None and limits.ge is not None:
            yield str(limits.ge + 1)
    elif option.choices:
        yield from ("", "nonsense", option.choices[0].upper(), f"{option.choices[0]}\n")
    elif Path not in (annotation, *get_args(option.annotation), *get_args(annotation)) and annotation is not bool:
        yield "\udcff"
        if limits.min_length:
            yield ""
        if limits.pattern:
            yield from ("nonsense", "1-2\n", "cuda:\n")


@each_option
def test_every_option_has_help_a_type_and_a_default_shown_once(command: str, option: Option) -> None:
    assert option.help, "no docstring"
    assert option.help[0].isupper()
    assert "\n" not in option.help
    assert "default" not in option.help
    assert option.takes
    assert option.unit != "ms" or "in ms" in option.help
    assert option.unit != "s" or "in seconds" in option.help


@each_option
def test_every_bad_value_is_status_2_and_one_line_that_names_the_option_and_not_the_value(
    command: str, option: Option, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rest = COMMAND_LINES.get(command, ())
    places = [each.name for each in options_of(settings_of(COMMANDS[command])) if each.display.positional]
    for value in bad_values(option):
        arguments: tuple[str, ...] = (*rest, f"{option.flag}={value}")
        if option.display.positional:
            place = places.index(option.name)
            arguments = (*rest[:place], value, *rest[place + 1 :])
        assert run(command, *arguments) == 2, value
        assert capsys.readouterr() == ("", f"voxgender: {option.flag} takes {option.takes}\n")
        if option.variable:
            with monkeypatch.context() as environment:
                environment.setenv(option.variable, value)
                assert run(command, *rest) == 2, value
            assert capsys.readouterr() == ("", f"voxgender: {option.variable} takes {option.takes}\n")


@each_option
def test_an_option_without_a_value_is_status_2_and_names_the_option(
    command: str, option: Option, capsys: pytest.CaptureFixture[str]
) -> None:
    rest = COMMAND_LINES.get(command, ())
    if option.display.positional:
        assert run(command, *rest[:-1] if command == "export" else rest[1:]) == 2
        assert " required: " in capsys.readouterr().err
        return
    # A switch takes none.
    switch = option.annotation is bool
    assert run(command, *rest, f"{option.flag}=1" if switch else option.flag) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert option.flag in line


@pytest.mark.parametrize("command", COMMAND_LINES)
def test_options_may_stand_before_between_and_after_arguments_without_a_flag(command: str) -> None:
    """``bench-model MODEL --seconds 1 FILE`` was refused, and so was ``classify FILE --json FILE``."""
    declared = list(options_of(settings_of(COMMANDS[command])))
    values = [f"{one.name}{n}=x" for one in declared if one.display.positional for n in range(2 if one.is_list else 1)]
    given = {"train": ("--out", "folder"), "export": ()}.get(command, ("--json",))
    first, *others = (parse([command, *values[:at], *given, *values[at:]]) for at in range(len(values) + 1))
    assert others
    assert all(other == first for other in others)


def test_a_value_that_begins_with_a_dash_is_told_its_form(capsys: pytest.CaptureFixture[str]) -> None:
    """One in 64 random tokens does, and the example of a fleet stood still with such a one."""
    assert run("call", "http://127.0.0.1:9", "--token", "-secret") == 2
    said = capsys.readouterr().err
    assert "--token=VALUE" in said
    assert "-secret" not in said
    _, settings = parse(["call", "http://127.0.0.1:9", "--token=-secret"])
    assert settings.auth.token == "-secret"


def test_after_two_dashes_a_file_may_be_called_as_an_option_is() -> None:
    _, settings = parse(["classify", "a.wav", "--json", "--", "--model"])
    assert settings.files == (Path("a.wav"), Path("--model"))
    assert settings.json


@pytest.mark.parametrize("words", [["--", "-a.wav", "--json", "--"], ["--json", "--", "-a.wav"], ["--", "b.wav"]])
def test_two_dashes_may_stand_before_all_files(words: list[str]) -> None:
    """``classify -- -a.wav`` was said to lack its file."""
    _, settings = parse(["classify", *words])
    assert settings.files == tuple(map(Path, words[words.index("--") + 1 :]))


def test_arguments_after_two_dashes_are_counted() -> None:
    with pytest.raises(SettingsError, match="more arguments than"):
        parse(["export", "--", "run", "folder", "-x"])


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_tells_every_option(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(command, "--help") == 0
    text = " ".join(capsys.readouterr().out.split())
    for option in options_of(settings_of(COMMANDS[command])):
        assert option.flag in text
        assert option.variable in text
        assert option.shown_default in text
        assert option.range in text


@pytest.mark.parametrize(
    "arguments",
    [
        ("serve", "--tokn", "hunter2"),
        ("serve", "--tokn=hunter2"),
        ("serve", "--jwt=hunter2"),
        ("serve", "hunter2"),
        ("--token", "hunter2", "serve"),
        ("hunter2",),
        ("serve", "--jwt-secret", "hunter2"),
        ("serve", "--ice-server", "turn:ann:hunter2@a b"),
        ("serve", "--turn-secret", "hunter2"),
        ("signaling", "--secret", "s", "--registry", "http://:hunter2@cache"),
        ("media", "--secret", "s", "--registry", "redis://:hunter2@[cache"),
    ],
)
def test_a_mistake_beside_a_secret_does_not_print_it(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """A mistyped ``--token`` used to be answered with the token, in the log of whoever started the server."""
    assert run(*arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "hunter2" not in line


def test_a_mistyped_option_is_told_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("serve", "--max-session", "3") == 2
    assert "no option --max-session; did you mean --max-sessions?" in capsys.readouterr().err
    assert run("serve", "--colour") == 2
    assert "no option --colour; see voxgender serve --help" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("classify", "/no/such/file.wav"), "/no/such/file.wav: no such file"),
        (("classify", "--model", "/no/such/model", "x.wav"), "/no/such/model"),
        (("evaluate", "/no/such/manifest.csv"), "/no/such/manifest.csv"),
        (("export", "/no/such/run", "/tmp/never"), "/no/such/run"),
        (("call", "http://127.0.0.1:9"), "127.0.0.1:9"),
        (("call", "ftp://example.org"), "ftp"),
        (("call", "http://127.0.0.1:9", "--json", "alice=/no/such/file.wav"), "/no/such/file.wav: no such file"),
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


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("~no-such-user/model", "no such user, or no home directory"),
        (300 * "a", "cannot be looked for (File name too long)"),
    ],
)
def test_a_model_that_cannot_be_looked_for_is_one_line(
    model: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both were a traceback, and to ``PUT /model`` an internal error."""
    assert run("classify", "--model", model, "x.wav") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line


def _shell(command: str) -> subprocess.CompletedProcess[str]:
    """Run a command line of a shell, in which ``voxgender`` is this one."""
    script = f'voxgender() {{ {shlex.quote(sys.executable)} -m voxgender "$@"; }}; {command}'
    return subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("command", "status", "says"),
    [
        # Without a stdin the event loop took its number, and libuv ended the process with a core dump.
        ("voxgender listen http://127.0.0.1:9 - <&-", 1, "127.0.0.1:9"),
        ("voxgender call http://127.0.0.1:9 --audio /no/such/file >&-", 1, "/no/such/file"),
        ("voxgender classify /no/such/file 2>&-", 1, ""),
        # Both were tracebacks.
        ("voxgender doctor --json --role signaling >/dev/full", 1, "voxgender: No space left on device\n"),
    ],
)
def test_streams_that_are_closed_or_full_are_no_traceback(command: str, status: int, says: str) -> None:
    done = _shell(command)
    assert done.returncode == status, done.stderr
    assert done.stdout == ""
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= 1


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


def test_models_are_measured_without_what_training_needs(
    recordings: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both commands asked for an extra of 6 GB, to draw a bar."""
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setattr(benchmark, "RUNTIMES", [one for one in benchmark.RUNTIMES if one.module == "onnxruntime"])
    manifest = tmp_path / "manifest.csv"
    manifest.write_text(f"path,label\n{recordings['man']},male\n")
    assert run("evaluate", str(manifest)) == 0
    assert run("bench-model", "embedded", str(recordings["man"]), "--seconds", "0.1") == 0
    assert "ONNX Runtime" in capsys.readouterr().out


def test_train_tells_the_one_extra_that_brings_all_that_it_needs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without torch it told the extra for torch, and with torch the next one."""
    monkeypatch.setattr("voxgender.commands.find_spec", lambda name: None)
    assert run("train", "manifest.csv", "--out", "folder") == 1
    assert "pip install 'voxgender[training]'" in capsys.readouterr().err


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
