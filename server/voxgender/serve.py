"""The whole server in one process: signaling in front, a media node behind it."""

import asyncio
import logging
import os
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack

from aiohttp import web

from voxgender.analysis import Analyzer
from voxgender.errors import VoxgenderError
from voxgender.media.node import MediaNode
from voxgender.settings import Settings
from voxgender.signaling.app import create_app

logger = logging.getLogger(__name__)

OFF = "off"
"""The model that is none: everything runs but the classification."""


async def serve(settings: Settings, announce: Callable[[str], None] = lambda url: None) -> None:
    """Serve until SIGINT or SIGTERM, then end every call cleanly.

    Args:
        settings: all options.
        announce: told the page's URL, once calls are taken.

    Raises:
        VoxgenderError: the address is taken, the model cannot be loaded, an option cannot be used.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        node = MediaNode(
            ice_addresses=settings.ice_address,
            max_sessions=settings.max_sessions,
            max_sessions_per_subject=settings.max_sessions_per_subject,
            connect_timeout_s=settings.connect_timeout_s,
            silence_timeout_s=settings.silence_timeout_s,
        )
        port = await _listen(settings, create_app(settings, node), stack)
        # Health checks are answered while the model is loaded.
        loading = asyncio.create_task(asyncio.to_thread(make_analyzer, settings))
        stopped = asyncio.create_task(stop.wait())
        stack.callback(stopped.cancel)
        await asyncio.wait((loading, stopped), return_when=asyncio.FIRST_COMPLETED)
        analyzer = await loading
        if stop.is_set():
            analyzer.close()
            return
        stack.callback(analyzer.close)
        node.start(analyzer)
        stack.push_async_callback(node.close)
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        announce(f"http://{'localhost' if settings.host in ('127.0.0.1', '0.0.0.0', '::') else host}:{port}/")  # noqa: S104
        logger.info("ready: model %s", analyzer.model)
        await stop.wait()
        logger.info("stopping")


def make_analyzer(settings: Settings) -> Analyzer:
    """Load the model and put an analyzer around it. Takes seconds: not for the event loop.

    Raises:
        ModelError: the model cannot be loaded.
    """
    threads = settings.inference_threads or max(1, (os.cpu_count() or 2) - 1)
    classifier = None
    if settings.model != OFF:
        # torch and transformers take seconds to import: not before a health check can be answered, not for nothing.
        from voxgender.inference import wav2vec2

        classifier = wav2vec2.load(settings.model, threads=threads)
    return Analyzer(classifier, window_ms=settings.window_ms, hop_ms=settings.hop_ms)


async def _listen(settings: Settings, app: web.Application, stack: AsyncExitStack) -> int:
    # No access log: a session's URL is its key.
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=2.0)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    try:
        await web.TCPSite(runner, settings.host, settings.port).start()
    except OSError as error:
        raise VoxgenderError(
            f"cannot listen on {settings.host} port {settings.port} ({error.strerror}); choose another with --port"
        ) from None
    port: int = runner.addresses[0][1]
    return port
