"""The WHIP endpoint and its session resources (RFC 9725)."""

import hashlib
from collections.abc import Sequence

from aiohttp import web

from voxgender.signaling.auth import Bearer
from voxgender.signaling.cors import preflight
from voxgender.signaling.node import Node
from voxgender.signaling.problems import Problem

SDP = "application/sdp"
FRAGMENT = "application/trickle-ice-sdpfrag"


class Whip:
    """Handlers of ``/whip`` and ``/whip/{session}``."""

    def __init__(self, node: Node, bearer: Bearer, ice_links: Sequence[str]) -> None:
        self._node = node
        self._bearer = bearer
        self._ice_links = ice_links

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/whip", self.create),
            web.options("/whip", self.endpoint_options),
            web.get("/whip/{session}", self.status, allow_head=False),
            web.patch("/whip/{session}", self.trickle),
            web.delete("/whip/{session}", self.delete),
            web.options("/whip/{session}", self.session_options),
        ]

    async def create(self, request: web.Request) -> web.Response:
        """Answer an offer (section 4.2)."""
        self._bearer.check(request)
        _expect(request, SDP)
        session_id, answer = await self._node.open(await _body(request))
        response = web.Response(status=201, text=answer, content_type=SDP)
        # The body is bytes of UTF-8, but RFC 8866 gives application/sdp no charset parameter.
        response.headers["Content-Type"] = SDP
        # Relative (RFC 9110 section 10.2.2): right behind any proxy.
        response.headers["Location"] = f"/whip/{session_id}"
        response.headers["ETag"] = _etag(session_id)
        response.headers["Accept-Patch"] = FRAGMENT
        response.headers["Cache-Control"] = "no-store"
        for link in self._ice_links:
            response.headers.add("Link", link)
        return response

    async def trickle(self, request: web.Request) -> web.Response:
        """Take the client's candidates (section 4.3.2). A client that sends no If-Match is let through."""
        session_id = request.match_info["session"]
        self._node.status(session_id)
        _expect(request, FRAGMENT)
        matches = request.headers.get("If-Match")
        if matches == "*":
            raise Problem(422, "ice_restart", "ICE restarts are not supported: make a new call.")
        if matches is not None and _etag(session_id) not in [tag.strip() for tag in matches.split(",")]:
            raise Problem(412, "etag_mismatch", "The If-Match header does not name this ICE session's ETag.")
        await self._node.trickle(session_id, await _body(request))
        return web.Response(status=204)

    async def delete(self, request: web.Request) -> web.Response:
        """End the session; the answer comes when nothing is left of it (section 4.2)."""
        await self._node.end(request.match_info["session"])
        return web.Response(status=200)

    async def status(self, request: web.Request) -> web.Response:
        """The session's state as JSON."""
        session_id = request.match_info["session"]
        return web.json_response(self._node.status(session_id), headers={"ETag": _etag(session_id)})

    async def endpoint_options(self, request: web.Request) -> web.Response:
        response = preflight(request, "OPTIONS, POST", {"Accept-Post": SDP})
        for link in self._ice_links if self._is_let_in(request) else ():
            response.headers.add("Link", link)
        return response

    async def session_options(self, request: web.Request) -> web.Response:
        return preflight(request, "DELETE, GET, OPTIONS, PATCH", {"Accept-Patch": FRAGMENT})

    def _is_let_in(self, request: web.Request) -> bool:
        try:
            self._bearer.check(request)
        except Problem:
            return False
        return True


def _etag(session_id: str) -> str:
    """One ICE session a WHIP session, so one entity tag; it gives nothing of the id away."""
    return f'"{hashlib.sha256(session_id.encode()).hexdigest()[:16]}"'


def _expect(request: web.Request, content_type: str) -> None:
    if request.content_type != content_type:
        raise Problem(
            415,
            "unsupported_media_type",
            f"The body has to be {content_type}, not {request.content_type}.",
            {"Accept": content_type},
        )


async def _body(request: web.Request) -> str:
    try:
        body = await request.text()
    except (UnicodeDecodeError, LookupError):
        raise Problem(400, "malformed_sdp", "The body is not UTF-8 text.") from None
    except web.RequestPayloadError:
        raise Problem(400, "malformed_sdp", "The body is cut off, or not encoded as its headers say.") from None
    if not body.strip():
        raise Problem(400, "malformed_sdp", "The body is empty; it has to hold SDP.")
    return body
