"""Load another model while calls go on, and replace the present one with it."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace

from voxgender.engine import Engine
from voxgender.engine.loading import OFF
from voxgender.errors import ModelError, NotReady, Starting, VoxgenderError
from voxgender.http.models import ModelRequest
from voxgender.inference.classifier import Classifier
from voxgender.roles.hosting import load_in_thread
from voxgender.settings import ModelOptions

logger = logging.getLogger(__name__)

RETRY_S = 5


class ModelSwap:
    """Swaps the model of an engine, one at a time; implements ``voxgender.http.models.Models``.

    A model is loaded and tried beside the present one, which goes on serving if that fails. Meanwhile both are in
    memory.

    Args:
        settings: options of the present model.
        load: loads a model; called in a thread.
    """

    def __init__(self, settings: ModelOptions, load: Callable[[ModelOptions], Classifier]) -> None:
        self.engine: Engine | None = None
        """The engine, once it is there."""
        self._settings = settings
        self._load = load
        self._task: asyncio.Task[str] | None = None

    async def swap(self, wanted: ModelRequest) -> str:
        """Swap the model. See ``voxgender.http.models.Models``."""
        if self.engine is None:
            raise Starting
        if self._task is not None and not self._task.done():
            raise NotReady("Another model is being loaded.", code="model_loading", retry_after_s=RETRY_S)
        self._task = asyncio.create_task(self._swap(self.engine, wanted), name="model-swap")
        # A client that leaves does not stop it.
        return await asyncio.shield(self._task)

    def reload_soon(self) -> None:
        """Load the present model again, from its directory or the hub; the log tells how that went."""
        if self.engine is not None and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._swap(self.engine, ModelRequest()), name="model-swap")
            self._task.add_done_callback(_read)

    async def close(self) -> None:
        """Stop waiting for a model that is being loaded."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _swap(self, engine: Engine, wanted: ModelRequest) -> str:
        settings = self._settings
        if settings.pool is not None:
            raise ModelError(f"the model is that of the pool at {settings.inference}, and is changed there")
        if wanted.model is not None:
            # Revision and labels belong to a model: those of the old one are not the new one's.
            settings = replace(settings, model=wanted.model, model_revision="", labels=())
        if wanted.revision is not None:
            settings = replace(settings, model_revision=wanted.revision)
        if wanted.labels is not None:
            settings = replace(settings, labels=wanted.labels)

        def work() -> str:
            if settings.model == OFF:
                raise ModelError("model off: calls cannot be left without a model")
            classifier = self._load(settings)
            # Here, since it waits for the present turn.
            engine.swap(classifier)
            return classifier.name

        try:
            name = await load_in_thread(work)
        except VoxgenderError as error:
            logger.warning("the model stays %s: %s", engine.model, error)
            raise
        self._settings = settings
        logger.info("the model is now %s", name)
        return name


def _read(task: "asyncio.Task[str]") -> None:
    """Read a task's error, which the log has told already."""
    if not task.cancelled():
        task.exception()
