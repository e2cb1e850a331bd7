"""Define the messages and headers of a media node's private HTTP API."""

import msgspec

from voxgender.audiostream import StreamFormat
from voxgender.calloptions import DEFAULTS, CallOptions

RECORD_HEADER = "Voxgender-Node"
"""Header of each of a node's answers: the node's record, as JSON."""

SIGNATURE_HEADER = "Voxgender-Signature"
"""Header of the answer to an offer: a signature that ties it to this offer and to a node."""


class OfferRequest(msgspec.Struct, frozen=True):
    """An offer on its way to a node."""

    offer: str | StreamFormat
    """SDP, or the format of a stream for which a ticket is wanted."""
    subject: str | None = None
    address: str = ""
    options: CallOptions = DEFAULTS


class OfferResponse(msgspec.Struct, frozen=True):
    """A node's answer to an offer."""

    session: str
    answer: str
    """SDP, or a ticket."""


def signed_text(offer_id: str, body: bytes) -> bytes:
    """Return the text that a node signs, so that nobody can change an answer's SDP on its way and divert the call."""
    return offer_id.encode() + b"\n" + body
