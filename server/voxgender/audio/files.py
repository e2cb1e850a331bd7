"""Read audio files of any container and codec that PyAV knows, and only the bytes of the file itself."""

import logging
import signal
import stat
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from ctypes import py_object, pythonapi
from errno import EINVAL
from io import SEEK_END, SEEK_SET, FileIO
from itertools import islice
from os import PathLike, fspath
from pathlib import Path
from threading import current_thread, main_thread
from typing import Any, BinaryIO, Self

import av
import av.error
import numpy as np
import numpy.typing as npt
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer

from voxgender.audio.frames import SAMPLE_RATE_HZ, silence_non_finite
from voxgender.audio.resampler import Resampler
from voxgender.errors import AudioError

logger = logging.getLogger(__name__)

MAX_WHOLE_S = 6 * 3_600
"""Longest file that is read into memory; a file that is read frame by frame may be of any length."""
MAX_SEARCHED = 2**30
"""Bytes read without a frame of audio among them, such as a film's pictures, after which a file is given up."""
_SEEK_COST = 4_096
"""Bytes that could be read in the time of a seek."""
_RATES_HZ = range(1_000, 768_001)
_PLACES = (
    *("FL", "FR", "FC", "LFE", "BL", "BR", "FLC", "FRC", "BC", "SL", "SR", "TC", "TFL", "TFC", "TFR", "TBL", "TBC"),
    *("TBR", "DL", "DR", "WL", "WR", "SDL", "SDR", "LFE2", "TSL", "TSR", "BFC", "BFL", "BFR"),
)
"""FFmpeg's names of channels, in their usual order."""
_FRAMES_AT_ONCE = 32
"""Resampling costs the same for one frame as for many."""

# Demuxers that find all they need in the file itself. FFmpeg has others that open the files or addresses which a file
# names (hls, concat, dash, sdp, image2, vobsub, mlv, ...), and one that names itself never ends.
_FORMATS = ",".join(
    (
        *("wav", "w64", "aiff", "au", "caf", "flac", "mp3", "aac", "loas", "ac3", "eac3", "dts", "dtshd", "truehd"),
        *("mlp", "mpc", "mpc8", "ogg", "oma", "ape", "wv", "tta", "tak", "shn", "dsf", "xwma", "voc", "sox", "ircam"),
        *("nistsphere", "pvf", "iff", "qcp", "amr", "amrnb", "amrwb", "gsm", "g722", "g726", "g729", "ilbc", "alaw"),
        *("mulaw", "sln", "codec2", "spdif"),
        *("mov", "matroska", "webm", "avi", "asf", "flv", "mpegts", "mpeg", "nut", "rm", "wtv", "mxf", "dv"),
    )
)


def read_frames(
    source: str | PathLike[str] | BinaryIO, *, max_searched: int = MAX_SEARCHED
) -> Generator[AudioFrame, None, None]:
    """Decode a file's first audio stream, frame by frame; skip damaged packets.

    Files that name other files, such as playlists, are refused, and so are pipes, devices and folders. Bytes that are
    appended to the file meanwhile are not read.

    Args:
        source: the file's path; or a file that is open and can be sought in, which is read from its beginning and left
            open.
        max_searched: bytes read without a frame of audio among them after which the file is given up.

    Raises:
        AudioError: the file is missing, is no media file, or holds no audio that can be decoded.
    """
    name = fspath(source) if isinstance(source, str | PathLike) else _name_of(source)
    with _Source(name, None if isinstance(source, str | PathLike) else source, max_searched) as reader:
        empty, not_numbers = True, 0
        with _open(name, reader) as container:
            if not container.streams.audio:
                raise AudioError(f"{name}: holds no audio stream")
            stream = container.streams.audio[0]
            # PyAV has none for a codec that it does not know.
            if stream.codec_context is None:
                raise AudioError(f"{name}: holds no audio that can be decoded")
            _check_order(stream, name)
            for frame in _decode(container, stream, reader, name):
                if frame.sample_rate not in _RATES_HZ:
                    raise AudioError(f"{name}: has {frame.sample_rate} samples a second, which is no rate of audio")
                empty = False
                reader.found_audio()
                frame, wrong = silence_non_finite(frame)
                not_numbers += wrong
                yield frame
    if empty:
        raise AudioError(f"{name}: holds no audio that can be decoded")
    if not_numbers:
        logger.warning("%s: %d samples are infinite or no numbers, and were taken for silence", name, not_numbers)


def _decode(
    container: InputContainer, stream: AudioStream, source: "_Source", name: str
) -> Generator[AudioFrame, None, None]:
    """Yield a stream's frames; skip damaged packets."""
    packets = container.demux(stream)
    while True:
        try:
            with source.interruptible():
                packet = next(packets, None)
            if packet is None:
                return
            frames = packet.decode()
        except av.error.InvalidDataError:
            continue
        except av.error.FFmpegError as error:
            raise AudioError(f"{name}: cannot be decoded any further ({error.strerror})") from None
        yield from frames


