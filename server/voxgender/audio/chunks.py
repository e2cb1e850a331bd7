"""Accept PCM in any form that a program has: bytes, arrays of any shape, and frames that carry their own format.

Frames are recognised by their attributes, so that none of the libraries that they come from is imported. numpy is
imported with the first array, and FFmpeg with the first decoder: an event loop can take bytes before they are loaded.
"""

from collections.abc import Callable, Iterator, Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any, NamedTuple

from voxgender.audio.formatcheck import FormatCheck
from voxgender.audio.packets import Packet
from voxgender.audio.pcm import Encoding, PcmFormat, PcmPackets
from voxgender.errors import AudioError

if TYPE_CHECKING:
    from voxgender.audio.frames import Frame

_BYTES = (bytes, bytearray, memoryview)


def view_of(given: Any) -> memoryview | None:
    """Return a view of an object's memory (PEP 3118), as ``array.array`` and buffers of cffi have one; None if none.

    Raises:
        AudioError: it had one, and has let it go.
    """
    try:
        return memoryview(given)
    except TypeError:
        return None
    except (ValueError, BufferError) as error:
        raise AudioError(f"The memory of a {type(given).__name__} cannot be read: {error}.") from None


class _Piece(NamedTuple):
    """Sound with its format, as far as it carries one."""

    data: Any
    """Encoded bytes; or an array, ``(n,)`` (interleaved), ``(n, channels)`` or ``(channels, n)``."""
    rate_hz: int | None = None
    channels: int | None = None
    encoding: Encoding | None = None
    kind: str = "chunk"
    """Name of its type, for errors."""

    @property
    def is_raw(self) -> bool:
        """True for bytes of which only the program knows what they are."""
        return isinstance(self.data, bytes) and self.encoding is None


class Chunks:
    """Turns chunks into packets, and the packets into frames of each channel that is analysed separately.

    Args:
        rate_hz: of bytes and arrays; frames carry their own.
        encoding: of bytes; None for ``s16le``.
        channels: channels that are interleaved in bytes, or an axis of arrays, to be judged apart. None for one channel
            in bytes, and for a mix of the channels that arrays and frames have.

    Raises:
        AudioError: the rate, the encoding or the number of channels is out of bounds.
    """

    def __init__(
        self, rate_hz: int | None = None, encoding: Encoding | None = None, channels: int | None = None
    ) -> None:
        # All bounds are checked before the first chunk comes.
        PcmFormat(8_000 if rate_hz is None else rate_hz, encoding or "s16le", 1 if channels is None else channels)
        self._rate_hz = rate_hz
        self._encoding = encoding
        self._channels = channels
        self._formats: list[PcmFormat] = []
        self._packets: PcmPackets | None = None
        self._is_last_planar = False
        self._check: FormatCheck | None = None

    @property
    def decoders(self) -> "list[Callable[[Sequence[Packet]], list[Frame]]]":
        """Decoders of the channels that are analysed separately; they may be called on another thread."""
        from voxgender.audio.pcmdecoder import FormatsDecoder

        if self._channels is None or self._channels == 1:
            return [self.mixed]
        return [FormatsDecoder(self._formats, channel).decode for channel in range(self._channels)]

    @property
    def mixed(self) -> "Callable[[Sequence[Packet]], list[Frame]]":
        """Decoder of all channels mixed to one."""
        from voxgender.audio.pcmdecoder import FormatsDecoder

        return FormatsDecoder(self._formats, None).decode

    def cut(self, chunk: object) -> Iterator[tuple[Packet, float]]:
        """Return a chunk's packets, each with its length in seconds; a chunk of bytes may end in mid-sample.

        Raises:
            AudioError: it is no PCM, or has another rate or number of channels than was said.
        """
        piece = _piece(chunk)
        if isinstance(piece.data, bytes):
            encoding = piece.encoding or self._encoding or "s16le"
            # Before the rate: who gives a whole file has none to say.
            self._look(piece, encoding, piece.data)
            pcm = PcmFormat(
                self._rate_of(piece), encoding, self._channels_of(piece, piece.channels or self._channels or 1)
            )
            return self._packets_of(pcm, piece.data)
        rate_hz = self._rate_of(piece)
        from voxgender.audio.arrays import encoded, interleaved

        samples, encoding = encoded(piece.data, self._encoding, piece.kind)
        if samples.size == 0:
            # Its shape says nothing: a callback without sound may give (0, 1), (0, 2) or (0,).
            return iter(())
        said = piece.channels or self._channels
        samples, self._is_last_planar = interleaved(samples, said, is_planar=self._is_last_planar)
        channels = self._channels_of(piece, samples.shape[1])
        data = samples.tobytes()
        self._look(piece, encoding, data)
        return self._packets_of(PcmFormat(rate_hz, encoding, channels), data)

    def _look(self, piece: _Piece, encoding: Encoding, data: bytes) -> None:
        if self._check is None:
            self._check = FormatCheck(encoding, is_raw=piece.is_raw)
        self._check.look(data)

    def _rate_of(self, piece: _Piece) -> int:
        if piece.rate_hz is None and self._rate_hz is None:
            raise AudioError(f"A {piece.kind} does not say its sample rate: give it as rate=, such as rate=16000.")
        if piece.rate_hz is not None and self._rate_hz not in (None, piece.rate_hz):
            raise AudioError(
                f"A {piece.kind} of {piece.rate_hz} Hz came where rate={self._rate_hz} was said: leave rate= out, or "
                "convert the frames."
            )
        rate_hz = self._rate_hz if piece.rate_hz is None else piece.rate_hz
        assert rate_hz is not None
        return rate_hz

    def _channels_of(self, piece: _Piece, channels: int) -> int:
        if self._channels not in (None, channels):
            raise AudioError(
                f"A {piece.kind} of {channels} {'channel' if channels == 1 else 'channels'} came where "
                f"channels={self._channels} was said."
            )
        return channels

    def _packets_of(self, pcm: PcmFormat, data: bytes) -> Iterator[tuple[Packet, float]]:
        if self._packets is None:
            self._packets = PcmPackets(pcm)
            self._formats.append(pcm)
        elif pcm != self._packets.format:
            self._packets = self._packets.followed_by(pcm)
            self._formats.append(pcm)
        number = len(self._formats) - 1
        return ((packet._replace(payload_type=number), length_s) for packet, length_s in self._packets.cut(data))


