"""Define the messages between a media node and a pool: MessagePack in HTTP bodies.

A node asks ``GET`` for the :class:`Description`, and sends :class:`Request` by ``POST``. Every window has a key of its
own, which comes back with its probabilities: an answer that has other keys is not taken.
"""

import hashlib
from typing import Annotated, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

VERSION = 1
"""Version of these messages. Raised when either side could misunderstand the other."""
PATH = "/voxgender-pool"
MEDIA_TYPE = "application/vnd.msgpack"
REPLICA_HEADER = "Voxgender-Replica"
"""Header of an answer: names the replica that gave it, for people who look for one that is new, slow or wrong."""

MAX_WINDOWS = 64
"""Windows in one request."""
MAX_SAMPLES = 160_000
"""Samples of a window: ten seconds."""
MAX_BYTES = MAX_WINDOWS * 2 * 16_000 * 2
"""Bytes of a request: its windows are of two seconds on average at most."""

_FULL_SCALE = 2**15 - 1
_SILENCE = 1e-20
"""Peak, -400 dB of full scale, under which a window is told as silence: scaling by less would overflow float32."""

Samples = npt.NDArray[np.float32]


class Description(msgspec.Struct, frozen=True, kw_only=True):
    """Tells a node which model a pool runs, and how to ask it."""

    version: int
    release: str
    """voxgender's version."""
    model: str
    labels: Annotated[tuple[str, ...], Meta(min_length=2, max_length=1_000)]
    """Column order of the probabilities."""
    min_window_ms: Annotated[int, Meta(ge=1, le=10_000)]
    together: Annotated[int, Meta(ge=1, le=MAX_WINDOWS)]
    """Windows that a node should send in one request: so many that a replica takes some 50 ms for them."""

    @property
    def id(self) -> str:
        """Digest of all that an answer depends on for its reader: 16 hexadecimal digits."""
        told = msgspec.json.encode((self.version, self.model, self.labels, self.min_window_ms))
        return hashlib.sha256(told).hexdigest()[:16]


class Hail(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a :class:`Description` that no version changes."""

    version: int
    release: str = "unknown"


class WindowMessage(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """One window of one call."""

    key: int
    """Unique in the node."""
    deadline_ms: Annotated[int, Meta(ge=1, le=60_000)]
    """Time from the request's arrival after which its probabilities are of no use."""
    peak: Annotated[float, Meta(ge=0, le=1e6)]
    """Magnitude that the samples are scaled by, so that a quiet voice loses no more than a loud one."""
    samples: Annotated[bytes, Meta(min_length=2, max_length=2 * MAX_SAMPLES)]
    """int16, little endian, mono, 16 kHz; ``peak`` is full scale."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """Windows of one or many calls, to be classified by the model that the sender knows of."""

    version: int
    model: str
    """The :attr:`Description.id` that the sender knows."""
    windows: Annotated[tuple[WindowMessage, ...], Meta(min_length=1, max_length=MAX_WINDOWS)]


class Row(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """The probabilities of one window; None if its deadline had passed."""

    key: int
    probabilities: tuple[float, ...] | None


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a :class:`Request`."""

    version: int
    model: str
    rows: tuple[Row, ...]


class Packed(NamedTuple):
    """Samples in the form that is sent."""

    peak: float
    samples: bytes


def pack(window: Samples) -> Packed:
    """Write a window in 16 bits: float32, shape ``(samples,)``; its noise is 90 dB below its peak or less."""
    peak = float(np.abs(window).max())
    if peak < _SILENCE:
        return Packed(0.0, bytes(2 * window.size))
    return Packed(peak, np.rint(window * (_FULL_SCALE / peak)).astype("<i2").tobytes())


def unpack(window: WindowMessage) -> Samples:
    """Read a window.

    Raises:
        ValueError: it ends in the middle of a sample.
    """
    return np.frombuffer(window.samples, dtype="<i2").astype(np.float32) * np.float32(window.peak / _FULL_SCALE)
