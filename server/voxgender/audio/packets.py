"""Encoded packets of audio, as they come before anything is decoded."""

from typing import NamedTuple

SAMPLE_RATE_HZ = 16_000
"""Sample rate of the speech gate and the model."""


class Packet(NamedTuple):
    """An encoded packet of audio, in order."""

    pts: int
    """Its start in ticks of its format's clock."""
    data: bytes
    after_loss: bool = False
    """True where packets before it were given up. A gap in time alone is discontinuous transmission."""
    payload_type: int = 0
    """Which of the negotiated formats it has (RFC 3550 section 5.1)."""
