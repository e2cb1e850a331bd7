"""The role ``signaling``: the page and WHIP, in front of media nodes elsewhere."""

from contextlib import AsyncExitStack

from voxgender.fleet.directory import Directory
from voxgender.fleet.router import Router
from voxgender.fleet.secret import Secret
from voxgender.fleet.sources import source_of
from voxgender.http.app import create_app
from voxgender.roles.hosting import Stop, listen, url_of
from voxgender.settings import Settings


class Signaling:
    """The page and WHIP, in front of media nodes elsewhere: ``voxgender signaling``.

    It keeps nothing of a call: another instance finds the call's node by the session's URL.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._router: Router

    async def start(self, stack: AsyncExitStack) -> str:
        """Serve the page and signaling once media nodes were looked for."""
        settings = self._settings
        secret = Secret(settings.secret)
        directory = Directory(source_of(settings, secret), secret)
        stack.push_async_callback(directory.close)
        together = settings.max_sessions_per_subject > 0
        self._router = Router(directory, secret, region=settings.region, keep_together=together)
        stack.push_async_callback(self._router.close)
        port = await listen(create_app(settings, self._router), stack, host=settings.host, port=settings.port)
        await directory.start()
        await directory.looked.wait()
        return url_of(settings.host, port)

    async def drain(self, stop: Stop) -> None:
        """Leave new requests to another instance; those in hand are answered."""
        self._router.drain()
