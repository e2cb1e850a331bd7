"""Close a peer connection without log entries, and leave nothing of it for the garbage collector."""

from contextlib import suppress

from aiortc import InvalidStateError, RTCPeerConnection

from voxgender.media.aiortc_internals import bundling, handshake, sctp
from voxgender.media.aiortc_internals.ice import CONSENT, GATHER
from voxgender.media.aiortc_internals.transports import dtls_transports, ice_connections

_CONNECT = "_RTCPeerConnection__connect"


def suppress_close_errors(pc: RTCPeerConnection) -> None:
    """Suppress the errors of aiortc's tasks when a connection closes.

    aiortc connects in a task that nobody awaits, so its errors would be logged as never retrieved. Call it after
    ``setRemoteDescription`` and before ``setLocalDescription``. Those of its sending ``bundling`` keeps to itself.
    """
    connect = getattr(pc, _CONNECT)

    async def connect_without_error() -> None:
        with suppress(InvalidStateError):
            await connect()

    setattr(pc, _CONNECT, connect_without_error)


async def close(pc: RTCPeerConnection) -> None:
    """Close a connection and undo the references between its parts, so that it is freed at once.

    Otherwise it waits for the garbage collector together with some 100 kB that the collector does not count: a call has
    so few objects that many calls are over before a collection.
    """
    try:
        await pc.close()
    finally:
        handshake.release(pc)
        bundling.release(pc)
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
