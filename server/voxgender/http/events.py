"""Serve a session's messages as server-sent events (https://html.spec.whatwg.org/#server-sent-events)."""

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing

from aiohttp import ClientConnectionError, web

from voxgender.http.calls import Calls

KEEPALIVE_S = 15.0
"""Time between keep-alive comments; proxies close streams that are silent for about a minute."""


class Events:
    """``GET /whip/{session}/events``: the same messages as on the data channel, one JSON text an event.

    Args:
        calls: holds the sessions.
        keepalive_s: time without a message after which a comment is sent.
    """

    def __init__(self, calls: Calls, *, keepalive_s: float = KEEPALIVE_S) -> None:
        self._calls = calls
        self._keepalive_s = keepalive_s

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/whip/{session}/events", self.stream, allow_head=False)]

    async def stream(self, request: web.Request) -> web.StreamResponse:
        messages = await self._calls.follow(request.match_info["session"], _last_event_id(request))
        response = web.StreamResponse(
            headers={
                "Content-Type": "text/event-stream",
                "Cache-Control": "no-store, no-transform",
                # nginx would hold the events back.
                "X-Accel-Buffering": "no",
            }
        )
        await response.prepare(request)
        try:
            async with aclosing(_with_keepalive(messages, self._keepalive_s)) as texts:
                async for text in texts:
                    await response.write(text.encode())
            await response.write_eof()
        except (ConnectionError, ClientConnectionError):
            # The follower left or stopped reading; the session goes on.
            return response
        return response


def _last_event_id(request: web.Request) -> int | None:
    """Return the id of the last event that the reader has had, as browsers send it when they connect again."""
    text = request.headers.get("Last-Event-ID", "")
    return int(text) if re.fullmatch("[0-9]{1,15}", text) else None


async def _with_keepalive(
    messages: AsyncGenerator[tuple[int, str], None], keepalive_s: float
) -> AsyncGenerator[str, None]:
    waiting = asyncio.ensure_future(anext(messages, None))
    try:
        while True:
            done, _ = await asyncio.wait((waiting,), timeout=keepalive_s)
            if not done:
                yield ": still here\n\n"
                continue
            told = waiting.result()
            if told is None:
                return
            number, text = told
            yield f"id: {number}\ndata: {text}\n\n"
            waiting = asyncio.ensure_future(anext(messages, None))
    finally:
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await messages.aclose()
