"""Cross-origin requests (https://fetch.spec.whatwg.org/#http-cors-protocol): pages of other origins may call."""

from collections.abc import Sequence

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

EXPOSED = "Location, ETag, Link, Accept-Patch, Retry-After"
ALLOWED_HEADERS = "Authorization, Content-Type, If-Match"


_headers: web.RequestKey[dict[str, str]] = web.RequestKey("cors", dict[str, str])


def cors_middleware(origins: Sequence[str]) -> Middleware:
    """Allow these origins, or all for ``*``. No cookies are used, so none are allowed."""
    everyone = "*" in origins

    @web.middleware
    async def cors(request: web.Request, handler: Handler) -> web.StreamResponse:
        origin = request.headers.get("Origin")
        allowed = "*" if everyone else origin if origin in origins else None
        if allowed is not None and origin is not None:
            # Set before the handler runs: a stream of events sends its headers from within.
            headers = {"Access-Control-Allow-Origin": allowed, "Access-Control-Expose-Headers": EXPOSED}
            request[_headers] = headers if everyone else headers | {"Vary": "Origin"}
        return await handler(request)

    return cors


async def add_cors_headers(request: web.Request, response: web.StreamResponse) -> None:
    """``on_response_prepare`` signal: runs for every response, streams and errors too."""
    response.headers.update(request.get(_headers, {}))


def preflight(request: web.Request, methods: str, headers: dict[str, str]) -> web.Response:
    """The answer to ``OPTIONS``, for browsers and for whoever asks what a resource takes."""
    answer = {"Allow": methods, **headers}
    if _headers in request:
        answer |= {
            "Access-Control-Allow-Methods": methods,
            "Access-Control-Allow-Headers": ALLOWED_HEADERS,
            "Access-Control-Max-Age": "86400",
        }
    return web.Response(status=204, headers=answer)
