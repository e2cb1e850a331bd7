"""Serve the resources of sessions (RFC 9725): candidates, state, end."""

import asyncio
import hashlib
import re
import zlib

from aiohttp import web

from voxgender.errors import SdpRejected
from voxgender.http.calls import Calls
from voxgender.http.connections import PIECE
from voxgender.http.problems import Problem

SDP = "application/sdp"
FRAGMENT = "application/trickle-ice-sdpfrag"

_body: web.RequestKey[bytes] = web.RequestKey("body", bytes)
_CODINGS = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
"""Accepted content codings, with the ``wbits`` of ``zlib`` for each."""
_COMPRESSED = re.compile(r'[-;](gzip|br|zstd|deflate)"$')
_CHARSETS = ("utf-8", "utf8", "us-ascii", "ascii")


class Sessions:
    """Serves ``/whip/{session}``: to clients in front, and to signaling on a media node.

    Args:
        calls: the calls.
        tells_one_voice: tell, in place of the media type, that a call has one voice: signaling asks so.
    """

    def __init__(self, calls: Calls, *, tells_one_voice: bool = False) -> None:
        self._calls = calls
        self._tells_one_voice = tells_one_voice

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/whip/{session}", self.status, allow_head=False),
            web.patch("/whip/{session}", self.patch),
            web.delete("/whip/{session}", self.delete),
        ]

    async def patch(self, request: web.Request) -> web.Response:
        """Take candidates, or the offer of a room whose voices change."""
        return await (self.update(request) if content_type_of(request) == SDP else self.trickle(request))

    async def update(self, request: web.Request) -> web.Response:
        """Answer a later offer: an extension of WHIP, for rooms only."""
        try:
            answer = await self._calls.update(request.match_info["session"], await read_text(request))
        except SdpRejected as error:
            if error.code == "one_voice" and not self._tells_one_voice:
                check_content_type(request, FRAGMENT)
            raise
        response = web.Response(text=answer, content_type=SDP)
        # As in the answer to the first offer.
        response.headers["Content-Type"] = SDP
        response.headers["Cache-Control"] = "no-store, no-transform"
        return response

    async def trickle(self, request: web.Request) -> web.Response:
        """Add the client's candidates (section 4.3.2). ``If-Match`` may be missing."""
        session_id = request.match_info["session"]
        check_content_type(request, FRAGMENT)
        matches = request.headers.get("If-Match")
        # RFC 9725 shows it in quotes.
        if matches in ("*", '"*"'):
            raise Problem(422, "ice_restart", "ICE restarts are not supported: make a new call.")
        if matches is not None and etag(session_id) not in map(_strong, matches.split(",")):
            raise Problem(412, "etag_mismatch", "The If-Match header does not name this ICE session's ETag.")
        await self._calls.trickle(session_id, await read_text(request))
        return web.Response(status=204)

    async def delete(self, request: web.Request) -> web.Response:
        """End the session; answer once it is closed (section 4.2)."""
        await self._calls.end(request.match_info["session"])
        return web.Response(status=200)

    async def status(self, request: web.Request) -> web.Response:
        """Return the session's state as JSON."""
        session_id = request.match_info["session"]
        return web.json_response(await self._calls.describe(session_id), headers={"ETag": etag(session_id)})


def etag(session_id: str) -> str:
    """Return a session's entity tag. It is constant, as the ICE session is, and does not reveal the session's id."""
    return f'"{hashlib.sha256(session_id.encode()).hexdigest()[:16]}"'


def _strong(tag: str) -> str:
    """Strip what proxies add to an entity tag when they compress: ``W/`` (nginx, Cloudflare) or ``-gzip`` (Apache)."""
    return _COMPRESSED.sub('"', tag.strip().removeprefix("W/"))


def content_type_of(request: web.Request) -> str:
    """Return the body's media type. Raises :class:`Problem` 400 if it cannot be told."""
    try:
        return request.content_type
    except Exception:  # noqa: BLE001 - of Python's parser of mail headers, which has no error of its own
        raise Problem(
            400, "malformed_request", "The Content-Type header is not as RFC 9110 section 8.3 has it."
        ) from None


def check_content_type(request: web.Request, content_type: str) -> None:
    """Check the body's content type. Raises :class:`Problem` 415 for another type."""
    if (told := content_type_of(request)) != content_type:
        raise Problem(
            415,
            "unsupported_media_type",
            f"The body has to be {content_type}, not {told}.",
            {"Accept": content_type},
        )


async def read_text(request: web.Request) -> str:
    """Return the body as text. Raises :class:`Problem` 400 if it is empty or not UTF-8."""
    # Other codecs of Python take seconds for a body (punycode), or raise other errors.
    if (request.charset or "utf-8").lower() not in _CHARSETS:
        raise Problem(400, "malformed_sdp", "SDP is UTF-8: send the body so, and leave the charset parameter out.")
    try:
        body = _decompressed(await read_body(request), request).decode()
    except UnicodeDecodeError:
        raise Problem(400, "malformed_sdp", "The body is not UTF-8 text.") from None
    if not body.strip():
        raise Problem(400, "malformed_sdp", "The body is empty; it has to hold SDP.")
    return body


async def read_body(request: web.Request) -> bytes:
    """Read the body as it was sent, and yield to the event loop between pieces: it may have many tiny chunks.

    A second call returns the same bytes.

    Raises:
        web.HTTPRequestEntityTooLarge
    """
    if _body in request:
        return request[_body]
    body = bytearray()
    while piece := await request.content.read(PIECE):
        body += piece
        if len(body) > request.client_max_size:
            raise web.HTTPRequestEntityTooLarge(max_size=request.client_max_size, actual_size=len(body))
        await asyncio.sleep(0)
    request[_body] = bytes(body)
    return request[_body]


def _decompressed(data: bytes, request: web.Request) -> bytes:
    """Decode a body's content coding (RFC 9110 section 8.4), up to the allowed size.

    The server must be configured with ``auto_decompress=False``.
    """
    coding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if coding == "identity" or not data:
        return data
    if coding not in _CODINGS:
        raise Problem(
            415,
            "unsupported_media_type",
            "The body may be packed by gzip or deflate, and by nothing else: best send it as it is.",
            {"Accept-Encoding": "gzip, deflate"},
        )
    # Some clients send deflate without the zlib wrapper.
    is_bare = coding == "deflate" and data[0] & 0x0F != zlib.DEFLATED
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS if is_bare else _CODINGS[coding])
    most = request.client_max_size
    try:
        content = unpacker.decompress(data, most + 1)
    except zlib.error:
        content = b""
    if len(content) > most:
        raise web.HTTPRequestEntityTooLarge(max_size=most, actual_size=len(content))
    if not unpacker.eof or unpacker.unused_data:
        raise Problem(400, "malformed_sdp", "The body is cut off, or not encoded as its headers say.")
    return content
