"""The whole server in one process: signaling in front, a media node behind it."""

import logging
import os
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, cast

from voxgender.analysis import Analyzer
from voxgender.http.app import create_app
from voxgender.roles.hosting import Stop, listen, settle, unless_stopped, url_of
from voxgender.roles.media import drain, make_node
from voxgender.settings import Settings

if TYPE_CHECKING:
    from voxgender.inference.classifier import Device, Precision

logger = logging.getLogger(__name__)

OFF = "off"
"""The model that is none: everything runs but the classification."""


async def serve(settings: Settings, announce: Callable[[str], None] = lambda url: None) -> None:
    """Serve until SIGINT, or until SIGTERM and the calls have moved; then end every call cleanly.

    Args:
        settings: all options.
        announce: told the page's URL, once calls are taken.

    Raises:
        VoxgenderError: the address is taken, the model cannot be loaded, an option cannot be used.
    """
    stop = Stop()
    stop.on_signals()
    async with AsyncExitStack() as stack:
        node = await make_node(settings)
        port = await listen(create_app(settings, node), stack, host=settings.host, port=settings.port)
        # Health checks are answered while the model is loaded.
        analyzer = await unless_stopped(stop, lambda: make_analyzer(settings))
        if analyzer is None:
            return
        stack.callback(analyzer.close)
        stack.push_async_callback(node.close)
        settle()
        node.start(analyzer)
        announce(url_of(settings.host, port))
        logger.info("ready: model %s", analyzer.model)
        await stop.asked.wait()
        await drain(node, stop, settings.drain_timeout_s)
        logger.info("stopping")


def make_analyzer(settings: Settings) -> Analyzer:
    """Load the model and put an analyzer around it. Takes seconds: not for the event loop.

    Raises:
        ModelError: the model cannot be loaded.
    """
    threads = settings.inference_threads or max(1, (os.cpu_count() or 2) - 1)
    classifier = None
    if settings.model != OFF:
        # Imported when it is needed: not before a health check can be answered, and not for nothing.
        from voxgender.inference import wav2vec2

        classifier = wav2vec2.load(
            settings.model,
            threads=threads,
            precision=cast("Precision", settings.precision),
            device=cast("Device", settings.device),
        )
    return Analyzer(classifier, window_ms=settings.window_ms, hop_ms=settings.hop_ms)
