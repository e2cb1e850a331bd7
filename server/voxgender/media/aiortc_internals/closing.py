"""Close a peer connection without a word in the log, and leave nothing of it for the garbage collector."""

from contextlib import suppress

from aiortc import InvalidStateError, RTCPeerConnection

from voxgender.media.aiortc_internals import handshake, sctp
from voxgender.media.aiortc_internals.ice import CONSENT, GATHER
from voxgender.media.aiortc_internals.transports import dtls_transports, ice_connections

_CONNECT, _FLUSH = "_RTCPeerConnection__connect", "_data_channel_flush"


def suppress_close_errors(pc: RTCPeerConnection) -> None:
    """Let what aiortc has under way when a connection closes fail without a word.

    It connects and sends in tasks that nobody waits for, so their errors would be logged as never retrieved. Call it
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
    """Close a connection and undo what its parts hold of one another, so that it is freed at once.

    Else it waits for the garbage collector, and with it some 100 kB that the collector knows nothing of: so few objects
    are made in a call that many calls are over before it looks.
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
                # A check that was cut off has its frame, and with it the pair.
                pair.task = None
            connection._check_list.clear()
            vars(connection).pop(GATHER, None)
            vars(connection).pop(CONSENT, None)
        vars(pc).pop(_CONNECT, None)
        if pc.sctp is not None:
            vars(pc.sctp).pop(_FLUSH, None)
