"""Encode AMR-WB by GStreamer, as RTP payloads of both layouts (RFC 4867)."""

import shutil
import subprocess
from collections.abc import Sequence

import pytest

from tests.support import Samples

_BITS = (132, 177, 253, 285, 317, 365, 397, 461, 477, 40)
_HEADER = 12
"""Bytes of an RTP header without extensions."""


def encoded(samples: Samples, *, mode: int = 8) -> list[bytes]:
    """Octet-aligned payloads of 20 ms each."""
    if not shutil.which("gst-launch-1.0"):
        pytest.skip("GStreamer is not installed: tools/system-packages tests does that")
    pipeline = (
        "fdsrc ! rawaudioparse use-sink-caps=false format=pcm pcm-format=s16le sample-rate=16000 num-channels=1"
        f" ! voamrwbenc band-mode={mode} ! rtpamrpay ! rtpstreampay ! fdsink"
    )
    pcm = (samples * 32_767).astype("<i2").tobytes()
    data = subprocess.run(
        ["gst-launch-1.0", "-q", *pipeline.split()], input=pcm, capture_output=True, check=True, timeout=30
    ).stdout
    found = []
    while data:
        # Each packet behind its length (RFC 4571).
        size = int.from_bytes(data[:2])
        found.append(data[2 + _HEADER : 2 + size])
        data = data[2 + size :]
    return found


def efficient(frames: Sequence[bytes]) -> bytes:
    """The bandwidth-efficient payload of frames (section 4.3)."""
    bits = "1111"
    for number, frame in enumerate(frames):
        bits += f"{int(number + 1 < len(frames))}{frame[0] >> 2 & 31:05b}"
    for frame in frames:
        kind = frame[0] >> 3 & 15
        bits += "".join(f"{octet:08b}" for octet in frame[1:])[: _BITS[kind] if kind < len(_BITS) else 0]
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8)
