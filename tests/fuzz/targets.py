"""All targets by name."""

from tests.fuzz import files, packets, texts

TARGETS = (*packets.TARGETS, *texts.TARGETS, *files.TARGETS)
