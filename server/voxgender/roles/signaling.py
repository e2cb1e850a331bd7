"""Run the role ``signaling``: the page and WHIP, in front of media nodes."""

from contextlib import AsyncExitStack

from voxgender.fleet.directory import Directory
from voxgender.fleet.router import Router
from voxgender.fleet.secret import Secret
from voxgender.fleet.sources import source_of
from voxgender.http.app import create_app
from voxgender.roles.hosting import Stop, listen, listen_for_metrics, url_of
from voxgender.settings import SignalingSettings


class Signaling:
    """Serves the page and WHIP in front of media nodes: ``voxgender signaling``.

    It keeps no state of calls: any other instance finds a call's node by the session's URL.
    """

    def __init__(self, settings: SignalingSettings) -> None:
        self._settings = settings
        self._router: Router

    async def start(self, stack: AsyncExitStack) -> str:
        """Serve the page and signaling after a first look for media nodes."""
        settings = self._settings
        secret = Secret(settings.fleet.secret)
        directory = Directory(source_of(settings.fleet.registry, settings.node_list.nodes, secret), secret)
        stack.push_async_callback(directory.close)
        together = settings.subjects.max_sessions_per_subject > 0
        self._router = Router(directory, secret, region=settings.fleet.region, keep_together=together)
        stack.push_async_callback(self._router.close)
        app, http = create_app(settings, self._router, calls_are_here=False), settings.http
        port = await listen(app, stack, host=http.host, port=http.port)
        await listen_for_metrics(settings.metrics, stack)
        await directory.start()
        await directory.refreshed.wait()
        return url_of(http.host, port)

    async def drain(self, stop: Stop) -> None:
        """Leave new requests to another instance; those in hand are answered."""
        self._router.drain()

    def reload(self) -> None:
        """Do nothing: there is no model here."""
