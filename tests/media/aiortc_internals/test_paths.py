"""Checks of a path: they end when their call does, and ask for consent with its turns."""

import asyncio
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from aioice import stun

from tests.clock import run_virtual
from voxgender.engine.schedule import EARLY_S, TICK_S, Phase
from voxgender.media.aiortc_internals.paths import CONSENT_INTERVAL_S, Consent, PathCheck, Paths

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


@pytest.mark.parametrize("ticks", [3, 31], ids=["the usual hop", "the longest hop"])
def test_consent_is_asked_for_with_the_calls_turns_and_within_the_bounds_of_its_rfc(ticks: int) -> None:
    """A core woke for each check, between two ticks (RFC 7675 section 5.1 has one every 4 to 6 s)."""
    phase = Phase(2, ticks * TICK_S)
    asked: list[float] = []

    def answer(request: stun.Message, address: tuple[str, int]) -> None:
        asked.append(asyncio.get_running_loop().time())
        check = protocol.transactions[request.transaction_id]
        check.response_received(stun.Message(stun.Method.BINDING, stun.Class.RESPONSE), address)

    connection: Any = SimpleNamespace(
        build_request=lambda pair, nominate: stun.Message(stun.Method.BINDING, stun.Class.REQUEST),
        remote_password="secret",
    )
    protocol: Any = SimpleNamespace(
        receiver=connection, transactions={}, send_stun=answer, transport=SimpleNamespace(phase=phase)
    )
    connection._nominated = {1: SimpleNamespace(protocol=protocol, remote_addr=ADDRESS)}

    async def main() -> None:
        paths = Paths(connection, lambda: None, Consent())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(300.0):
                await paths.keep_consent()

    run_virtual(main())
    assert len(asked) > 45
    for before, after in pairwise(asked):
        assert CONSENT_INTERVAL_S[0] - EARLY_S <= after - before <= CONSENT_INTERVAL_S[1] + EARLY_S
        assert phase.next_turn(after - 2 * EARLY_S) == pytest.approx(after, abs=EARLY_S)
