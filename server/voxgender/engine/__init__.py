"""Sound in, messages out: the whole way from a call's audio, or a file's, to what is told of it."""

from voxgender.engine.call import Call
from voxgender.engine.engine import HOP_MS, WINDOW_MS, Engine

__all__ = ["HOP_MS", "WINDOW_MS", "Call", "Engine"]
