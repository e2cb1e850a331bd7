"""Sound in, messages out: the whole way from a track or a file to what is told to the client."""

from voxgender.analysis.analyzer import HOP_MS, WINDOW_MS, Analyzer

__all__ = ["HOP_MS", "WINDOW_MS", "Analyzer"]
