"""Checks of a path end when their call does."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aioice import stun

from voxgender.media.aiortc_internals.paths import PathCheck

ADDRESS = ("192.0.2.1", 5_000)


def a_check() -> PathCheck:
    request = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
    connection = SimpleNamespace(build_request=lambda pair, nominate: request, remote_password="secret")
    protocol = SimpleNamespace(receiver=connection, transactions={})
    pair: Any = SimpleNamespace(protocol=protocol, remote_addr=ADDRESS)
    return PathCheck(pair)


@pytest.mark.parametrize("steps", range(4))
async def test_a_check_that_is_answered_as_its_call_ends_is_ended(steps: int) -> None:
    """The end was forgotten, and a call in twenty that hung up stayed for half a minute; so did a server's stop."""
    check = a_check()
    waiting = asyncio.create_task(check.answered(5.0))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    check.response_received(stun.Message(stun.Method.BINDING, stun.Class.RESPONSE), ADDRESS)
    for _ in range(steps):
        await asyncio.sleep(0)
    if waiting.cancel():
        with pytest.raises(asyncio.CancelledError):
            await waiting
    else:
        assert waiting.result()
