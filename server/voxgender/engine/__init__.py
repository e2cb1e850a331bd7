"""Analyse the audio of calls and files, from packets or samples to messages."""

from voxgender.engine.call import Call
from voxgender.engine.engine import HOP_MS, WINDOW_MS, Engine

__all__ = ["HOP_MS", "WINDOW_MS", "Call", "Engine"]
