"""Serve a media node's private HTTP API to signaling. Every request but health and metrics is signed."""

import asyncio
from typing import TYPE_CHECKING

import msgspec
from aiohttp import ClientConnectionError, web
from aiohttp.typedefs import Handler, Middleware

from voxgender import received
from voxgender.fleet.announcer import NodeStatus
from voxgender.fleet.offers import Offers
from voxgender.fleet.remotestream import STREAM_HEADER, shown
from voxgender.fleet.secret import SCHEME, Secret
from voxgender.fleet.wire import RECORD_HEADER, SIGNATURE_HEADER, OfferRequest, OfferResponse, signed_text
from voxgender.http.app import MAX_BODY
from voxgender.http.calls import NodeCalls
from voxgender.http.events import Events
from voxgender.http.eventstream import KEEPALIVE_S
from voxgender.http.health import Health, Metrics
from voxgender.http.listen import Streams
from voxgender.http.problems import Problem, problem_middleware
from voxgender.http.sessions import SDP, Sessions, read_body
from voxgender.http.websocket import check_upgrade

if TYPE_CHECKING:
    from voxgender.roster import Gone, LiveCall

_OPEN = ("/health/live", "/health/ready", "/metrics")
_signed_by_us: web.RequestKey[bool] = web.RequestKey("signed_by_us", bool)


def create_node_app(
    node: NodeCalls, secret: Secret, status: NodeStatus, *, serves_metrics: bool = True
) -> web.Application:
    """Make the application in front of one media node; ``fleet.remote.RemoteNode`` is its client.

    Args:
        node: the node.
        secret: shared with signaling.
        status: tells the node's record.
        serves_metrics: whether ``/metrics`` is served here, and not at an address of its own.
    """
    api = _NodeApi(node, secret, status)
    app = web.Application(
        # Room for every offer that signaling accepts: JSON escapes a control character as six.
        client_max_size=6 * MAX_BODY + 4096,
        middlewares=[problem_middleware, _signed(secret)],
    )
    app.on_response_prepare.append(api.add_record)
    app.add_routes(
        [
            web.get("/node", api.record),
            web.put("/offers/{offer}", api.offer),
            web.delete("/offers/{offer}", api.withdraw),
            web.get("/sessions", api.sessions),
            web.get("/overview", api.overview),
            web.get("/usage", api.usage),
            web.get("/calls", api.calls, allow_head=False),
            web.delete("/calls/{call}", api.end),
            web.put("/drain", api.drain),
            web.get("/listen/{ticket}", api.listen, allow_head=False),
        ]
    )
    app.on_shutdown.append(api.streams.shut_down)
    app.add_routes(Sessions(node, tells_one_voice=True).routes())
    app.add_routes(Events(node).routes())
    app.add_routes(Health(node.check_ready).routes())
    if serves_metrics:
        app.add_routes(Metrics().routes())
    return app


class _NodeApi:
    def __init__(self, node: NodeCalls, secret: Secret, status: NodeStatus) -> None:
        self._node = node
        self._secret = secret
        self._status = status
        self._offers = Offers(node)
        self.streams = Streams()

    async def record(self, _: web.Request) -> web.Response:
        """Return the node's record as JSON; a node that is starting answers 503."""
        if not self._node.draining:
            self._node.check_ready()
        return web.Response(body=self._status.record().to_json(), content_type="application/json")

    async def offer(self, request: web.Request) -> web.Response:
        """Answer an offer; a repeated offer, known by its id, gets the same answer."""
        try:
            asked: OfferRequest = received.decode(await read_body(request), OfferRequest)
        except ValueError:
            raise Problem(400, "malformed_sdp", 'The body has to be JSON: {"offer": SDP, "subject": ...}.') from None
        offer_id = request.match_info["offer"]
        session_id, answer = await self._offers.answer(
            offer_id, asked.offer, asked.subject, asked.address, asked.options
        )
        body = msgspec.json.encode(OfferResponse(session=session_id, answer=answer))
        return web.Response(
            status=201,
            body=body,
            content_type="application/json",
            headers={SIGNATURE_HEADER: self._secret.sign("placed", signed_text(offer_id, body))},
        )

    async def withdraw(self, request: web.Request) -> web.Response:
        await self._offers.withdraw(request.match_info["offer"])
        return web.Response(status=204)

    async def listen(self, request: web.Request) -> web.StreamResponse:
        """Carry the stream of a ticket, as signaling passes it on."""
        check_upgrade(request)
        stream = await self._node.redeem(request.match_info["ticket"])
        return await self.streams.serve(request, stream, {STREAM_HEADER: shown(stream.form)})

    async def sessions(self, _: web.Request) -> web.Response:
        return web.json_response({"sessions": await self._node.describe_all()})

    async def overview(self, _: web.Request) -> web.Response:
        return web.json_response(await self._node.overview())

    async def usage(self, _: web.Request) -> web.Response:
        return web.Response(body=msgspec.json.encode(await self._node.usage()), content_type="application/json")

    async def calls(self, request: web.Request) -> web.StreamResponse:
        """Send the calls that have a name or a subject, then null, then all changes, each as JSON on a line."""
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        watch = await self._node.watch()
        try:
            told: list[LiveCall | None] = [*watch.calls, None]
            await response.write(b"".join(msgspec.json.encode(call) + b"\n" for call in told))
            while True:
                change: LiveCall | Gone | None = None
                try:
                    async with asyncio.timeout(KEEPALIVE_S):
                        change = await anext(watch)
                except TimeoutError:
                    await response.write(b"\n")
                else:
                    await response.write(msgspec.json.encode(change) + b"\n")
        except (StopAsyncIteration, ConnectionError, ClientConnectionError):
            # Signaling has left, or does not read; it asks again.
            return response
        finally:
            watch.close()

    async def end(self, request: web.Request) -> web.Response:
        await self._node.end_by_hash(request.match_info["call"])
        return web.Response(status=204)

    async def drain(self, _: web.Request) -> web.Response:
        """Take no more calls until the node is restarted."""
        self._node.drain()
        return web.Response(status=204)

    async def add_record(self, request: web.Request, response: web.StreamResponse) -> None:
        """Add the node's record to a response to signaling, and sign its answer to a later offer.

        This is an ``on_response_prepare`` signal.
        """
        if _signed_by_us in request:
            response.headers[RECORD_HEADER] = self._status.record().to_json().decode()
            if request.method == "PATCH" and response.content_type == SDP and isinstance(response, web.Response):
                answered = signed_text(request.match_info["session"], (response.text or "").encode())
                response.headers[SIGNATURE_HEADER] = self._secret.sign("placed", answered)


def _signed(secret: Secret) -> Middleware:
    @web.middleware
    async def signed(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path not in _OPEN:
            header = request.headers.get("Authorization", "")
            why = secret.refusal(header, request.method, request.path, await read_body(request))
            if why is not None:
                raise Problem(401, "unauthorized", why, {"WWW-Authenticate": SCHEME})
            request[_signed_by_us] = True
        return await handler(request)

    return signed
