"""Cross-origin requests (https://fetch.spec.whatwg.org/#http-cors-protocol): pages of other origins may call."""

import re
from collections.abc import Iterator, Sequence

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from voxgender.errors import SettingsError
from voxgender.http.problem import Problem

EXPOSED = "Location, ETag, Link, Accept-Patch, Retry-After, WWW-Authenticate"
ALLOWED_HEADERS = ("Authorization", "Content-Type", "If-Match", "Last-Event-ID")
"""Headers that mean something here."""
_DECEIVING = re.compile(
    r"x-forwarded-.*|forwarded|via|x-real-ip|.*client-ip|x-http-method.*|x-method-override|proxy-.*"
)
"""Headers by which proxies speak to servers: no page speaks for a proxy."""
_NAME = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]{1,64}")
_MAX_NAMES = 64

_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(\[[0-9a-f:]+\]|[^\s/?#@:\[\]*]+)(:\d+)?")

_headers: web.RequestKey[dict[str, str]] = web.RequestKey("cors", dict[str, str])


def cors_middleware(origins: Sequence[str]) -> Middleware:
    """Make the middleware that allows these origins, or all for ``*``. Cookies are not used, so they are not allowed.

    Raises:
        SettingsError: a value is not a valid origin.
    """
    everyone = "*" in origins
    # Browsers send an origin in lower case, without a trailing slash.
    listed = {origin.lower().removesuffix("/") for origin in origins if origin != "*"}
    for origin in sorted(listed):
        if not _ORIGIN.fullmatch(origin):
            raise SettingsError(
                f"--allow-origin (VOXGENDER_ALLOW_ORIGIN): {origin!r} is no origin; "
                "give one like https://www.example.org, or * for all"
            )

    @web.middleware
    async def cors(request: web.Request, handler: Handler) -> web.StreamResponse:
        origin = request.headers.get("Origin")
        # Set before the handler runs, because an event stream sends its headers from within. Responses to refused
        # origins and to requests without an origin vary, too: a cache must not serve them to an allowed origin.
        headers = {} if everyone else {"Vary": "Origin"}
        if origin is not None and (everyone or origin in listed):
            headers |= {
                "Access-Control-Allow-Origin": "*" if everyone else origin,
                "Access-Control-Expose-Headers": EXPOSED,
            }
        request[_headers] = headers
        return await handler(request)

    return cors


async def add_cors_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Add CORS headers to every response, streams and errors too (an ``on_response_prepare`` signal)."""
    response.headers.update(request.get(_headers, {}))


def check_origin(request: web.Request) -> None:
    """Check the origin of a WebSocket's handshake, to which browsers apply no rule of CORS (RFC 6455 section 10.2).

    Programs send no origin, and the server's own pages may always connect.

    Raises:
        Problem: 403.
    """
    origin = request.headers.get("Origin")
    if origin is None or "Access-Control-Allow-Origin" in request.get(_headers, {}):
        return
    # Some proxies give this server a name of their own, as Apache's does. No page can add the header to a handshake.
    named = ",".join([request.host, *request.headers.getall("X-Forwarded-Host", ())]).lower().split(",")
    host = origin.partition("://")[2].lower()
    if not host or host not in map(str.strip, named):
        raise Problem(
            403,
            "origin_not_allowed",
            "Pages of this origin may not call: the server's --allow-origin does not name it.",
        )


def preflight(request: web.Request, methods: str, headers: dict[str, str]) -> web.Response:
    """Answer ``OPTIONS``: a browser's preflight, or a question about the allowed methods."""
    answer = {"Allow": methods, **headers}
    if "Access-Control-Allow-Origin" in request.get(_headers, {}):
        answer |= {
            "Access-Control-Allow-Methods": methods,
            "Access-Control-Allow-Headers": ", ".join(_allowed_headers(request)),
            "Access-Control-Max-Age": "86400",
        }
    return web.Response(status=204, headers=answer)


def _allowed_headers(request: web.Request) -> Iterator[str]:
    """Yield the names of all headers that the page may send: those that it asks for, too.

    Monitoring adds headers of its own to each request of a page (``traceparent``, ``baggage``, ``sentry-trace``). They
    are ignored here, and no cookie goes along. They are named one by one because older browsers do not know ``*``.
    """
    yield from ALLOWED_HEADERS
    known = {name.lower() for name in ALLOWED_HEADERS}
    asked = request.headers.get("Access-Control-Request-Headers", "").lower().split(",")[:_MAX_NAMES]
    for name in dict.fromkeys(map(str.strip, asked)):
        if name not in known and _NAME.fullmatch(name) and not _DECEIVING.fullmatch(name):
            yield name