def _piece(chunk: Any) -> _Piece:
    """Find a chunk's samples and format by its attributes."""
    kind = type(chunk).__name__
    # An event of LiveKit's AudioStream holds a frame.
    chunk = getattr(chunk, "frame", chunk)
    if isinstance(chunk, bytes | bytearray):
        return _Piece(bytes(chunk), kind=kind)
    if isinstance(chunk, tuple) and len(chunk) == 2:
        # Gradio and FastRTC have the rate first, soundfile has it last.
        rate, samples = chunk if isinstance(chunk[0], Integral) else reversed(chunk)
        if isinstance(rate, Integral):
            return _Piece(samples, int(rate), kind="pair of rate and array")
    if hasattr(chunk, "sample_rate"):
        return _of_frame(chunk, kind)
    if hasattr(chunk, "__array__"):
        return _Piece(chunk, kind="array")
    if (view := view_of(chunk)) is not None:
        return _Piece(view, kind="array") if view.itemsize > 1 else _Piece(bytes(view), kind=kind)
    if isinstance(chunk, str):
        raise AudioError("A text is no PCM: to read a file, give its path to classify().")
    raise AudioError(
        f"A {kind} is no PCM: give bytes, arrays of int16 or float32, or frames with a sample_rate and samples."
    )


def _of_frame(frame: Any, kind: str) -> _Piece:
    rate_hz = frame.sample_rate
    if not rate_hz:
        raise AudioError(f"A {kind} has no sample rate: set its sample_rate, in Hz.")
    if hasattr(frame, "to_ndarray"):
        channels = len(frame.layout.channels)
        if not frame.samples:
            # PyAV makes no array of it.
            return _Piece(b"", rate_hz, channels, kind=kind)
        # PyAV: planes of shape (channels, n), or packed samples of shape (1, channels * n).
        planes = frame.to_ndarray()
        planes = planes.T if frame.format.is_planar else planes.reshape(-1, channels)
        return _Piece(planes, rate_hz, channels, kind=kind)
    samples = getattr(frame, "audio", getattr(frame, "data", None))
    if isinstance(samples, _BYTES):
        # Frames of Pipecat and of LiveKit have 16 bits, interleaved.
        return _Piece(bytes(samples), rate_hz, getattr(frame, "num_channels", 1), "s16le", kind)
    raise AudioError(f"A {kind} holds no samples that are known: give its bytes or array, and rate=.")
