"""Read the SDP of clients (RFC 8866): offers, and the fragments that trickle candidates (RFC 8840).

A text is read line by line in one pass. Only what a call needs is kept, each value checked and each list bounded, so
that the cost of a text grows with its length alone, and so that no library behind this package ever sees a word of a
client's own. Signaling and media nodes share it: it knows neither WebRTC nor HTTP.
"""

from voxgender.sdp.attributes import MAX_CANDIDATES, MID_EXTENSION, Candidate, HeaderExtension
from voxgender.sdp.codecs import CLOCK_RATES_HZ, Codec
from voxgender.sdp.fragment import Fragment
from voxgender.sdp.medialines import MediaLine
from voxgender.sdp.offer import Offer
from voxgender.sdp.sections import MAX_LINE, MAX_LINES, MAX_MEDIA_LINES, MAX_NAME
from voxgender.sdp.voices import MAX_SSRCS, MAX_VOICES, VoiceLine, is_title

__all__ = [
    "CLOCK_RATES_HZ",
    "MAX_CANDIDATES",
    "MAX_LINE",
    "MAX_LINES",
    "MAX_MEDIA_LINES",
    "MAX_NAME",
    "MAX_SSRCS",
    "MAX_VOICES",
    "MID_EXTENSION",
    "Candidate",
    "Codec",
    "Fragment",
    "HeaderExtension",
    "MediaLine",
    "Offer",
    "VoiceLine",
    "is_title",
]
