"""The role ``signaling``: the page and WHIP, in front of media nodes elsewhere."""

import logging
from collections.abc import Callable
from contextlib import AsyncExitStack

from voxgender.fleet.directory import Directory
from voxgender.fleet.router import Router
from voxgender.fleet.secret import Secret
from voxgender.fleet.sources import source_of
from voxgender.http.app import create_app
from voxgender.roles.hosting import Stop, listen, url_of
from voxgender.settings import Settings

logger = logging.getLogger(__name__)


async def serve_signaling(settings: Settings, announce: Callable[[str], None] = lambda url: None) -> None:
    """Serve until SIGINT or SIGTERM. Calls go on without: whoever comes next finds their nodes by their URLs.

    Args:
        settings: all options.
        announce: told the page's URL, once it is served.

    Raises:
        VoxgenderError: the address is taken, or an option cannot be used.
    """
    stop = Stop()
    stop.on_signals()
    secret = Secret(settings.secret)
    async with AsyncExitStack() as stack:
        directory = Directory(source_of(settings, secret), secret)
        stack.push_async_callback(directory.close)
        together = settings.max_sessions_per_subject > 0
        fleet = Router(directory, secret, region=settings.region, keep_together=together)
        stack.push_async_callback(fleet.close)
        port = await listen(create_app(settings, fleet), stack, host=settings.host, port=settings.port)
        await directory.start()
        await directory.looked.wait()
        announce(url_of(settings.host, port))
        await stop.asked.wait()
        logger.info("stopping")
        # Requests in hand are answered; new ones are for another instance.
        fleet.drain()
