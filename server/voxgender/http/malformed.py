"""Let every malformed request reach the handlers or end as status 400, where aiohttp would stumble over it."""

import re
from collections.abc import Callable
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import (
    BadHttpMessage,
    BadHttpMethod,
    HttpProcessingError,
    LineTooLong,
    TransferEncodingError,
)
from aiohttp.http_parser import RawRequestMessage
from multidict import CIMultiDict, CIMultiDictProxy

UNMET_EXPECTATION: web.RequestKey[bool] = web.RequestKey("unmet_expectation", bool)
"""Mark of a request whose ``Expect`` header (RFC 9110 section 10.1.1) asks for what this server does not know."""

_DATES = ("If-Modified-Since", "If-Unmodified-Since", "If-Range")
_NO_DATE = re.compile(r"[0-9]{5}")
"""Matches a year of more digits than an HTTP date (RFC 9110 section 5.6.7) and Python's dates have."""


class Parser:
    """Wraps aiohttp's parser, and turns its errors of any kind into :class:`BadHttpMessage`.

    aiohttp's own raises others for some requests, such as ``ValueError`` for ``GET http://a[]@/``.
    """

    def __init__(self, parser: Any) -> None:
        self._parser = parser

    def feed_data(self, data: bytes) -> Any:
        try:
            return self._parser.feed_data(data)
        except HttpProcessingError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever the request makes of it
            raise BadHttpMessage(type(error).__name__) from None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parser, name)


def make_request(make: Callable[..., web.BaseRequest], message: RawRequestMessage, *rest: Any) -> web.BaseRequest:
    """Make a request without the headers that aiohttp fails at.

    aiohttp would refuse an unknown expectation in plain text, before any middleware: the request is marked instead. An
    invalid date is ignored, as RFC 9110 section 13.1.3 asks; aiohttp would raise in the handler.

    Args:
        make: aiohttp's factory of requests.
        message: the head of the request.
        rest: further arguments of ``make``.
    """
    headers = message.headers
    is_unmet = headers.get("Expect", "").lower() not in ("", "100-continue")
    dropped = ["Expect"] if is_unmet else []
    dropped += [name for name in _DATES if _NO_DATE.search(headers.get(name, ""))]
    if dropped:
        kept = CIMultiDict(headers)
        for name in dropped:
            kept.popall(name)
        message = message._replace(headers=CIMultiDictProxy(kept))
    request = make(message, *rest)
    if is_unmet:
        request[UNMET_EXPECTATION] = True
    return request


def reason(error: BadHttpMessage) -> str:
    """Return a sentence that tells a client why its request is malformed."""
    match error:
        case LineTooLong():
            return "The request line or a header is too long: 8190 bytes are taken."
        case TransferEncodingError():
            return "The body's chunks are not as RFC 9112 section 7.1 has them."
        case BadHttpMethod():
            return "This is no HTTP request; where it is HTTPS, a TLS proxy has to stand in front of this port."
    return "The request is not as RFC 9112 has it: look for control characters, and headers that contradict another."
