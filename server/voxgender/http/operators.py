"""Serve operators: the calls and the nodes as they are now, the two things to do about them, and usage."""

import asyncio
import json
from time import monotonic
from typing import Any

import msgspec
from aiohttp import ClientConnectionError, web

from voxgender.http.auth import Authenticator
from voxgender.http.calls import Calls
from voxgender.http.problems import Problem

EVERY_S = 1.0
"""Time between two pictures of the server."""
STREAM_S = 300.0
"""Time after which a stream ends, so that a token is asked for again: it may have expired."""
MAX_FOLLOWERS = 32
"""Operators that are told at once."""


class Operators:
    """``/operators/…`` and ``/usage``, with the shared token or one with the scope ``operator``.

    A server without tokens refuses all. A call is named by a hash of its id, since the id itself would let whoever
    reads it end the call. What changes something is a ``PUT`` or a ``DELETE``: browsers send those to no server of
    another origin without asking it.
    """

    def __init__(self, calls: Calls, authenticator: Authenticator, *, every_s: float = EVERY_S) -> None:
        self._calls = calls
        self._authenticator = authenticator
        self._every_s = every_s
        self._followers = 0
        self._looking = asyncio.Lock()
        self._looked_at = float("-inf")
        self._picture: dict[str, Any] = {}

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/operators/events", self.stream, allow_head=False),
            web.get("/usage", self.usage),
            web.delete("/operators/calls/{call}", self.end),
            web.put("/operators/nodes/{node}/drain", self.drain),
        ]

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Send a picture of all calls and nodes every second, as server-sent events."""
        await self._require_operator(request)
        if self._followers >= MAX_FOLLOWERS:
            raise Problem(503, "at_capacity", "As many operators are told as can be.", {"Retry-After": "10"})
        response = web.StreamResponse(
            headers={
                "Content-Type": "text/event-stream",
                "Cache-Control": "no-store, no-transform",
                # nginx would hold the events back.
                "X-Accel-Buffering": "no",
            }
        )
        self._followers += 1
        ends_at = monotonic() + STREAM_S
        try:
            await response.prepare(request)
            while monotonic() < ends_at:
                await response.write(f"data: {json.dumps(await self._look())}\n\n".encode())
                await asyncio.sleep(self._every_s)
            await response.write_eof()
        except (ConnectionError, ClientConnectionError):
            # The operator has closed the page.
            return response
        finally:
            self._followers -= 1
        return response

    async def usage(self, request: web.Request) -> web.Response:
        """Tell calls, their audio and their speech by subject."""
        await self._require_operator(request)
        report = await self._calls.usage()
        return web.Response(
            body=msgspec.json.encode(report),
            content_type="application/json",
            headers={"Cache-Control": "no-store, no-transform"},
        )

    async def end(self, request: web.Request) -> web.Response:
        """End a call."""
        await self._require_operator(request)
        await self._calls.end_by_hash(request.match_info["call"])
        return web.Response(status=204)

    async def drain(self, request: web.Request) -> web.Response:
        """Let a node take no more calls, and ask those that it has to move."""
        await self._require_operator(request)
        await self._calls.drain_node(request.match_info["node"])
        return web.Response(status=204)

    async def _require_operator(self, request: web.Request) -> None:
        # On a server that lets everybody in, everybody could end all calls.
        self._authenticator.require_tokens()
        await self._authenticator.require_operator(request)

    async def _look(self) -> dict[str, Any]:
        """Return the picture of all calls and nodes, which all readers share."""
        async with self._looking:
            if monotonic() - self._looked_at >= self._every_s:
                self._picture = await self._calls.overview()
                self._looked_at = monotonic()
            return self._picture
