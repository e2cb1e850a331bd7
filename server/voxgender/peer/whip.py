"""Open and end sessions by WHIP (RFC 9725), as a client: one POST opens a session, one DELETE ends it."""

import asyncio
import ipaddress
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from types import MappingProxyType, TracebackType
from typing import Self

import aiohttp
import msgspec
from aiortc import RTCIceServer
from yarl import URL

from voxgender import received
from voxgender.errors import CallError
from voxgender.received import whole_number

ANSWER_TIMEOUT_S = 10.0
UPDATE_TIMEOUT_S = 5.0
"""Time for the answer to a later offer, which is made again without one."""
UPDATE_TRIES = 3
UPDATE_AGAIN_S = 0.25
_UNCHANGED = ("at_capacity", "overloaded", "draining", "starting")
"""Codes of a 503 by which a server says that it has changed nothing."""
_CONNECT_TIMEOUT_S = 5.0
_SDP = "application/sdp"


def endpoint(url: str, name: str = "whip") -> URL:
    """Complete a server's address: ``http://host:port``, ``http://host:port/`` or ``…/whip`` all name its endpoint.

    Args:
        url: the server's address.
        name: last part of the endpoint's path.

    Raises:
        CallError: it is no HTTP address.
    """
    text = url if "://" in url else f"http://{url}"
    try:
        parsed = received.url(text)
        usable = parsed.scheme in ("http", "https") and bool(parsed.host) and parsed.port is not None
    except ValueError:
        usable = False
    if not usable:
        raise CallError(f"{url}: not an address to call; give one like http://localhost:8080")
    path = parsed.path.rstrip("/").removesuffix(f"/{name}")
    return parsed.with_path(f"{path}/{name}")


def is_loopback(url: URL) -> bool:
    """Return whether a URL names this machine."""
    host = url.host or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


_LINK = re.compile(r'<([^<>]*)>((?:\s*;\s*[^\s=;,"]+(?:\s*=\s*(?:"(?:[^"\\]|\\.)*"|[^\s;,"]*))?)*)')
_PARAMETER = re.compile(r';\s*([^\s=;,"]+)(?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;,"]*)))?')


def ice_servers(links: Iterable[str]) -> list[RTCIceServer]:
    """Parse ICE servers from ``Link`` headers (RFC 9725 section 4.6, syntax of RFC 8288)."""
    servers = []
    for url, rest in (link for header in links for link in _LINK.findall(header)):
        parameters: dict[str, str] = {}
        for name, quoted, token in _PARAMETER.findall(rest):
            parameters.setdefault(name.lower(), re.sub(r"\\(.)", r"\1", quoted) or token)
        if "ice-server" in parameters.get("rel", "").lower().split():
            servers.append(RTCIceServer(url, parameters.get("username"), parameters.get("credential")))
    return servers


class Unanswered(CallError):
    """A later offer got no answer: the server may have taken it, or not."""


class WhipSession:
    """A session that a server opened."""

    def __init__(self, client: "WhipClient", http: aiohttp.ClientSession, url: URL, answer: str) -> None:
        self._client = client
        self._http = http
        self.url = url
        self.answer = answer
        """The SDP answer."""
        self._deleted = False

    async def alive(self) -> bool:
        """Ask whether the session still exists; no answer means that it does not."""
        try:
            async with self._http.get(self.url) as response:
                return response.status != 404
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def update(self, offer: str) -> str:
        """Send a later offer, which changes the voices of a room. Returns the answer.

        An offer that comes twice is answered twice, so one without an answer is sent again.

        Raises:
            Unanswered: there is no answer all the same.
            CallError: the server refuses; nothing has changed then.
        """
        for _ in range(UPDATE_TRIES - 1):
            with suppress(Unanswered):
                return await self._update(offer)
            await asyncio.sleep(UPDATE_AGAIN_S)
        return await self._update(offer)

    async def _update(self, offer: str) -> str:
        headers, timeout = {"Content-Type": _SDP}, aiohttp.ClientTimeout(total=UPDATE_TIMEOUT_S)
        try:
            with self._client.call_errors(timeout_s=UPDATE_TIMEOUT_S):
                async with self._http.patch(self.url, data=offer, headers=headers, timeout=timeout) as response:
                    if response.status == 200 and response.content_type == _SDP:
                        return await response.text()
                    refusal = await self._client.refusal(response)
                    code = (await _problem(response)).code
        except CallError as error:
            raise Unanswered(str(error)) from None
        raise (CallError if response.status < 500 or code in _UNCHANGED else Unanswered)(refusal)

    async def delete(self) -> bool:
        """End the session, once. False if the server is gone, or has ended it already."""
        if self._deleted:
            return False
        self._deleted = True
        try:
            async with self._http.delete(self.url) as response:
                return response.ok
        except (aiohttp.ClientError, TimeoutError):
            return False


