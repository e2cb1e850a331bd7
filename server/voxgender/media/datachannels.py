"""Data channels' messages without a task for each: private parts of aiortc, beside ``network`` (see there).

aiortc makes a task of each message that is sent, and takes each datagram that arrives through a queue to another.
Nothing that these do ever waits: a datagram is sent in the call. So all of it is done where it begins.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from aiortc import RTCPeerConnection
from OpenSSL import SSL

logger = logging.getLogger(__name__)

APPLICATION_DATA = 23
"""First byte of a DTLS record that carries what SCTP sends (RFC 6347 section 4.1); others are alerts and handshakes."""

_LARGEST = 1_500


def send_at_once(pc: RTCPeerConnection) -> None:
    """Send messages in the call of ``RTCDataChannel.send``; one that there is no way for any more is lost.

    Call it after ``setRemoteDescription``.
    """
    sctp: Any = pc.sctp
    if sctp is None:
        return
    flush = sctp._data_channel_flush
    flushed = asyncio.get_running_loop().create_future()
    flushed.set_result(None)

    def flush_at_once() -> asyncio.Future[None]:
        try:
            _finish(flush())
        except (ConnectionError, SSL.Error) as error:
            logger.debug("not sent: %r", error)
        # Of a coroutine aiortc would make a task; of a future that is done, nothing.
        return flushed

    sctp._data_channel_flush = flush_at_once


def send_as_aiortc_does(pc: RTCPeerConnection) -> None:
    """Undo :func:`send_at_once`."""
    if pc.sctp is not None:
        vars(pc.sctp).pop("_data_channel_flush", None)


def application_data(dtls: Any) -> Callable[[bytes], None]:
    """What takes a connected transport's records of application data, in the call.

    Whatever is out of the ordinary goes aiortc's own way.
    """
    ice = dtls.transport._connection

    def receive(data: bytes) -> None:
        receiver = dtls._data_receiver
        if receiver is None:
            ice.data_received(data, 1)
            return
        try:
            dtls._ssl.bio_write(data)
            packet = dtls._ssl.recv(_LARGEST)
        except SSL.Error:
            # A record seen before, for which it is a repetition; or the end, which it knows how to tell.
            ice.data_received(data, 1)
            return
        try:
            _finish(receiver._handle_data(packet))
        except Exception as error:  # noqa: BLE001 - on aiortc's own way, too, whatever a peer breaks ends its call
            logger.warning("a peer's data cannot be handled: %r", error)
            ice._queue.put_nowait(None)

    return receive


def _finish(steps: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine that waits for nothing.

    Raises:
        RuntimeError: it does wait.
    """
    try:
        steps.send(None)
    except StopIteration:
        return
    steps.close()
    raise RuntimeError(f"{steps} waits, as it never did")
