"""Both OpenAPI documents against the applications that run: requests made up from a document get what it says.

``--hypothesis-profile=nightly`` tries many more.
"""

import asyncio
import random
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests import offers, options
from tests.nodes import SECRET, a_node
from tests.rtc import a_server
from voxgender.engine import Engine
from voxgender.settings import FrontSettings

DOCS = Path(__file__).parents[1] / "docs"
SCHEMAS = {name: schemathesis.openapi.from_path(DOCS / name) for name in ("openapi.yaml", "openapi-node.yaml")}
OPERATIONS: list[tuple[str, Any]] = [
    (name, found.ok())  # type: ignore[union-attr]
    for name, schema in SCHEMAS.items()
    for found in schema.get_all_operations()
    # The calls of a node are told as long as somebody listens.
    if found.ok().path != "/calls"  # type: ignore[union-attr]
]
# A node that is drained takes no more calls, so that is asked last.
OPERATIONS.sort(key=lambda each: each[1].path == "/drain")
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]
BODIES: dict[str, list[Any]] = {
    "openCall": [offers.CLIENTS["chromium"], offers.sdp(offers.AUDIO, bundle="0"), "v=0"],
    "trickle": ["a=mid:0\r\na=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\n", "a=ice-ufrag:other\r\n"],
    "placeOffer": [{"offer": offers.CLIENTS["firefox"], "subject": "ana"}, {"offer": "v=0"}],
}
"""Requests that get further than those that are made up."""
TIMEOUT_S = 10


@schemathesis.serializer("application/sdp", "application/trickle-ice-sdpfrag")
def _as_text(_: Any, value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode(errors="replace")


class Threaded:
    """An application in a thread of its own, since the client of these tests waits for each answer."""

    def __init__(self, server: Callable[[], AbstractAsyncContextManager[str]]) -> None:
        self.sessions: list[str] = []
        """Ids of calls that were opened, of which some may have ended."""
        self._started: Future[str] = Future()
        self._over = asyncio.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run(server)))
        self._thread.start()
        self.url = self._started.result(TIMEOUT_S)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()

    async def _run(self, server: Callable[[], AbstractAsyncContextManager[str]]) -> None:
        self._loop = asyncio.get_running_loop()
        try:
            async with server() as url:
                self._started.set_result(url)
                await self._over.wait()
        except BaseException as error:
            if self._started.done():
                raise
            self._started.set_exception(error)


@pytest.fixture(scope="module")
def running(engine: Engine) -> Iterator[dict[str, Threaded]]:
    """The application of each document."""

    @asynccontextmanager
    async def front() -> AsyncIterator[str]:
        settings = options.given(FrontSettings, offers_per_minute=0)
        # A ticket keeps its places for a minute: a night's requests are never refused for want of one.
        async with a_server(engine, settings=settings, max_sessions=1_000_000) as server:
            yield server.url

    @asynccontextmanager
    async def node() -> AsyncIterator[str]:
        async with a_node(engine) as node:
            yield node.url

    servers: dict[str, Threaded] = {}
    try:
        for name, server in (("openapi.yaml", front), ("openapi-node.yaml", node)):
            servers[name] = Threaded(server)
        yield servers
    finally:
        for each in servers.values():
            each.close()


def signed(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """As signaling signs what it sends to a node."""
    body: Any = request.body or b""
    assert request.method is not None
    path = unquote(request.path_url.partition("?")[0])
    request.headers["Authorization"] = SECRET.authorization(
        request.method, path, body if isinstance(body, bytes) else body.encode()
    )
    return request


@pytest.mark.parametrize(("name", "operation"), OPERATIONS, ids=lambda value: getattr(value, "label", value))
def test_requests_get_what_the_document_says(name: str, operation: Any, running: dict[str, Threaded]) -> None:
    server = running[name]
    operation_id = operation.definition.raw.get("operationId", "")

    @given(operation.as_strategy(), st.integers(0, 2**32))
    @settings(
        max_examples=max(10, settings().max_examples // 5),
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    def every(case: Any, seed: int) -> None:
        chance = random.Random(seed)
        if operation_id in BODIES and chance.random() < 0.5:
            case.body = chance.choice(BODIES[operation_id])
        # The events of a call that lives do not end.
        lives = server.sessions and not operation.path.endswith("/events")
        if lives and "session" in (case.path_parameters or {}) and chance.random() < 0.5:
            case.path_parameters["session"] = chance.choice(server.sessions[-3:])
        response = case.call(server.url, auth=signed if name == "openapi-node.yaml" else None, timeout=TIMEOUT_S)
        if response.status_code == 201:
            location = response.headers.get("Location", ["/x"])[0]
            server.sessions.append(location.rpartition("/")[2])
        case.validate_response(response, checks=CHECKS)

    every()
