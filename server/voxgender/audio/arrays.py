"""Convert arrays of samples to the encodings and the order of PCM."""

from typing import Any

import numpy as np
import numpy.typing as npt

from voxgender.audio.pcm import MAX_CHANNELS, Encoding
from voxgender.errors import AudioError

Array = npt.NDArray[Any]


def encoded(given: npt.ArrayLike, encoding: Encoding | None, kind: str) -> tuple[Array, Encoding]:
    """Convert an array to samples of one of the encodings; return them and its name.

    Args:
        given: int16 or float32; int32 and other floats are converted, and uint8 is taken for a G.711 encoding.
        encoding: that was said, if any.
        kind: name of the array's type, for errors.

    Raises:
        AudioError: it has another type, or another one than was said, or cannot be read.
    """
    try:
        # Samples that numpy masks are no sound.
        array = np.asarray(given.filled(0) if hasattr(given, "filled") else given)
    except Exception as error:
        # As of a tensor that is not in this machine's memory: its library says what to do.
        raise AudioError(f"A {type(given).__name__} gives no array ({error}).") from error
    dtype = array.dtype.newbyteorder("=")
    made: tuple[Array, Encoding]
    if dtype == np.uint8 and (encoding in ("mulaw", "alaw") or kind not in ("array", "pair of rate and array")):
        made = (array, encoding) if encoding in ("mulaw", "alaw") else ((array.astype(np.int16) - 128) * 256, "s16le")
    elif dtype == np.int16:
        made = array.astype("<i2", copy=False), "s16le"
    elif dtype == np.int32:
        made = (array / np.float32(2**31)).astype("<f4"), "f32le"
    elif dtype in (np.float32, np.float64, np.float16):
        with np.errstate(over="ignore"):
            made = array.astype("<f4", copy=False), "f32le"
    else:
        raise AudioError(
            f"An array of {array.dtype} is not taken: give int16, or float32 of full scale ±1 (uint8 is taken for "
            "encoding='mulaw' and 'alaw')."
        )
    if encoding is not None and made[1] != encoding:
        raise AudioError(f"An array of {array.dtype} came where encoding={encoding!r} was said: leave encoding= out.")
    return made


def interleaved(samples: Array, channels: int | None, *, is_planar: bool) -> tuple[Array, bool]:
    """Bring samples to shape ``(n, channels)``.

    Args:
        samples: of shape ``(n,)``, ``(n, channels)`` or ``(channels, n)``; axes of length 1 may be added.
        channels: number of channels that was said; None for the shorter axis.
        is_planar: whether a square is of shape ``(channels, n)``: as the array before it.

    Returns:
        The samples, and whether they were of shape ``(channels, n)``.

    Raises:
        AudioError: there is no such axis, or there are too many channels.
    """
    shape = samples.shape
    if samples.ndim != 2:
        samples = np.atleast_1d(samples.squeeze())
    if samples.ndim == 1:
        channels = channels or 1
        if samples.size % channels:
            raise AudioError(f"{samples.size} samples are not the same number for each of {channels} channels.")
        return samples.reshape(-1, channels), is_planar
    if samples.ndim > 2:
        raise AudioError(f"An array of shape {shape} is not taken: give (n,), (n, channels) or (channels, n).")
    rows, columns = samples.shape
    if channels is None:
        channels = min(rows, columns)
        if channels > MAX_CHANNELS:
            raise AudioError(f"An array of shape {shape} has more than {MAX_CHANNELS} channels.")
    if channels not in (rows, columns):
        raise AudioError(f"An array of shape {shape} has no axis of {channels} channels.")
    if rows != columns:
        is_planar = rows == channels
    return (samples.T if is_planar else samples), is_planar
