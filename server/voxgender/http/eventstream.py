"""Send server-sent events (https://html.spec.whatwg.org/#server-sent-events), kept alive while nothing happens."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from aiohttp import ClientConnectionError, web

from voxgender.http.connections import Connection

KEEPALIVE_S = 15.0
"""Time between keep-alive comments; proxies close streams that are silent for about a minute."""


def event(text: str, *, id_: str | None = None, kind: str = "") -> str:
    """Return an event on the wire.

    Args:
        text: its data, on one line.
        id_: its id; None for one that changes nothing.
        kind: its type; empty for a message.
    """
    fields = [] if id_ is None else [f"id: {id_}\n"]
    if kind:
        fields.append(f"event: {kind}\n")
    return f"{''.join(fields)}data: {text}\n\n"


async def send_events(
    request: web.Request,
    events: AsyncGenerator[str, None],
    *,
    keepalive_s: float = KEEPALIVE_S,
    for_s: float | None = None,
    stopping: asyncio.Event | None = None,
) -> web.StreamResponse:
    """Answer a request by events until they end, time is up, or the reader has left; then close them.

    Args:
        request: the reader's request.
        events: the events on the wire.
        keepalive_s: time without an event after which a comment is sent.
        for_s: time after which the stream ends; None for no end.
        stopping: set when the server stops, so that the stream ends.
    """
    response = web.StreamResponse(
        headers={
            "Content-Type": "text/event-stream",
            "Cache-Control": "no-store, no-transform",
            # nginx would hold the events back.
            "X-Accel-Buffering": "no",
        }
    )
    # Nothing is written to a reader that has left until something happens, and its place is another's meanwhile.
    ends = [event for event in (stopping, _gone(request)) if event is not None]
    async with aclosing(events):
        try:
            await response.prepare(request)
            async with aclosing(_with_keepalive(events, keepalive_s, for_s, ends)) as texts:
                async for text in texts:
                    await response.write(text.encode())
            await response.write_eof()
        except (ConnectionError, ClientConnectionError):
            # The reader left or stopped reading; what it followed goes on.
            return response
    return response


def _gone(request: web.Request) -> asyncio.Event | None:
    connection = request.protocol
    return connection.gone if isinstance(connection, Connection) else None


async def _with_keepalive(
    events: AsyncGenerator[str, None], keepalive_s: float, for_s: float | None, ends: Sequence[asyncio.Event]
) -> AsyncGenerator[str, None]:
    loop = asyncio.get_running_loop()
    ends_at = None if for_s is None else loop.time() + for_s
    waiting = asyncio.ensure_future(anext(events, None))
    stops = [asyncio.ensure_future(end.wait()) for end in ends]
    try:
        while not any(stop.done() for stop in stops):
            left_s = keepalive_s if ends_at is None else min(keepalive_s, ends_at - loop.time())
            await asyncio.wait((waiting, *stops), timeout=max(0.0, left_s), return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done():
                if ends_at is not None and loop.time() >= ends_at:
                    return
                if not any(stop.done() for stop in stops):
                    yield ": still here\n\n"
                continue
            told = waiting.result()
            if told is None:
                return
            yield told
            waiting = asyncio.ensure_future(anext(events, None))
    finally:
        for task in (waiting, *stops):
            task.cancel()
        await asyncio.gather(waiting, *stops, return_exceptions=True)
