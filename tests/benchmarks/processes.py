"""Child processes: servers that are there for the length of a block, and the callers that load them."""

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

VOXGENDER = (sys.executable, "-m", "voxgender.cli")
LOOPBACK = "127.0.0.1"

_START_TIMEOUT_S = 180.0
"""A large checkpoint is converted at its first start."""
_STOP_TIMEOUT_S = 5.0


def voxgender_server(*options: str) -> tuple[str, ...]:
    return (
        *VOXGENDER,
        "serve",
        "--host",
        LOOPBACK,
        "--port",
        "0",
        "--ice-address",
        LOOPBACK,
        "--log-level",
        "warning",
        *options,
    )


@asynccontextmanager
async def a_server(command: Sequence[str], pin: Callable[[], None] | None = None) -> AsyncIterator[str]:
    """Run a server that prints its URL once it takes calls; give that URL.

    Raises:
        RuntimeError: it ended, or said nothing for three.
    """
    async with _child(command, pin) as child:
        assert child.stdout is not None
        try:
            async with asyncio.timeout(_START_TIMEOUT_S):
                said = (await child.stdout.readline()).decode()
        except TimeoutError:
            said = ""
        url = re.search(r"http://\S+", said)
        if url is None:
            raise RuntimeError(f"{' '.join(command)}: did not come up")
        yield url[0]


async def load(
    url: str, *, peers: int, seconds: float, options: Sequence[str] = (), pin: Callable[[], None] | None = None
) -> dict[str, Any]:
    """Have ``voxgender load`` place calls from a process of its own; give its report.

    Raises:
        RuntimeError: not one call came up.
    """
    command = (*VOXGENDER, "load", url, "--peers", str(peers), "--seconds", str(seconds), "--json", *options)
    async with _child(command, pin) as child:
        out, _ = await child.communicate()
        if child.returncode:
            raise RuntimeError(f"the callers of {url} gave up")
        report: dict[str, Any] = json.loads(out)
        return report


async def lines_of(command: Sequence[str]) -> list[str]:
    """Run a program to its end; give what it printed.

    Raises:
        RuntimeError: it failed.
    """
    async with _child(command, None) as child:
        out, _ = await child.communicate()
        if child.returncode:
            raise RuntimeError(f"{' '.join(command)} failed")
        return out.decode().splitlines()


@asynccontextmanager
async def _child(command: Sequence[str], pin: Callable[[], None] | None) -> AsyncIterator[asyncio.subprocess.Process]:
    child = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, preexec_fn=pin)
    try:
        yield child
    finally:
        if child.returncode is None:
            child.terminate()
            with suppress(TimeoutError):
                await asyncio.wait_for(child.wait(), _STOP_TIMEOUT_S)
        if child.returncode is None:
            child.kill()
            await child.wait()
