"""Translate errors to problem details (RFC 9457), and back: every error response is ``application/problem+json``."""

import logging
from collections.abc import Mapping

import aiohttp
from aiohttp import web
from aiohttp.typedefs import Handler

from voxgender import metrics
from voxgender.errors import (
    Draining,
    NodeNotFound,
    NotReady,
    NoUdp,
    OptionRefused,
    OtherInstance,
    RequestRefused,
    SdpRejected,
    SessionNotFound,
    StreamRejected,
    TicketNotFound,
    TooManySessions,
)
from voxgender.http.connections import BodyStalled
from voxgender.http.malformed import UNMET_EXPECTATION
from voxgender.http.problem import Problem

__all__ = ["Problem", "problem_middleware"]

logger = logging.getLogger(__name__)

REFUSALS: Mapping[str, tuple[int, type[RequestRefused]]] = {
    "malformed_sdp": (400, SdpRejected),
    "session_not_found": (404, SessionNotFound),
    "node_not_found": (404, NodeNotFound),
    "malformed_stream": (400, StreamRejected),
    "option_refused": (400, OptionRefused),
    "unsupported_encoding": (415, StreamRejected),
    "ticket_not_found": (404, TicketNotFound),
    # Not 404: the call may be up, and the same request may reach it.
    "other_instance": (421, OtherInstance),
    "no_audio": (422, SdpRejected),
    "ice_restart": (422, SdpRejected),
    "stale_offer": (409, SdpRejected),
    "too_many_voices": (422, SdpRejected),
    "one_voice": (422, SdpRejected),
    # Not 503: the server is healthy, and another server must not be tried.
    "too_many_sessions": (429, TooManySessions),
    "no_udp": (501, NoUdp),
    "starting": (503, NotReady),
    "draining": (503, Draining),
    "model_loading": (503, NotReady),
    "at_capacity": (503, NotReady),
    "overloaded": (503, NotReady),
    "keys_unavailable": (503, NotReady),
    "no_node": (503, NotReady),
    "node_unreachable": (503, NotReady),
}
"""HTTP status and error class of each code, in both directions between signaling and a node."""


_OFFERS = {("POST", "/whip"), ("POST", "/listen"), ("GET", "/listen")}
"""Requests that open a call; their refusals are counted."""


@web.middleware
async def problem_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn errors of handlers into problem details. A bug is logged, and its text is not sent to the client."""
    try:
        if UNMET_EXPECTATION in request:
            raise Problem(417, "unknown_expectation", "The Expect header may say 100-continue: best leave it out.")
        return await handler(request)
    except Exception as error:  # noqa: BLE001 - the last one that can say something sensible
        if request.transport is None and isinstance(error, (ConnectionError, aiohttp.ClientConnectionError)):
            metrics.REQUESTS_BROKEN.labels("ClientLeft").inc()
            # Nobody reads it.
            return web.Response(status=400)
        problem = _problem(error)
    if (request.method, request.path) in _OFFERS:
        metrics.OFFERS_REJECTED.labels(problem.code).inc()
    return problem.response()


def error_of(code: str, detail: str, retry_after_s: int | None) -> RequestRefused | None:
    """Return the error of a problem, or None if its code is not in :data:`REFUSALS`."""
    if code not in REFUSALS:
        return None
    _, error = REFUSALS[code]
    return error(detail, code=code, retry_after_s=retry_after_s)


def _problem(error: Exception) -> Problem:
    match error:
        case Problem():
            return error
        case RequestRefused():
            status, _ = REFUSALS[error.code]
            headers = {} if error.retry_after_s is None else {"Retry-After": str(error.retry_after_s)}
            return Problem(status, error.code, str(error), headers)
        case BodyStalled():
            return Problem(408, "too_slow", "The rest of the body did not come in time.", {"Connection": "close"})
        case web.RequestPayloadError():
            return Problem(400, "malformed_request", "The body is cut off, or not encoded as its headers say.")
        case web.HTTPMethodNotAllowed():
            allowed = ", ".join(sorted(error.allowed_methods))
            return Problem(405, "method_not_allowed", f"This resource takes {allowed}.", {"Allow": allowed})
        case web.HTTPRequestEntityTooLarge():
            return Problem(413, "too_large", "The body is larger than any SDP has to be.")
        case web.HTTPNotFound():
            return Problem(404, "not_found", "There is nothing here; calls begin with POST /whip or GET /listen.")
        case web.HTTPException():
            return Problem(error.status, "http_error", error.reason)
    logger.exception("request failed", exc_info=error)
    return Problem(500, "internal_error", "The server made a mistake; its log says which.")
