"""Find the transports of a peer connection."""

from aioice import Connection
from aiortc import RTCDtlsTransport, RTCPeerConnection


def dtls_transports(pc: RTCPeerConnection) -> set[RTCDtlsTransport]:
    """Return the DTLS transports in use; bundled media share one."""
    transports = {transceiver.receiver.transport for transceiver in pc.getTransceivers()}
    if pc.sctp is not None:
        transports.add(pc.sctp.transport)
    return transports


def ice_connections(pc: RTCPeerConnection) -> list[Connection]:
    """Return aioice's side of each ICE transport in use."""
    return [dtls.transport._connection for dtls in dtls_transports(pc)]
