"""Read a call's application data from the socket in one call, past aiortc's queue and task."""

from contextlib import suppress
from functools import partial
from struct import Struct
from typing import Any

from aiortc import RTCPeerConnection
from aiortc.rtcdtlstransport import State
from OpenSSL import SSL

from voxgender.media.aiortc_internals.ice import route_records

_HEADER = Struct("!B10xH")
"""Content type and length of a DTLS record (RFC 6347 section 4.1)."""
_APPLICATION_DATA = 23
_LARGEST = 1_500


def read_records(pc: RTCPeerConnection) -> None:
    """Read a connected peer's application data as it comes.

    The association's ``_handle_data`` has to be ``bundling``'s, which waits for nothing.
    """
    if pc.sctp is not None:
        dtls = pc.sctp.transport
        route_records(dtls.transport, partial(_read, dtls))


def _read(dtls: Any, record: bytes) -> bool:
    """Take a record of application data; leave all else to aiortc, and tell so by False."""
    if len(record) < _HEADER.size or dtls._state is not State.CONNECTED:
        return False
    kind, length = _HEADER.unpack_from(record)
    if kind != _APPLICATION_DATA or _HEADER.size + length != len(record):
        return False
    dtls._ssl.bio_write(record)
    try:
        data = dtls._ssl.recv(_LARGEST)
    except SSL.Error:
        # A record that was received before, or that somebody else made.
        return True
    if dtls._data_receiver is not None:
        with suppress(StopIteration):
            dtls._data_receiver._handle_data(data).send(None)
    return True
