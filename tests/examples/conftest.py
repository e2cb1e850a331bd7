"""The programs in ``examples/``, run as their users run them: one command, and Ctrl-C at the end."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest
import pytest_asyncio

from tests.browser.conftest import babble, browser_name, browsers, open_browser, open_page, recordings, share_loop

__all__ = ["babble", "browser_name", "browsers", "open_browser", "open_page", "recordings"]

EXAMPLES = Path(__file__).parents[2] / "examples"
PATIENCE_S = 100


class Example:
    """A running example; ``printed`` is all that it wrote to stdout so far, ``ended_by`` the signal that ends it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.printed = ""
        self.ended_by = signal.SIGINT
        self._process = process

    async def says(self, pattern: str) -> re.Match[str]:
        """Read on until a line matches; return the match."""
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            while line := (await self._process.stdout.readline()).decode():
                self.printed += line
                if found := re.search(pattern, line):
                    return found
        assert self._process.stderr is not None
        complaints = (await self._process.stderr.read()).decode()
        raise AssertionError(f"it ended without a line like {pattern}:\n{self.printed}{complaints}")

    async def kill(self) -> None:
        """Kill it alone, as the button of an editor does; return once all that it started has ended."""
        self._process.kill()
        await self._process.wait()
        async with asyncio.timeout(30):
            with suppress(ProcessLookupError):
                while True:
                    os.killpg(self._process.pid, 0)
                    await asyncio.sleep(0.05)

    async def stop(self) -> None:
        """End it by its signal, that of Ctrl-C, with all that it started; it has nothing to complain of."""
        if self._process.returncode == -signal.SIGKILL:
            return
        # To the whole group, as a terminal does.
        os.killpg(self._process.pid, self.ended_by)
        _, complaints = await asyncio.wait_for(self._process.communicate(), 30)
        assert self._process.returncode == 0
        assert b"Traceback" not in complaints, complaints.decode()
        with pytest.raises(ProcessLookupError):
            os.killpg(self._process.pid, 0)


RunExample = Callable[..., Awaitable[Example]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    share_loop(item for item in items if Path(__file__).parent in item.path.parents)


@pytest_asyncio.fixture(loop_scope="session")
async def run_example() -> AsyncIterator[RunExample]:
    """A function that starts an example with options; it is stopped at the test's end."""
    async with AsyncExitStack() as stack:

        async def run(name: str, *options: str) -> Example:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                str(EXAMPLES / name),
                *options,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
            example = Example(process)
            stack.push_async_callback(example.stop)
            return example

        yield run
