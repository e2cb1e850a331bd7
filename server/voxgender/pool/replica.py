"""Run a pool's model on Ray Serve: the deployment, and the application for configuration files.

A configuration file names ``voxgender.pool.replica:application``, with the options of ``voxgender pool`` as its
arguments: ``{model: owner/name, replicas: 1-8, device: cuda}``.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
from ray import serve
from starlette.requests import Request
from starlette.responses import Response

from voxgender import options
from voxgender.engine.loading import load_classifier
from voxgender.inference.labels import parse
from voxgender.pool import wire
from voxgender.pool.service import Asked, Refused, Service
from voxgender.settings import ClassifierOptions, PoolSettings

NAME = "voxgender"
"""Name of the application in its Ray cluster."""

GATHER_S = 0.002
"""Time that the first request of a batch waits for others."""
QUEUED_PER_REPLICA = 2
"""Requests of a replica, on average over some seconds, above which there is another one."""
_ONGOING = 32
_QUEUED = 128
"""Requests that a proxy holds back while all replicas have ``_ONGOING``; more are refused at once."""


def _windows(requests: Sequence[Asked]) -> int:
    return sum(len(asked.windows) for asked in requests)


@serve.deployment(
    name="Replica",
    max_ongoing_requests=_ONGOING,
    max_queued_requests=_QUEUED,
    health_check_period_s=5.0,
    health_check_timeout_s=20.0,
    graceful_shutdown_timeout_s=5.0,
    graceful_shutdown_wait_loop_s=0.5,
    max_constructor_retry_count=1,
)
class Replica:
    """Runs the model, on one thread. A request is that of one node, a batch those of many.

    Args:
        settings: the model.

    Raises:
        ModelError: the model cannot be loaded.
    """

    def __init__(self, settings: ClassifierOptions) -> None:
        self._service = Service(
            load_classifier(
                settings.model,
                revision=settings.model_revision,
                labels=parse(settings.labels),
                precision=settings.precision,
                device=settings.device,
                threads=settings.inference_threads or 1,
            )
        )
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._headers = {wire.REPLICA_HEADER: serve.get_replica_context().replica_id.unique_id}

    async def __call__(self, request: Request) -> Response:
        """Answer one HTTP request: ``GET`` tells the model, ``POST`` classifies windows."""
        arrived_at = time.monotonic()
        if request.method == "GET":
            return self._packed(msgspec.msgpack.encode(self._service.description))
        if request.method != "POST":
            return Response("GET and POST are answered.\n", 405)
        body = bytearray()
        async for piece in request.stream():
            body += piece
            if len(body) > wire.MAX_BYTES:
                return Response(f"At most {wire.MAX_BYTES} bytes are taken.\n", 413)
        try:
            asked = self._service.read(body, arrived_at)
        except Refused as refused:
            return self._packed(refused.body, refused.status)
        return self._packed(await self._classify(asked))

    @serve.batch(
        max_batch_size=wire.MAX_WINDOWS, batch_wait_timeout_s=GATHER_S, max_concurrent_batches=1, batch_size_fn=_windows
    )
    async def _classify(self, requests: list[Asked]) -> list[bytes]:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._service.classify, requests)

    async def check_health(self) -> None:
        """Have the model classify a window; Ray Serve replaces a replica that fails, or does not answer."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._service.check)

    def _packed(self, body: bytes, status: int = 200) -> Response:
        return Response(body, status, self._headers, media_type=wire.MEDIA_TYPE)


def make_application(settings: PoolSettings) -> serve.Application:
    """Return the application that runs a pool.

    Each replica is given as many cores as its model has threads, and one GPU with ``--device cuda``.
    """
    low, high = settings.pool.replica_range
    # Typed as the class that it decorates.
    deployment: Any = Replica
    application: serve.Application = deployment.options(
        autoscaling_config={
            "min_replicas": low,
            "initial_replicas": low,
            "max_replicas": high,
            "target_ongoing_requests": QUEUED_PER_REPLICA,
            "look_back_period_s": 15.0,
            "upscale_delay_s": 5.0,
            "downscale_delay_s": 120.0,
        },
        ray_actor_options={
            "num_cpus": settings.model.inference_threads or 1,
            "num_gpus": 1 if settings.model.device == "cuda" else 0,
        },
    ).bind(settings.model)
    return application


def application(arguments: Mapping[str, Any]) -> serve.Application:
    """Return the application for a configuration file of Ray Serve.

    Args:
        arguments: options of ``voxgender pool`` by their names, as ``model`` and ``replicas``. Those of the
            environment count where there is none, as everywhere.

    Raises:
        SettingsError: an option has a value that cannot be used.
        TypeError: there is no such option.
    """
    return make_application(options.read(PoolSettings, arguments))
