"""Offers for tests of what is understood of them: written by hand, and as clients make them (``*.sdp``)."""

from pathlib import Path

CLIENTS = {path.stem: path.read_bytes().decode() for path in sorted(Path(__file__).parent.glob("*.sdp"))}
"""Offers that Chromium 156 and Firefox 153 made, and offers in the form of GStreamer's, OBS's and aiortc's."""

TRANSPORT = (
    "c=IN IP4 0.0.0.0\r\na=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\n"
    "a=fingerprint:sha-256 {}\r\na=setup:actpass\r\na=rtcp-mux\r\n"
).format(":".join(["AB"] * 32))
AUDIO = (
    "m=audio 9 UDP/TLS/RTP/SAVPF 111 0\r\n" + TRANSPORT + "a=mid:0\r\na=sendonly\r\n"
    "a=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10;useinbandfec=1\r\na=rtpmap:0 PCMU/8000\r\n"
)
VIDEO = "m=video 9 UDP/TLS/RTP/SAVPF 45\r\n" + TRANSPORT + "a=mid:1\r\na=sendonly\r\na=rtpmap:45 AV1/90000\r\n"
LEAN_VIDEO = "m=video 0 UDP/TLS/RTP/SAVPF 45\r\na=recvonly\r\na=rtpmap:45 AV1/90000\r\n"
DATA = "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n" + TRANSPORT + "a=mid:2\r\na=sctp-port:5000\r\n"


def sdp(*media: str, bundle: str | None = None, session: str = "", has_mids: bool = True) -> str:
    """An offer of these media lines; ``bundle`` names those of one group, ``session`` are lines before them."""
    group = "" if bundle is None else f"a=group:BUNDLE {bundle}\r\n"
    text = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n" + group + session + "".join(media)
    if has_mids:
        return text
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith("a=mid:"))
