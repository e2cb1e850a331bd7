"""Serve the page, the client's modules, and the list of sessions."""

from importlib.resources import files
from pathlib import Path

from aiohttp import web

from voxgender.http.auth import Authenticator
from voxgender.http.calls import Calls


def client_files() -> Path:
    """Find ``client/``: inside the installed package, or beside ``server/`` in a checkout.

    Raises:
        FileNotFoundError: it is in neither place.
    """
    package = Path(str(files("voxgender")))
    for place in (package / "client", package.parent.parent / "client"):
        if (place / "site" / "index.html").is_file():
            return place.resolve()
    raise FileNotFoundError("The client's files are missing: install voxgender again.")


_SERVED = {".js", ".css", ".html", ".svg", ".png", ".json", ".mp3"}


class Pages:
    """``/``, ``/operators``, ``/client/…`` and ``/sessions``."""

    def __init__(self, calls: Calls, authenticator: Authenticator) -> None:
        self._calls = calls
        self._authenticator = authenticator
        client = client_files()
        self._site = client / "site"
        self._folders = (client / "src", self._site)
        """Folders of the library and the site. Both are served under one path, as no file name is in both."""

    def routes(self) -> list[web.AbstractRouteDef]:
        return [
            web.get("/", self.page),
            web.get("/operators", self.operators),
            web.get("/client/{path:.+}", self.module),
            web.get("/sessions", self.sessions),
        ]

    async def page(self, _: web.Request) -> web.FileResponse:
        return web.FileResponse(self._site / "index.html", headers={"Cache-Control": "no-cache"})

    async def operators(self, _: web.Request) -> web.FileResponse:
        """Serve the operators' page. It shows nothing until its reader has given a token."""
        return web.FileResponse(self._site / "operators.html", headers={"Cache-Control": "no-cache"})

    async def module(self, request: web.Request) -> web.FileResponse:
        """Serve a file of the library or the site; hidden files and other folders are not found."""
        for folder in self._folders:
            if (path := _within(folder, request.match_info["path"])) is not None:
                return web.FileResponse(path, headers={"Cache-Control": "no-cache"})
        raise web.HTTPNotFound

    async def sessions(self, request: web.Request) -> web.Response:
        await self._authenticator.require_operator(request)
        return web.json_response({"sessions": await self._calls.describe_all()})


def _within(folder: Path, name: str) -> Path | None:
    try:
        path = (folder / name).resolve()
        if path.is_relative_to(folder) and path.suffix in _SERVED and path.is_file():
            return path
    except (OSError, ValueError):
        # The name is too long, or has a NUL in it.
        pass
    return None