class WhipClient:
    """Opens sessions at one endpoint."""

    _name = "whip"

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        query: Mapping[str, str] = MappingProxyType({}),
        timeout_s: float = ANSWER_TIMEOUT_S,
    ) -> None:
        """Prepare requests to an endpoint.

        Args:
            url: the server, ``http://host:port`` or its ``…/whip``.
            token: bearer token, for a server that asks for one.
            query: options of each call, as :func:`voxgender.calloptions.read_query` takes them.
            timeout_s: time for an answer.

        Raises:
            CallError: ``url`` is no HTTP address.
        """
        self._timeout_s = timeout_s
        self._query = query
        self.endpoint = endpoint(url, self._name)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=_CONNECT_TIMEOUT_S)
        self._http = aiohttp.ClientSession(headers=headers, timeout=timeout)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.close()

    async def open(self, offer: str) -> WhipSession:
        """Send an SDP offer by POST.

        Raises:
            CallError: there is no server, it is no voxgender server, or it refuses; the message says what to do.
        """
        with self.call_errors():
            url = self.endpoint.with_query(self._query)
            async with self._http.post(url, data=offer, headers={"Content-Type": _SDP}) as response:
                if response.status == 201 and response.content_type == _SDP and "Location" in response.headers:
                    location = response.url.join(received.url(response.headers["Location"]))
                    return WhipSession(self, self._http, location, await response.text())
                raise CallError(await self.refusal(response))

    async def ice_servers(self) -> list[RTCIceServer]:
        """Ask for STUN and TURN servers before the offer, because aiortc takes none later (section 4.6).

        Raises:
            CallError: there is no server.
        """
        with self.call_errors():
            async with self._http.options(self.endpoint) as response:
                return ice_servers(response.headers.getall("Link", []))

    @contextmanager
    def call_errors(self, *, timeout_s: float | None = None) -> Iterator[None]:
        """Raise ``CallError`` for an HTTP client's errors, with the reason in one line.

        Args:
            timeout_s: the time for an answer, where it is not the client's own.
        """
        try:
            yield
        except aiohttp.ClientConnectorDNSError:
            raise CallError(f"{self.endpoint.host}: no such host") from None
        except aiohttp.ClientConnectorCertificateError as error:
            raise CallError(f"{self.endpoint}: its certificate is not trusted: {error.certificate_error}") from None
        except aiohttp.ClientConnectorError as error:
            number = error.os_error.errno
            reason = os.strerror(number).lower() if number else str(error.os_error)
            raise CallError(f"{self.endpoint.origin()}: {reason}; is `voxgender serve` running there?") from None
        except TimeoutError:
            raise CallError(f"{self.endpoint}: no answer within {timeout_s or self._timeout_s:.0f} s") from None
        except aiohttp.WSServerHandshakeError as error:
            # The address of a WebSocket has a ticket in it, so it is not repeated.
            hint = "; a proxy in front has to pass the headers Upgrade and Connection on" if error.status == 426 else ""
            raise CallError(f"{self.endpoint}: the WebSocket was refused ({error.status}){hint}") from None
        except aiohttp.ClientResponseError as error:
            raise CallError(f"{self.endpoint}: {error.message or type(error).__name__}") from None
        except aiohttp.ClientError as error:
            raise CallError(f"{self.endpoint}: {str(error) or type(error).__name__}") from None
        except (ValueError, IndexError):
            # Texts, URLs, JSON; of a URL yarl may say ``IndexError``.
            raise CallError(f"{self.endpoint}: its answer cannot be read; is it a voxgender server?") from None

    async def refusal(self, response: aiohttp.ClientResponse) -> str:
        """Return the reason of a refusal, in the server's own words if there are any (RFC 9457)."""
        problem = await _problem(response)
        status = f"{response.status} {problem.title or response.reason or ''}".strip()
        why = f"{status}: {problem.detail}" if problem.detail else status
        if response.status == 401:
            return f"{self.endpoint}: {why.rstrip('.')}; give a token that it takes with --token or VOXGENDER_TOKEN"
        if response.status in (429, 503):
            retry_after_s = whole_number(response.headers.get("Retry-After", ""))
            hint = "later" if retry_after_s is None else f"in {retry_after_s} s"
            return f"{self.endpoint}: {why.rstrip('.')}; try again {hint}"
        if problem.detail or problem.title:
            return f"{self.endpoint}: {why}"
        return f"{self.endpoint}: not a voxgender server ({status})"


class _ProblemDetails(msgspec.Struct):
    code: str = ""
    title: str = ""
    detail: str = ""


async def _problem(response: aiohttp.ClientResponse) -> _ProblemDetails:
    if response.content_type != "application/problem+json":
        return _ProblemDetails()
    try:
        return received.decode(await response.read(), _ProblemDetails)
    except ValueError:
        return _ProblemDetails()
