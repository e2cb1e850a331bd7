"""Define problem details (RFC 9457): a response that says what went wrong and what to do."""

import json
from collections.abc import Mapping
from http import HTTPStatus

from aiohttp import web


class Problem(Exception):
    """A response that says what went wrong and what to do.

    Args:
        status: the HTTP status.
        code: a stable identifier for programs; the extension member ``code``.
        detail: a sentence for people.
        headers: more response headers.
    """

    def __init__(self, status: int, code: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = headers or {}

    def body(self) -> bytes:
        """Return the problem as JSON."""
        return json.dumps(
            {
                "type": "about:blank",
                "title": HTTPStatus(self.status).phrase,
                "status": self.status,
                "detail": self.detail,
                "code": self.code,
            }
        ).encode()

    def response(self) -> web.Response:
        return web.Response(
            status=self.status,
            body=self.body(),
            # RFC 9457 section 6.1 knows no charset parameter.
            headers={**self.headers, "Content-Type": "application/problem+json"},
        )
