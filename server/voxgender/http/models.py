"""Serve ``PUT /model``: another model for calls that go on, at an operator's request."""

from typing import Protocol

import msgspec
from aiohttp import web

from voxgender import received
from voxgender.errors import ModelError, SettingsError
from voxgender.http.auth import Authenticator
from voxgender.http.problems import Problem
from voxgender.http.sessions import read_body


class ModelRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request for a model; what is left out stays as it is."""

    model: str | None = None
    revision: str | None = None
    labels: tuple[str, ...] | None = None


class Models(Protocol):
    """Swaps the model of a media node."""

    async def swap(self, wanted: ModelRequest) -> str:
        """Load a model, try it, and let it serve; return its name.

        Raises:
            ModelError: it cannot be loaded, or cannot take the place of the present one, which goes on serving.
            SettingsError: the labels are malformed.
            NotReady: the server is starting, or another model is being loaded.
        """
        ...


class ModelResource:
    """``/model``."""

    def __init__(self, models: Models, authenticator: Authenticator) -> None:
        self._models = models
        self._authenticator = authenticator

    def routes(self) -> list[web.RouteDef]:
        return [web.put("/model", self.put)]

    async def put(self, request: web.Request) -> web.Response:
        """Swap the model; answer once the new one serves. Without a body the present one is loaded again."""
        # A server that lets everybody in must not load for everybody.
        self._authenticator.require_tokens()
        await self._authenticator.require_operator(request)
        try:
            wanted: ModelRequest = received.decode(await read_body(request) or b"{}", ModelRequest)
        except ValueError:
            example = '{"model": "owner/name", "revision": "main", "labels": ["female=LABEL_0"]}'
            raise Problem(400, "malformed_request", f"The body has to be JSON, as {example}.") from None
        try:
            name = await self._models.swap(wanted)
        except (ModelError, SettingsError) as error:
            raise Problem(422, "model_refused", f"{error}; the present model goes on serving.") from None
        return web.json_response({"model": name})
