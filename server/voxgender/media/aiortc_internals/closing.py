"""Close a peer connection without log entries, and leave nothing of it for the garbage collector."""

from contextlib import suppress
from typing import Any

from aiortc import InvalidStateError, RTCPeerConnection
from OpenSSL import SSL

from voxgender.media.aiortc_internals import handshake, sctp
from voxgender.media.aiortc_internals.ice import CONSENT, GATHER
from voxgender.media.aiortc_internals.transports import dtls_transports, ice_connections

_CONNECT, _SEND, _TRANSMIT = "_RTCPeerConnection__connect", "_send_chunk", "_transmit"


def suppress_close_errors(pc: RTCPeerConnection) -> None:
    """Suppress the errors of aiortc's tasks when a connection closes.

    aiortc connects and sends in tasks that nobody awaits, so their errors would be logged as never retrieved. Call it
    after ``setRemoteDescription`` and before ``setLocalDescription``.
    """
    connect = getattr(pc, _CONNECT)

    async def connect_without_error() -> None:
        with suppress(InvalidStateError):
            await connect()

    setattr(pc, _CONNECT, connect_without_error)
    if pc.sctp is not None:
        _suppress_sending(pc.sctp)


def _suppress_sending(sctp: Any) -> None:
    """Let an association send nothing once it or its DTLS transport is closed, and be silent if that is just happening.

    Its timers start tasks that send again, and DTLS may be shut down before such a task runs.
    """
    send, transmit = sctp._send_chunk, sctp._transmit

    async def send_unless_closed(chunk: object) -> None:
        with suppress(ConnectionError, SSL.Error):
            await send(chunk)

    async def transmit_unless_closed() -> None:
        # It would start a timer that nobody cancels any more.
        if sctp.state != "closed" and sctp.transport.state == "connected":
            await transmit()

    vars(sctp).update({_SEND: send_unless_closed, _TRANSMIT: transmit_unless_closed})


async def close(pc: RTCPeerConnection) -> None:
    """Close a connection and undo the references between its parts, so that it is freed at once.

    Otherwise it waits for the garbage collector together with some 100 kB that the collector does not count: a call has
    so few objects that many calls are over before a collection.
    """
    try:
        await pc.close()
    finally:
        handshake.release(pc)
        sctp.release(pc)
        for dtls in dtls_transports(pc):
            dtls.remove_all_listeners()
        for connection in ice_connections(pc):
            for pair in connection._check_list:
                # The task of a cancelled check refers to its frame, and so to the pair.
                pair.task = None
            connection._check_list.clear()
            vars(connection).pop(GATHER, None)
            vars(connection).pop(CONSENT, None)
        vars(pc).pop(_CONNECT, None)
        if pc.sctp is not None:
            vars(pc.sctp).pop(_SEND, None)
            vars(pc.sctp).pop(_TRANSMIT, None)
