"""Close a peer connection without log entries, and leave nothing of it for the garbage collector."""

from contextlib import suppress

from aiortc import InvalidStateError, RTCPeerConnection

from voxgender.media.aiortc_internals import handshake, sctp
from voxgender.media.aiortc_internals.ice import CONSENT, GATHER
from voxgender.media.aiortc_internals.transports import dtls_transports, ice_connections

_CONNECT, _FLUSH = "_RTCPeerConnection__connect", "_data_channel_flush"


def suppress_close_errors(pc: RTCPeerConnection) -> None:
    """Suppress the errors of aiortc's tasks when a connection closes.

    aiortc connects and sends in tasks that nobody awaits, so their errors would be logged as never retrieved. Call it
    after ``setRemoteDescription`` and before ``setLocalDescription``.
    """
    _suppress(pc, _CONNECT, InvalidStateError)
    if pc.sctp is not None:
        _suppress(pc.sctp, _FLUSH, ConnectionError)


def _suppress(owner: object, name: str, error: type[Exception]) -> None:
    act = getattr(owner, name)

    async def act_without_error() -> None:
        with suppress(error):
            await act()

    setattr(owner, name, act_without_error)


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
            vars(pc.sctp).pop(_FLUSH, None)
