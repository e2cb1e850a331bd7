"""The run loop of every role: it starts, announces, drains and ends, and a stop ends it in any state."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from voxgender.errors import ModelError
from voxgender.roles.hosting import Stop
from voxgender.roles.running import run


class RecordingRole:
    """Notes what is asked of it."""

    def __init__(self, error: Exception | None = None) -> None:
        self.calls: list[str] = []
        self.started = asyncio.Event()
        self.may_start = asyncio.Event()
        self._error = error

    async def start(self, stack: AsyncExitStack) -> str:
        stack.callback(self.calls.append, "closed")
        self.started.set()
        await self.may_start.wait()
        if self._error is not None:
            raise self._error
        self.calls.append("ready")
        return "http://here/"

    def reload(self) -> None:
        raise AssertionError("nobody asked for it")

    async def drain(self, stop: Stop) -> None:
        self.calls.append("drained at once" if stop.now.is_set() else "drained")


async def test_a_role_is_announced_drained_and_closed() -> None:
    role, stop, urls = RecordingRole(), Stop(), list[str]()
    role.may_start.set()

    def announce(url: str) -> None:
        urls.append(url)
        stop.drain()

    await run(role, announce, stop)
    assert urls == ["http://here/"]
    assert role.calls == ["ready", "drained", "closed"]


async def test_sigint_drains_nothing() -> None:
    role, stop = RecordingRole(), Stop()
    role.may_start.set()
    await run(role, lambda _: stop.at_once(), stop)
    assert role.calls == ["ready", "drained at once", "closed"]


@pytest.mark.parametrize("how", ["drain", "at_once"])
async def test_a_role_that_never_becomes_ready_is_ended_by_a_stop(how: str) -> None:
    """Signaling with a registry that it could never read took neither SIGTERM nor SIGINT."""
    role, stop, urls = RecordingRole(), Stop(), list[str]()
    running = asyncio.create_task(run(role, urls.append, stop))
    await role.started.wait()
    getattr(stop, how)()
    await running
    assert role.calls == ["closed"]
    assert urls == []
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_role_that_cannot_start_is_closed_and_says_why() -> None:
    role = RecordingRole(ModelError("no such model"))
    role.may_start.set()
    with pytest.raises(ModelError, match="no such model"):
        await run(role, stop=Stop())
    assert role.calls == ["closed"]
