"""A proxy between a client and a server that loses answers: the server has done its work, the client hears nothing."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer
from yarl import URL

_OF_ONE_HOP = ("Host", "Content-Length", "Transfer-Encoding", "Content-Encoding", "Connection")


class LossyProxy:
    """Hands requests on to a server, and the answers back, but for those that are to be lost."""

    def __init__(self, server: str) -> None:
        self.url = ""
        self.losing: dict[str, int] = {}
        """Number of answers that are still to be lost, by method."""
        self.lost: Counter[str] = Counter()
        """Number of answers that were, by method."""
        self._server = URL(server)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        target = self._server.join(URL(request.raw_path, encoded=True))
        headers = {name: value for name, value in request.headers.items() if name not in _OF_ONE_HOP}
        async with (
            ClientSession(auto_decompress=False) as http,
            http.request(request.method, target, headers=headers, data=await request.read()) as answer,
        ):
            body = await answer.read()
            if self.losing.get(request.method, 0) > 0:
                self.losing[request.method] -= 1
                self.lost[request.method] += 1
                assert request.transport is not None
                request.transport.abort()
                return web.Response()
            kept = {name: value for name, value in answer.headers.items() if name not in _OF_ONE_HOP}
            return web.Response(status=answer.status, headers=kept, body=body)


@asynccontextmanager
async def a_lossy_proxy(server: str) -> AsyncIterator[LossyProxy]:
    """Run a proxy in front of the server with this URL."""
    proxy = LossyProxy(server)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", proxy.handle)
    async with TestServer(app, host="127.0.0.1") as running:
        proxy.url = str(running.make_url("/"))
        yield proxy
