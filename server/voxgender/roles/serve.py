"""Run the role ``serve``: signaling and a media node in one process."""

import logging
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from voxgender.engine import Engine
from voxgender.engine.loading import OFF, load_classifier
from voxgender.engine.schedule import check_hop
from voxgender.http.app import create_app
from voxgender.inference.classifier import Classifier
from voxgender.inference.labels import parse
from voxgender.roles.hosting import Stop, freeze_loaded, listen, listen_for_metrics, load_in_thread, url_of
from voxgender.roles.media import drain, make_node, webhooks_of
from voxgender.roles.modelswap import ModelSwap
from voxgender.settings import ModelOptions, ServeSettings

if TYPE_CHECKING:
    from voxgender.media.node import MediaNode

logger = logging.getLogger(__name__)


class Standalone:
    """Serves signaling and a media node in one process: ``voxgender serve``."""

    def __init__(self, settings: ServeSettings) -> None:
        self._settings = settings
        self._node: MediaNode
        self._models = ModelSwap(settings.model, make_classifier)

    async def start(self, stack: AsyncExitStack) -> str:
        """Serve the page and the calls. See :meth:`voxgender.roles.running.Role.start`."""
        settings = self._settings
        webhooks = webhooks_of(settings.webhooks)
        self._node = await make_node(settings, observers=[] if webhooks is None else [webhooks])
        app, http = create_app(settings, self._node, models=self._models), settings.http
        port = await listen(app, stack, host=http.host, port=http.port)
        await listen_for_metrics(settings.metrics, stack)
        # Health checks are answered while the model loads.
        engine = await load_in_thread(lambda: make_engine(settings.model))
        stack.callback(engine.close)
        if webhooks is not None:
            stack.push_async_callback(webhooks.close)
            await webhooks.start()
        stack.push_async_callback(self._node.close)
        freeze_loaded()
        self._node.start(engine)
        self._models.engine = engine
        stack.push_async_callback(self._models.close)
        logger.info("ready: model %s", engine.model)
        return url_of(http.host, port)

    async def drain(self, stop: Stop) -> None:
        """Move the calls to another server."""
        await drain(self._node, stop, self._settings.drain.drain_timeout_s)

    def reload(self) -> None:
        """Load the model again."""
        self._models.reload_soon()


def make_classifier(settings: ModelOptions) -> Classifier:
    """Load a model from the options, or connect to the pool that has one. See :func:`make_engine`."""
    if settings.pool is not None:
        # Imported late, as it is seldom used.
        from voxgender.pool.client import PoolClassifier

        return PoolClassifier(*settings.pool)
    return load_classifier(
        settings.model,
        revision=settings.model_revision,
        labels=parse(settings.labels),
        precision=settings.precision,
        device=settings.device,
        threads=settings.inference_threads,
    )


def make_engine(settings: ModelOptions) -> Engine:
    """Load the engine from the options. Takes seconds, so call it in a thread.

    Raises:
        ModelError: the model cannot be loaded, or the pool that has it does not answer.
        SettingsError: the hop does not fit, or the labels are malformed.
    """
    check_hop(settings.hop_ms)
    classifier = None if settings.model == OFF else make_classifier(settings)
    return Engine(classifier, window_ms=settings.window_ms, hop_ms=settings.hop_ms)
