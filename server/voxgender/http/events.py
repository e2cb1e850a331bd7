"""Serve a session's messages as server-sent events."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from aiohttp import web

from voxgender.calloptions import read_messages
from voxgender.http.calls import Calls
from voxgender.http.eventstream import KEEPALIVE_S, event, send_events
from voxgender.received import whole_number
from voxgender.roster import Followed


class Events:
    """``GET /whip/{session}/events``: the same messages as on the data channel, and the end of the call.

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
        wanted = read_messages(request.query.get("messages"))
        messages = await self._calls.follow(request.match_info["session"], _last_event_id(request), wanted)
        return await send_events(request, _as_events(messages), keepalive_s=self._keepalive_s)


def _last_event_id(request: web.Request) -> int | None:
    """Return the id of the last event that the reader has had, as browsers send it when they connect again."""
    return whole_number(request.headers.get("Last-Event-ID", ""))


async def _as_events(messages: AsyncGenerator[Followed, None]) -> AsyncGenerator[str, None]:
    async with aclosing(messages):
        async for number, text, is_end in messages:
            yield event(text, id_=str(number), kind="end" if is_end else "")
