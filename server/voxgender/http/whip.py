"""Serve the WHIP endpoint (RFC 9725), which opens calls."""

from aiohttp import web

from voxgender.calloptions import read_query
from voxgender.errors import NotReady
from voxgender.http.auth import Authenticator
from voxgender.http.calls import Calls
from voxgender.http.cors import preflight
from voxgender.http.iceservers import IceServers
from voxgender.http.problems import Problem
from voxgender.http.proxies import Proxies
from voxgender.http.rates import Rates
from voxgender.http.sessions import FRAGMENT, SDP, check_content_type, etag, read_text


class Whip:
    """Serves ``POST /whip``, and ``OPTIONS`` of the endpoint and of sessions."""

    def __init__(
        self,
        calls: Calls,
        authenticator: Authenticator,
        rates: Rates,
        ice_servers: IceServers,
        proxies: Proxies,
    ) -> None:
        self._calls = calls
        self._authenticator = authenticator
        self._rates = rates
        self._ice_servers = ice_servers
        self._proxies = proxies

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/whip", self.create),
            web.options("/whip", self.endpoint_options),
            web.options("/whip/{session}", self.session_options),
            web.options("/whip/{session}/events", self.events_options),
        ]

    async def create(self, request: web.Request) -> web.Response:
        """Answer an offer (section 4.2)."""
        caller = await self._authenticator.authenticate(request)
        subject = caller.subject
        self._rates.check_subject(subject)
        options = caller.options(read_query(request.query))
        check_content_type(request, SDP)
        offer = await read_text(request)
        session_id, answer = await self._calls.open(offer, subject, self._rates.client(request), options)
        response = web.Response(status=201, text=answer, content_type=SDP)
        # The body is bytes of UTF-8, but RFC 8866 gives application/sdp no charset parameter.
        response.headers["Content-Type"] = SDP
        # Without scheme and host (RFC 9110 section 10.2.2), because only proxies know them. Not relative to the
        # request's path, because some clients take a path that begins with / alone.
        response.headers["Location"] = f"{self._proxies.prefix(request)}/whip/{session_id}"
        response.headers["ETag"] = etag(session_id)
        response.headers["Accept-Patch"] = FRAGMENT
        response.headers["Cache-Control"] = "no-store, no-transform"
        # Only the session's tag, because TURN servers log the names of logins.
        for link in self._ice_servers.links(subject=subject, session_tag=etag(session_id).strip('"')):
            response.headers.add("Link", link)
        return response

    async def endpoint_options(self, request: web.Request) -> web.Response:
        response = preflight(request, "OPTIONS, POST", {"Accept-Post": SDP})
        try:
            subject = (await self._authenticator.authenticate(request)).subject
        except (Problem, NotReady):
            return response
        # For clients that need the ICE servers before their offer (section 4.6).
        for link in self._ice_servers.links(subject=subject):
            response.headers.add("Link", link)
        return response

    async def session_options(self, request: web.Request) -> web.Response:
        return preflight(request, "DELETE, GET, OPTIONS, PATCH", {"Accept-Patch": FRAGMENT})

    async def events_options(self, request: web.Request) -> web.Response:
        return preflight(request, "GET, OPTIONS", {})
