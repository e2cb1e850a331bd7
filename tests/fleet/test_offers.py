"""An offer is answered once, whatever gets lost on the way."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.rtc import LOOPBACK, ToneTrack, a_peer
from tests.waits import until
from voxgender.engine import Engine
from voxgender.errors import NotReady
from voxgender.fleet.offers import Offers
from voxgender.http.problems import Problem
from voxgender.media.node import MediaNode


@pytest.fixture
async def node(engine: Engine) -> AsyncIterator[MediaNode]:
    node = MediaNode(ice_addresses=[LOOPBACK])
    node.start(engine)
    yield node
    await node.close()


@pytest.fixture
async def offer() -> str:
    async with a_peer(ToneTrack()) as peer:
        return await peer.offer()


async def test_an_offer_that_comes_again_gets_the_same_answer(node: MediaNode, offer: str) -> None:
    offers = Offers(node)
    first, second = await asyncio.gather(*(offers.answer("id", offer, None) for _ in range(2)))
    assert first == second == await offers.answer("id", offer, None)
    assert node.live == 1


async def test_the_same_offer_under_another_id_is_another_call(node: MediaNode, offer: str) -> None:
    offers = Offers(node)
    assert await offers.answer("one", offer, None) != await offers.answer("two", offer, None)
    assert node.live == 2


async def test_an_offer_that_was_withdrawn_before_it_came_is_not_answered(node: MediaNode, offer: str) -> None:
    offers = Offers(node)
    await offers.withdraw("id")
    with pytest.raises(Problem, match="withdrawn"):
        await offers.answer("id", offer, None)
    assert node.live == 0


async def test_an_offer_that_is_withdrawn_while_it_is_answered_leaves_nothing(node: MediaNode, offer: str) -> None:
    offers = Offers(node)
    answering = asyncio.create_task(offers.answer("id", offer, None))
    await asyncio.sleep(0)
    await offers.withdraw("id")
    with pytest.raises(Problem, match="withdrawn"):
        await answering
    assert node.live == 0


async def test_an_offer_that_is_withdrawn_after_its_answer_ends_its_session(node: MediaNode, offer: str) -> None:
    offers = Offers(node)
    await offers.answer("id", offer, None)
    await offers.withdraw("id")
    await offers.withdraw("id")
    assert node.live == 0


async def test_whoever_asked_may_leave_and_the_answer_is_there_for_who_asks_again(node: MediaNode, offer: str) -> None:
    offers = Offers(node)
    answering = asyncio.create_task(offers.answer("id", offer, None))
    await asyncio.sleep(0)
    answering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await answering
    await offers.answer("id", offer, None)
    assert node.live == 1


async def test_a_refusal_holds_for_the_id(node: MediaNode, offer: str) -> None:
    node.drain()
    for _ in range(2):
        with pytest.raises(NotReady):
            await Offers(node).answer("id", offer, None)


async def test_ids_are_not_remembered_for_ever(node: MediaNode, offer: str) -> None:
    offers = Offers(node, remembered_s=0.0)
    await offers.withdraw("id")
    await until(lambda: not offers._answers)
    await offers.answer("id", offer, None)
    assert node.live == 1
