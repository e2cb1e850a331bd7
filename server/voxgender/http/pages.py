"""The page and the client's modules, and the calls that are up."""

from importlib.resources import files
from pathlib import Path

from aiohttp import web

from voxgender.http.auth import Authenticator
from voxgender.http.calls import Calls


def client_files() -> Path:
    """Where ``client/`` lies: inside the installed package, or beside ``server/`` in a checkout.

    Raises:
        FileNotFoundError: in neither place.
    """
    package = Path(str(files("voxgender")))
    for place in (package / "client", package.parent.parent / "client"):
        if (place / "index.html").is_file():
            return place.resolve()
    raise FileNotFoundError("The client's files are missing: install voxgender again.")


_SERVED = {".js", ".css", ".html", ".svg", ".png", ".json"}


class Pages:
    """``/``, ``/client/…`` and ``/sessions``."""

    def __init__(self, calls: Calls, authenticator: Authenticator) -> None:
        self._calls = calls
        self._authenticator = authenticator
        self._client = client_files()

    def routes(self) -> list[web.AbstractRouteDef]:
        return [
            web.get("/", self.page),
            web.get("/client/{path:.+}", self.module),
            web.get("/sessions", self.sessions),
        ]

    async def page(self, _: web.Request) -> web.FileResponse:
        return web.FileResponse(self._client / "index.html", headers={"Cache-Control": "no-cache"})

    async def module(self, request: web.Request) -> web.FileResponse:
        """A file of ``client/``: what a browser loads, and nothing outside the folder or hidden in it."""
        try:
            path = (self._client / request.match_info["path"]).resolve()
            served = path.is_relative_to(self._client) and path.suffix in _SERVED and path.is_file()
        except (OSError, ValueError):
            # A name that no file can have: too long, or with a NUL in it.
            served = False
        if not served:
            raise web.HTTPNotFound
        return web.FileResponse(path, headers={"Cache-Control": "no-cache"})

    async def sessions(self, request: web.Request) -> web.Response:
        await self._authenticator.operator(request)
        return web.json_response({"sessions": await self._calls.describe_all()})