def read_audio(path: str | PathLike[str], *, max_s: float = MAX_WHOLE_S) -> npt.NDArray[np.float32]:
    """Read a whole file.

    Args:
        path: the file.
        max_s: longest audio that is read.

    Returns:
        float32, shape ``(samples,)``, mono, 16 kHz, full scale ±1.

    Raises:
        AudioError: the file is missing, is no media file, holds no audio that can be decoded, or lasts more than
            ``max_s``.
    """
    resampler = Resampler()
    frames = read_frames(path)
    pieces, samples = [], 0
    while some := list(islice(frames, _FRAMES_AT_ONCE)):
        pieces.append(resampler.convert(some))
        samples += pieces[-1].size
        if samples > max_s * SAMPLE_RATE_HZ:
            raise AudioError(f"{fspath(path)}: lasts more than {max_s / 3_600:g} hours; cut it into pieces")
    pieces.append(resampler.flush())
    return np.concatenate(pieces)


def _check_order(stream: AudioStream, name: str) -> None:
    """Check that PyAV can decode a stream: not if its channels are in an order of their own, as right before left.

    PyAV 18.1 frees such a layout once for each of its objects and once more with what they were made of, which is the
    end of the process. The object that is made here to look at is therefore kept for ever.

    Raises:
        AudioError: it cannot.
    """
    layout = stream.codec_context.layout
    _, _, listed = layout.name.partition("(")
    places = listed.rstrip(")").split("+") if listed else []
    if places == [place for place in _PLACES if place in places]:
        return
    pythonapi.Py_IncRef(py_object(layout))
    raise AudioError(
        f"{name}: has its channels in an order that cannot be read, {layout.name}; mix them first, for example by "
        "ffmpeg -i FILE -ac 1 MIXED.wav"
    )


def _name_of(file: BinaryIO) -> str:
    """Return the name of an open file, for errors; those in memory have none, and a descriptor's is a number."""
    name = getattr(file, "name", None)
    return name if isinstance(name, str) and name else type(file).__name__


class _Source:
    """Reads one file for FFmpeg, so that FFmpeg opens no file itself, and stops at Ctrl-C.

    FFmpeg calls these methods from C, which no exception can cross. So an exception is kept, FFmpeg is told that the
    file has ended, and :meth:`interruptible` raises the exception.

    Args:
        name: the file.
        given: the file, if it is open already; it is left open.
        max_searched: bytes that are read without finding audio.

    Raises:
        AudioError: there is no such file, or it cannot be read.
    """

    def __init__(self, name: str, given: Any, max_searched: int) -> None:
        self.name = name
        self._max_searched = max_searched
        self._is_given = given is not None
        try:
            if not self._is_given and not stat.S_ISREG(Path(name).stat().st_mode):
                # Checked before opening: to open a named pipe waits for ever for its other end.
                raise AudioError(f"{name}: not an audio file that FFmpeg reads (it is no regular file)")
            self._file = given if self._is_given else FileIO(name)
            self._size = self._file.seek(0, SEEK_END)
            self._file.seek(0)
        except FileNotFoundError:
            raise AudioError(f"{name}: no such file") from None
        except (OSError, ValueError, AttributeError) as error:
            raise AudioError(f"{name}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
        self._searched = 0
        self._broken: BaseException | None = None

    def read(self, size: int) -> bytes:
        if self._broken is not None:
            return b""
        try:
            data = self._file.read(max(0, min(size, self._size - self._file.tell()))) or b""
            if isinstance(data, str):
                raise TypeError("it gives text: open it with mode 'rb'")
            data = bytes(data)
        except Exception as error:  # noqa: BLE001 - what a program's own file raises cannot go through FFmpeg either
            self._broken = AudioError(f"{self.name}: cannot be read ({getattr(error, 'strerror', None) or error})")
            return b""
        self._search(len(data))
        return data

    def seek(self, offset: int, whence: int = SEEK_SET) -> int:
        self._search(_SEEK_COST)
        try:
            return -1 if self._broken is not None else self._file.seek(offset, whence)
        except Exception:  # noqa: BLE001 - none can go through FFmpeg
            # -1 tells FFmpeg of an error: offsets in a damaged file lead anywhere.
            return -1

    def tell(self) -> int:
        return self._file.tell()

    def found_audio(self) -> None:
        """Reset the count of bytes that were read without finding audio."""
        self._searched = 0

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Run FFmpeg in this block; raise the exception that was kept while it read, ``KeyboardInterrupt`` too."""
        handler = signal.getsignal(signal.SIGINT)
        # Only Python's default handler raises, and only the main thread runs handlers.
        ours = handler is signal.default_int_handler and current_thread() is main_thread()
        if ours:
            signal.signal(signal.SIGINT, self._interrupt)
        try:
            yield
        finally:
            if ours:
                signal.signal(signal.SIGINT, handler)
            if self._broken is not None:
                raise self._broken from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._is_given:
            self._file.close()

    def _search(self, cost: int) -> None:
        self._searched += cost
        if self._searched > self._max_searched and self._broken is None:
            self._broken = AudioError(f"{self.name}: holds no audio in {self._max_searched >> 20} MiB of it")

    def _interrupt(self, *_: object) -> None:
        self._broken = KeyboardInterrupt()


def _open(name: str, source: _Source) -> InputContainer:
    try:
        with source.interruptible():
            return av.open(
                source,
                "r",
                metadata_errors="ignore",
                # A second safeguard: no protocol has this name.
                container_options={"format_whitelist": _FORMATS, "protocol_whitelist": "none"},
            )
    except (OSError, ValueError, av.error.FFmpegError) as error:
        reason = getattr(error, "strerror", None) or error
        if getattr(error, "errno", None) == EINVAL:
            reason = "it is of a kind that names other files, or holds no audio"
        raise AudioError(f"{name}: not an audio file that FFmpeg reads ({reason})") from None
