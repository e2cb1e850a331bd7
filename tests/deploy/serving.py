"""A server that is started as its users start it."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE_S = 60.0


@contextmanager
def serving(command: list[str], environment: dict[str, str]) -> Iterator[str]:
    """Run ``voxgender serve`` by a command; yield its URL, and stop it."""
    arguments = [*command, "serve", "--port", "0", "--ice-address", "127.0.0.1"]
    with subprocess.Popen(
        arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as started:
        assert started.stdout is not None
        try:
            # "voxgender is ready: open URL"
            yield started.stdout.readline().rpartition(" ")[2].strip()
        finally:
            started.send_signal(signal.SIGTERM)
            _, errors = started.communicate(timeout=PATIENCE_S)
    assert started.returncode == 0, errors
    assert "Traceback" not in errors
