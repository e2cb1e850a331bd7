"""Child processes: servers that are there for the length of a block, and the callers that load them."""

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

VOXGENDER = (sys.executable, "-m", "voxgender.cli")
LOOPBACK = "127.0.0.1"

_START_TIMEOUT_S = 180.0
"""A large checkpoint is converted at its first start."""
_STOP_TIMEOUT_S = 15.0


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
        url = re.search(r"(http|ray)://\S+", said)
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


@asynccontextmanager
async def a_helper(command: Sequence[str]) -> AsyncIterator[Callable[[str], Awaitable[str]]]:
    """Run a program that answers each line of its input by a line; give what asks it.

    Asking raises ``RuntimeError`` if the program has ended.
    """
    async with _child(command, None, stdin=asyncio.subprocess.PIPE) as child:

        async def ask(line: str) -> str:
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write(f"{line}\n".encode())
            answer = await child.stdout.readline()
            if not answer:
                raise RuntimeError(f"{' '.join(command)} has ended")
            return answer.decode()

        yield ask


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
async def _child(
    command: Sequence[str], pin: Callable[[], None] | None, stdin: int | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    child = await asyncio.create_subprocess_exec(*command, stdin=stdin, stdout=asyncio.subprocess.PIPE, preexec_fn=pin)
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
