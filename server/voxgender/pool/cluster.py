"""Start a pool on a Ray cluster, or on a Ray of its own on this machine, and end all that was started."""

import logging
import os
import re
import secrets
import socket
import tempfile
import warnings
from collections.abc import Callable
from contextlib import ExitStack, suppress

from voxgender.errors import ModelError, SettingsError, VoxgenderError
from voxgender.inference.labels import parse
from voxgender.inference.loading import source_of
from voxgender.pool.client import PoolClassifier
from voxgender.settings import PoolSettings
from voxgender.system import usable_cores

# Ray reads its environment when it is imported. It tells nobody that it runs.
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
if not os.environ.get("RAY_ADDRESS"):
    # Ray runs code for everybody who reaches its ports, unless they have to know a token. Given here, none is written
    # into the user's home.
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    # A Ray of one machine, as it is by default on macOS and Windows: all its processes listen on loopback alone.
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"

# Ray warns of its own code, which is for those who write it.
warnings.filterwarnings("ignore", module=r"ray\.")

import ray
from ray import serve

from voxgender.pool.replica import NAME, make_application
from voxgender.pool.wire import PATH

# They tell of each step on stderr, beside the process's own log; what fails is raised here.
for _talker in ("ray", "ray.serve"):
    logging.getLogger(_talker).setLevel(logging.ERROR)


_STORE_BYTES = 80 << 20
"""Shared memory of Ray's own; requests do not pass through it. Ray takes no less."""
_LOGGING = {"log_level": "ERROR", "enable_access_log": False}
_LOOPBACK = "127.0.0.1"
_ERROR = re.compile(r"\b(ModelError|SettingsError): (.+)")


class Cluster:
    """A pool, on the Ray cluster that ``RAY_ADDRESS`` names, else on a Ray that is started here.

    Its methods block for seconds: call them in a thread.
    """

    def __init__(self, settings: PoolSettings, on_connected: Callable[[], object] = lambda: None) -> None:
        """Note the options.

        Args:
            settings: all options.
            on_connected: called, in the thread that starts it, once this process belongs to a Ray cluster.
        """
        self._settings = settings
        self._on_connected = on_connected
        self._stack = ExitStack()

    def start(self) -> PoolClassifier:
        """Start the pool, and connect to it as a node does.

        Raises:
            ModelError: the model cannot be loaded.
            SettingsError: the labels are malformed.
            VoxgenderError: the port is taken, there is no such Ray cluster, or too few resources in it.
        """
        host, port = self._settings.http.host, self._settings.http.port
        # Before Ray starts, which takes seconds; all else of the model is found out by the replicas.
        source_of(self._settings.model.model, self._settings.model.model_revision)
        parse(self._settings.model.labels)
        address = os.environ.get("RAY_ADDRESS", "")
        if address:
            self._join(address)
            self._stack.callback(_delete)
        else:
            port = _free_port(host, port)
            self._start_ray()
        self._on_connected()
        serve.start(
            proxy_location="EveryNode" if address else "HeadOnly",
            http_options={"host": host, "port": port, "keep_alive_timeout_s": 90},
            logging_config=_LOGGING,
        )
        self._deploy()
        reached = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104 - compared, not bound
        return PoolClassifier(reached, port)

    def close(self) -> None:
        """End all that was started; a cluster that was there before stays."""
        self._stack.close()

    def _join(self, address: str) -> None:
        try:
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR, configure_logging=False)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise VoxgenderError(f"there is no Ray cluster at RAY_ADDRESS ({_first_line(error)})") from None
        self._stack.callback(ray.shutdown)

    def _start_ray(self) -> None:
        folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="vg-", ignore_cleanup_errors=True))
        self._stack.callback(ray.shutdown)
        least = self._settings.pool.replica_range[0] * (self._settings.model.inference_threads or 1)
        try:
            ray.init(
                "local",
                # Replicas that have to be there are, on however few cores.
                num_cpus=max(usable_cores(), least),
                include_dashboard=False,
                object_store_memory=_STORE_BYTES,
                log_to_driver=False,
                logging_level=logging.ERROR,
                configure_logging=False,
                _node_ip_address=_LOOPBACK,
                _temp_dir=folder,
            )
        except Exception as error:  # Ray raises the base class itself, when its processes are too slow
            raise VoxgenderError(
                f"Ray has not started ({_first_line(error)}); it needs a gigabyte of memory, and gives each of its "
                "processes 15 s to start, which is too little on a machine that is very busy"
            ) from error

    def _deploy(self) -> None:
        try:
            serve.run(make_application(self._settings), name=NAME, route_prefix=PATH, logging_config=_LOGGING)
        except RuntimeError as error:
            deployments = serve.status().applications[NAME].deployments.values()
            message = next((deployment.message for deployment in deployments), "") or str(error)
            told = _ERROR.findall(message)
            if not told:
                last = next((line for line in reversed(message.splitlines()) if line.strip()), "no reason is told")
                raise VoxgenderError(f"Ray Serve cannot start the pool ({last.strip()})") from error
            kind, message = told[-1]
            raise (ModelError if kind == "ModelError" else SettingsError)(message.strip()) from None


def _first_line(error: BaseException) -> str:
    """Return the first line of an error's message, without its full stop."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__).partition(". ")[0].rstrip(". ")


def _delete() -> None:
    """Delete the pool from a cluster that stays, and Ray Serve with it if nothing else uses that."""
    with suppress(Exception):  # whatever a cluster says that has gone
        serve.delete(NAME)
        if not serve.status().applications:
            serve.shutdown()


def _free_port(host: str, port: int) -> int:
    """Check that a port can be listened on. Returns it, or a free one for 0.

    Raises:
        VoxgenderError: it cannot.
    """
    try:
        with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            return int(probe.getsockname()[1])
    except OSError as error:
        raise VoxgenderError(
            f"cannot listen on {host} port {port} ({error.strerror}); choose another with --port"
        ) from None
