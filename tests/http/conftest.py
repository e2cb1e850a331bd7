"""Servers that ask for tokens: of one process, and a fleet."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from aiohttp import ClientSession

from tests.http.signing import SECRET, SHARED_TOKEN
from tests.nodes import a_front, a_node
from tests.options import given
from tests.rtc import a_server
from voxgender.engine import Engine
from voxgender.settings import FrontSettings


@pytest.fixture(params=["alone", "fleet"])
async def http(request: pytest.FixtureRequest, engine: Engine) -> AsyncIterator[ClientSession]:
    """Speak to a server of one process, or to signaling in front of two nodes."""
    async with AsyncExitStack() as stack:
        if request.param == "alone":
            settings = given(FrontSettings, token=SHARED_TOKEN, jwt_secret=SECRET)
            yield (await stack.enter_async_context(a_server(engine, settings=settings))).http
            return
        nodes = [await stack.enter_async_context(a_node(engine)) for _ in range(2)]
        front = a_front(*nodes, token=SHARED_TOKEN, jwt_secret=SECRET)
        yield (await stack.enter_async_context(front)).http
