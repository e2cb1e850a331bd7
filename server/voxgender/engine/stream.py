"""Analyse a stream that can wait for the engine, such as PCM over a socket: each of its channels is a call."""

from collections.abc import Iterable, Sequence

from voxgender.audio.frames import Packet
from voxgender.engine.call import Call, Decode, OnEnd, OnMessages
from voxgender.engine.engine import Engine
from voxgender.engine.messages import Messages


class Stream:
    """Analyses a stream of packets. Nothing of it is dropped, and its clock is that of its audio.

    All methods are called on the event loop that it was made on.

    Args:
        engine: analyses it.
        decoders: one for each channel, which is judged apart from the others; each is given all packets, on the
            engine's thread.
        on_messages: called with messages; with several channels each message has its ``channel``, and each channel
            a ``summary``.
        on_end: called once after the last message, or with the error that ended the stream.
        start_s: where the stream's clock starts.
        live: whether its audio keeps time (:meth:`Engine.open`).

    Raises:
        RuntimeError: the engine is closed.
    """

    def __init__(
        self,
        engine: Engine,
        decoders: Sequence[Decode],
        on_messages: OnMessages,
        on_end: OnEnd,
        *,
        start_s: float = 0.0,
        live: bool = False,
    ) -> None:
        self._engine = engine
        self._on_end: OnEnd | None = on_end
        self._calls: list[Call] = []
        self._left = len(decoders)
        for channel, decode in enumerate(decoders):
            messages = Messages(about={"channel": channel} if len(decoders) > 1 else None, start_s=start_s)
            self._calls.append(engine.open(on_messages, self._on_call_end, decode=decode, live=live, messages=messages))

    @property
    def ended(self) -> bool:
        """True once no more audio is taken."""
        return all(call.ended for call in self._calls)

    async def feed(self, packets: Iterable[tuple[Packet, float]]) -> None:
        """Take packets, each with its length in seconds; wait for the engine while the stream is ahead of time.

        Wait for one feed to return before the next. After the end the packets are ignored.
        """
        for packet, duration_s in packets:
            for call in self._calls:
                await call.feed(packet, self._engine.clock(), duration_s=duration_s)

    def finalize(self) -> None:
        """Ask for all that can be said so far: the present segments end, and the stream goes on."""
        for call in self._calls:
            call.finalize()

    def end(self) -> None:
        """End the audio. The rest is analysed, segments and summaries are delivered, then ``on_end`` is called."""
        for call in self._calls:
            call.end()

    def abandon(self) -> None:
        """Drop the stream at once; neither a message nor ``on_end`` follows."""
        self._on_end = None
        for call in self._calls:
            call.abandon()

    def hold(self) -> None:
        """Pause the analysis until :meth:`release`, because the messages are not being read: ``feed`` waits then."""
        for call in self._calls:
            call.hold()

    def release(self) -> None:
        """Resume after :meth:`hold`."""
        for call in self._calls:
            call.release()

    def _on_call_end(self, error: Exception | None) -> None:
        self._left -= 1
        on_end = self._on_end
        if on_end is None or (error is None and self._left):
            return
        self.abandon()
        on_end(error)
