"""Errors as problem details (RFC 9457): every response that is not a success is ``application/problem+json``."""

import json
import logging
from collections.abc import Mapping
from http import HTTPStatus

from aiohttp import web
from aiohttp.typedefs import Handler

from voxgender import metrics
from voxgender.errors import FragmentRejected, NotReady, OfferRejected, SessionNotFound, TooManySessions

logger = logging.getLogger(__name__)


class Problem(Exception):
    """A response that says what went wrong and what to do.

    Args:
        status: the HTTP status.
        code: a stable word for programs; the extension member ``code``.
        detail: a sentence for people.
        headers: more response headers.
    """

    def __init__(self, status: int, code: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = headers or {}

    def response(self) -> web.Response:
        body = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
        }
        return web.Response(
            status=self.status,
            body=json.dumps(body).encode(),
            # RFC 9457 section 6.1 knows no charset parameter.
            headers={**self.headers, "Content-Type": "application/problem+json"},
        )


_LEFT = Problem(400, "http_error", "The client left before its request was complete.")
"""Read by nobody, but counted; no fault of the server's."""


@web.middleware
async def problem_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn what a handler raises into problem details. A bug is logged and not shown to the client."""
    try:
        return await handler(request)
    except Exception as error:  # noqa: BLE001 - the last one that can say something sensible
        gone = isinstance(error, ConnectionError) and request.transport is None
        problem = _LEFT if gone else _problem(error)
    if request.method == "POST" and request.path == "/whip":
        metrics.OFFERS_REJECTED.labels(problem.code).inc()
    return problem.response()


def _problem(error: Exception) -> Problem:
    match error:
        case Problem():
            return error
        case OfferRejected(malformed=True):
            return Problem(400, "malformed_sdp", str(error))
        case OfferRejected():
            return Problem(422, "no_audio", str(error))
        case FragmentRejected(malformed=True):
            return Problem(400, "malformed_sdp", str(error))
        case FragmentRejected():
            return Problem(422, "ice_restart", str(error))
        case SessionNotFound():
            return Problem(404, "session_not_found", str(error))
        case TooManySessions():
            # Not 503: nothing is wrong with the server, and another one is not to be asked.
            return Problem(429, "too_many_sessions", str(error), {"Retry-After": "10"})
        case NotReady():
            return Problem(503, error.code, str(error), {"Retry-After": str(error.retry_after_s)})
        case web.RequestPayloadError():
            return Problem(400, "malformed_sdp", "The body is cut off, or not encoded as its headers say.")
        case web.HTTPMethodNotAllowed():
            allowed = ", ".join(sorted(error.allowed_methods))
            return Problem(405, "method_not_allowed", f"This resource takes {allowed}.", {"Allow": allowed})
        case web.HTTPRequestEntityTooLarge():
            return Problem(413, "too_large", "The body is larger than any SDP has to be.")
        case web.HTTPNotFound():
            return Problem(404, "not_found", "There is nothing here; calls begin with POST /whip.")
        case web.HTTPException():
            return Problem(error.status, "http_error", error.reason)
    logger.exception("request failed", exc_info=error)
    return Problem(500, "internal_error", "The server made a mistake; its log says which.")
