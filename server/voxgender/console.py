"""Write to a terminal, with control characters escaped."""

import sys

from voxgender.errors import VoxgenderError


def fail(error: VoxgenderError | str, status: int) -> int:
    """Tell an error on stderr. Returns ``status``, for the process to exit with."""
    print("voxgender:", *(printable(line) for line in str(error).splitlines()), file=sys.stderr)
    return status


def printable(text: str) -> str:
    """Escape control characters: a message may quote an argument, a file's name or a file's content."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)
