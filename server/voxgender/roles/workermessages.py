"""Messages between ``serve --workers`` and its workers, a line each on stdin and stdout."""

import msgspec

from voxgender.settings import MediaSettings

DRAIN = b"drain\n"


class WorkerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Tells a worker what to be."""

    number: int
    settings: MediaSettings
    secret: str
    socket: str
    """Path of the Unix domain socket on which it is asked."""
    cores: float


class WorkerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Tells the front that a worker takes calls, or why it never will."""

    error: str = ""
    status: int = 0
    """The exit status that the error asks for."""
