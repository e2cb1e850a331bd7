"""Errors as problem details (RFC 9457): every response that is not a success is ``application/problem+json``."""

import logging

import aiohttp
from aiohttp import web
from aiohttp.typedefs import Handler

from voxgender import metrics
from voxgender.errors import FragmentRejected, NotReady, OfferRejected, SessionNotFound, TooManySessions
from voxgender.http.connections import BodyStalled
from voxgender.http.problem import Problem

__all__ = ["Problem", "problem_middleware"]

logger = logging.getLogger(__name__)


@web.middleware
async def problem_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn what a handler raises into problem details. A bug is logged and not shown to the client."""
    try:
        return await handler(request)
    except Exception as error:  # noqa: BLE001 - the last one that can say something sensible
        if request.transport is None and isinstance(error, (ConnectionError, aiohttp.ClientConnectionError)):
            metrics.REQUESTS_BROKEN.labels("ClientLeft").inc()
            # Nobody reads it.
            return web.Response(status=400)
        problem = _problem(error)
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
            return Problem(404, "not_found", "There is nothing here; calls begin with POST /whip.")
        case web.HTTPException():
            return Problem(error.status, "http_error", error.reason)
    logger.exception("request failed", exc_info=error)
    return Problem(500, "internal_error", "The server made a mistake; its log says which.")
