"""Messages between ``serve --workers`` and its workers, a line each on stdin and stdout."""

import msgspec

from voxgender.settings import MediaSettings

DRAIN = b"drain\n"
RELOAD = b"reload\n"


class WorkerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Configuration of a worker."""

    number: int
    settings: MediaSettings
    secret: str
    socket: str
    """Path of the Unix domain socket of its API."""
    cores: float


class WorkerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Status of a worker: it takes calls, or the reason why it cannot."""

    error: str = ""
    status: int = 0
    """Exit status for the error."""
