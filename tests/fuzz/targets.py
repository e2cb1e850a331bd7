"""List all targets by name."""

from tests.fuzz import files, packets, streams, texts

TARGETS = (*packets.TARGETS, *texts.TARGETS, *files.TARGETS, *streams.TARGETS)
