"""The whole server in one process: signaling in front, a media node behind it."""

import logging
import os
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from voxgender.analysis import Analyzer
from voxgender.http.app import create_app
from voxgender.roles.hosting import Stop, freeze_loaded, listen, load_in_thread, url_of
from voxgender.roles.media import drain, make_node
from voxgender.settings import ModelOptions, ServeSettings

if TYPE_CHECKING:
    from voxgender.media.node import MediaNode

logger = logging.getLogger(__name__)

OFF = "off"
"""The name of no model: everything runs but the classification."""


class Standalone:
    """Signaling in front and a media node behind it, in one process: ``voxgender serve``."""

    def __init__(self, settings: ServeSettings) -> None:
        self._settings = settings
        self._node: MediaNode

    async def start(self, stack: AsyncExitStack) -> str:
        """Serve the page and the calls. See :meth:`voxgender.roles.running.Role.start`."""
        settings = self._settings
        self._node = await make_node(settings)
        app, http = create_app(settings, self._node), settings.http
        port = await listen(app, stack, host=http.host, port=http.port)
        # Health checks are answered while the model is loaded.
        analyzer = await load_in_thread(lambda: make_analyzer(settings.model))
        stack.callback(analyzer.close)
        stack.push_async_callback(self._node.close)
        freeze_loaded()
        self._node.start(analyzer)
        logger.info("ready: model %s", analyzer.model)
        return url_of(http.host, port)

    async def drain(self, stop: Stop) -> None:
        """Have the calls move to another server."""
        await drain(self._node, stop, self._settings.drain.drain_timeout_s)


def make_analyzer(settings: ModelOptions) -> Analyzer:
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
            precision=settings.precision,
            device=settings.device,
        )
    return Analyzer(classifier, window_ms=settings.window_ms, hop_ms=settings.hop_ms)
