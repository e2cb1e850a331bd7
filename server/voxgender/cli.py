"""Read the command line, and run the command that it names."""

import argparse
import difflib
import io
import logging
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NoReturn, get_type_hints

from voxgender import __version__, options
from voxgender.commands import COMMANDS, media, pool, serve, signaling
from voxgender.console import fail
from voxgender.errors import SettingsError, VoxgenderError
from voxgender.extras import advice


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns:
        The exit status: 0 on success, 2 on bad usage, 1 on failure; both with one line on stderr.
    """
    _open_standard_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A file's name may not be in the terminal's encoding.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        try:
            return _run_command(sys.argv[1:] if argv is None else argv)
        finally:
            # Here a disk that is full can be told; when the interpreter ends, it is a traceback.
            sys.stdout.flush()
    except SettingsError as error:
        return fail(error, 2)
    except VoxgenderError as error:
        return fail(error, 1)
    except ModuleNotFoundError as missing:
        return fail(f"this command {advice(missing)}", 1)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of the output has closed the pipe.
        _discard_output()
        return 1
    except OSError as error:
        _discard_output()
        where = "" if error.filename is None else f"{error.filename}: "
        return fail(f"{where}{error.strerror or str(error) or type(error).__name__}", 1)


def _run_command(argv: Sequence[str]) -> int:
    command, settings = parse(argv)
    if command not in (serve, signaling, media, pool):
        # Servers set up their own log.
        logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    return command(settings)


def parse(argv: Sequence[str]) -> tuple[Callable[[Any], int], Any]:
    """Read a command line: the command, and its options.

    Raises:
        SettingsError: it is not valid; the message repeats no value, because it may be a secret.
        SystemExit: help or the version was asked for, and printed.
    """
    if not argv or (argv[0] not in COMMANDS and argv[0] not in ("-h", "--help", "--version")):
        raise SettingsError(f"the first argument must be a command: {', '.join(COMMANDS)}; see voxgender --help")
    if argv[0] not in COMMANDS:
        _overview().parse_args(argv[:1])
    command = COMMANDS[argv[0]]
    kind = settings_of(command)
    parser = _Parser(prog=f"voxgender {argv[0]}", description=command.__doc__, allow_abbrev=False)
    options.add_arguments(parser, kind)
    if any(option.variable for option in options.options_of(kind)):
        parser.epilog = "Names in brackets are environment variables; the command line wins."
    words, plain = _without_plain(argv[1:])
    # Options may stand between the arguments.
    arguments, unknown = parser.parse_known_intermixed_args(words)
    if unknown:
        flags = [option.flag for option in options.options_of(kind)]
        raise SettingsError(_unknown(parser.prog, unknown[0].partition("=")[0], flags))
    given = {name: _with_plain(value, plain) for name, value in vars(arguments).items()}
    return command, options.read(kind, given)


def settings_of(command: Callable[[Any], int]) -> type:
    """Return the dataclass that declares a command's options."""
    kind: type = get_type_hints(command)["settings"]
    return kind


def _without_plain(words: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Put placeholders for the words after ``--``, which are arguments and no options whatever they begin with.

    Python's parser of intermixed arguments loses ``--`` and then takes them for options, or misses them, by version.

    Returns:
        The words, and what the placeholders stand for.
    """
    if "--" not in words:
        return list(words), {}
    at = words.index("--")
    # No word of a command line can have such a byte.
    plain = {f"\0{number}": word for number, word in enumerate(words[at + 1 :])}
    return [*words[:at], *plain], plain


def _with_plain(value: Any, plain: dict[str, str]) -> Any:
    if isinstance(value, list):
        return [plain.get(one, one) for one in value]
    return plain.get(value, value) if isinstance(value, str) else value


class _Parser(argparse.ArgumentParser):
    """An argument parser that raises ``SettingsError`` in place of printing errors itself."""

    def error(self, message: str) -> NoReturn:
        message = message.removeprefix("argument ")
        if message.endswith("expected one argument"):
            message += f" (one that begins with a dash is given as {message.partition(':')[0]}=VALUE)"
        raise SettingsError(f"{message}; see {self.prog} --help")


def _overview() -> argparse.ArgumentParser:
    listed = "\n".join(
        f"  {name:<12} {(command.__doc__ or '').removesuffix('.')}" for name, command in COMMANDS.items()
    )
    parser = _Parser(
        prog="voxgender",
        usage="voxgender [-h] [--version] COMMAND ...",
        description="Tell, live, whether the voice speaking now is heard as male or female.",
        epilog=f"commands:\n{listed}\n\nOptions of a command: voxgender COMMAND --help",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"voxgender {__version__}")
    return parser


def _unknown(prog: str, name: str, flags: Sequence[str]) -> str:
    if not name.startswith("-"):
        return f"there are more arguments than {prog} takes; see {prog} --help"
    nearest = difflib.get_close_matches(name, flags, 1)
    advice = f"did you mean {nearest[0]}?" if nearest else f"see {prog} --help"
    return f"{prog} has no option {name}; {advice}"


def _open_standard_streams() -> None:
    """Let streams that are closed, as some service managers leave them, lead to the null device.

    A socket or a file would take their numbers otherwise, and be written to by whatever prints.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            # The lowest number that is free is given, so each stream gets its own.
            file = os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, os.fdopen(file, "w" if number else "r", encoding="utf-8"))


def _discard_output() -> None:
    """Let what waits to be printed go nowhere: the interpreter would try again at its end, and fail."""
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


if __name__ == "__main__":
    sys.exit(main())
