"""A node has so many places: some calls get one, and where all are taken some give way."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from voxgender.audiostream import StreamFormat
from voxgender.engine import Engine
from voxgender.errors import NotReady, TooManySessions
from voxgender.media.load import Load
from voxgender.media.places import GIVE_WAY_S, Places
from voxgender.media.streamsession import StreamSession

Begin = Callable[..., Awaitable[StreamSession]]


@pytest.fixture
async def begin(engine: Engine) -> AsyncIterator[Begin]:
    begun: list[StreamSession] = []

    async def begin(
        places: Places, name: str, *, subject: str | None = None, address: str = "", channels: int = 1
    ) -> StreamSession:
        """Begin a call whose client has not connected yet."""
        await places.free_places(subject, address, channels)
        form = StreamFormat(channels=channels)
        session = StreamSession(name, engine, form, ticket=f"for {name}", on_ended=places.remove)
        places.add(session, subject, address)
        begun.append(session)
        return session

    yield begin
    for session in begun:
        await session.leave()


async def connect(session: StreamSession) -> None:
    session.connect()
    await session.push(bytes(640))
    assert session.state == "connected"


def names(places: Places) -> list[str]:
    return [session.id for session in places.sessions()]


async def test_where_all_places_are_taken_the_oldest_without_a_connection_gives_way(begin: Begin) -> None:
    """Offers that never connect filled the server for 15 s; first those of the address that asks for more."""
    places = Places(3, give_way_s=0.0)
    await begin(places, "first", address="192.0.2.1")
    second = await begin(places, "second", address="192.0.2.2")
    await begin(places, "third", address="192.0.2.2")
    await begin(places, "fourth", address="192.0.2.2")
    assert names(places) == ["first", "third", "fourth"]
    assert second.ended_for == "gave_way"
    assert second.state == "closed"
    assert places.find("second") is None
    await begin(places, "fifth", address="192.0.2.9")
    assert names(places) == ["third", "fourth", "fifth"]
    assert places.taken == 3


async def test_calls_that_are_up_or_have_only_begun_do_not_give_way(begin: Begin) -> None:
    places = Places(2)
    up = await begin(places, "up")
    await connect(up)
    begun = await begin(places, "begun")
    up.started_at -= GIVE_WAY_S
    with pytest.raises(NotReady, match="full"):
        await begin(places, "late")
    begun.started_at -= GIVE_WAY_S
    await begin(places, "late")
    assert names(places) == ["up", "late"]


async def test_none_is_taken_beyond_the_limit_though_many_ask_at_once(begin: Begin) -> None:
    places = Places(2, give_way_s=0.0)
    up = await begin(places, "up")
    await connect(up)
    await begin(places, "waiting")
    begun = await asyncio.gather(*(begin(places, f"late {number}") for number in range(5)), return_exceptions=True)
    assert places.taken == 2
    assert any(isinstance(one, StreamSession) for one in begun)
    assert "up" in names(places)


async def test_no_call_ends_for_one_that_finds_no_room_all_the_same(begin: Begin) -> None:
    places = Places(4, give_way_s=0.0)
    up = await begin(places, "up", channels=2)
    await connect(up)
    await begin(places, "waiting")
    with pytest.raises(NotReady, match="full"):
        await begin(places, "large", channels=3)
    assert names(places) == ["up", "waiting"]
    with pytest.raises(NotReady, match="too small for so many voices: it takes 4"):
        await begin(places, "larger", channels=5)


async def test_a_call_does_not_give_way_to_its_own_voices(begin: Begin) -> None:
    places = Places(3, give_way_s=0.0)
    session = await begin(places, "one")
    await places.free_places_for_voices(session, 2)
    with pytest.raises(NotReady, match="too small"):
        await places.free_places_for_voices(session, 3)
    other = await begin(places, "other")
    await places.free_places_for_voices(session, 2)
    assert names(places) == ["one"]
    assert other.ended_for == "gave_way"


async def test_a_subject_s_calls_are_counted_and_those_of_nobody_are_not(begin: Begin) -> None:
    places = Places(per_subject=2)
    await begin(places, "one", subject="ann")
    two = await begin(places, "two", subject="ann")
    with pytest.raises(TooManySessions, match="2 calls already"):
        await begin(places, "three", subject="ann")
    with pytest.raises(TooManySessions, match="2 calls already"):
        await places.free_places_for_voices(two, 1)
    await begin(places, "of another", subject="bob")
    for number in range(3):
        await begin(places, f"anonymous {number}")
    await two.end("deleted")
    await begin(places, "three", subject="ann")


async def test_each_channel_of_a_stream_counts_among_its_subject_s_calls(begin: Begin) -> None:
    """A subject that may have two calls had eight voices classified, in one stream of eight channels."""
    places = Places(per_subject=2)
    with pytest.raises(TooManySessions):
        await begin(places, "of three", subject="ann", channels=3)
    await begin(places, "of two", subject="ann", channels=2)
    with pytest.raises(TooManySessions):
        await begin(places, "one more", subject="ann")


async def test_a_node_that_does_not_keep_up_takes_no_call(begin: Begin) -> None:
    load = Load()
    places = Places(load=load)
    load.overloaded = True
    with pytest.raises(NotReady, match="does not keep up") as refused:
        await begin(places, "one")
    assert refused.value.code == "overloaded"
