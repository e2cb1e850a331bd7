"""Several voices by one call of a Python peer."""

import asyncio
from contextlib import suppress

import pytest

from tests.lossyproxy import a_lossy_proxy
from tests.peer.conftest import Serve
from tests.rtc import Server, session_on
from tests.waits import until
from voxgender.errors import CallError
from voxgender.media.room import Room as MediaRoom
from voxgender.peer.caller import Caller
from voxgender.peer.speech import Speech
from voxgender.peer.whip import UPDATE_TRIES, Unanswered
from voxgender.protocol import AnyMessage, Result, Summary
from voxgender.sdp import MAX_VOICES

pytestmark = pytest.mark.usefixtures("nothing_left")


@pytest.fixture
def endless(dialogue_packets: list[bytes]) -> Speech:
    return Speech(dialogue_packets * 100, ())


class Room:
    """A call of several voices that is under way, and the voices of which results have come."""

    def __init__(self, url: str, voices: dict[str, Speech]) -> None:
        self.caller = Caller(url, voices)
        self.heard: dict[str | None, int | None] = {}
        """Channel of each voice of which a result has come."""
        self._news = asyncio.Event()
        self._running = asyncio.create_task(self.caller.run(self._take))

    def _take(self, message: AnyMessage) -> None:
        if isinstance(message, Result):
            self.heard[message.name] = message.channel
            self._news.set()

    async def until_heard(self, *names: str) -> None:
        async with asyncio.timeout(15):
            while not self.heard.keys() >= set(names):
                self._news.clear()
                await self._news.wait()

    async def hang_up(self) -> None:
        self.caller.hang_up()
        await self._running


def voices_of(server: Server) -> list[str]:
    """The media lines of the voices that a server's only call has."""
    return [voice["mid"] for voice in session_on(server.node).status()["voices"]]


async def test_each_voice_is_reported_by_its_name_and_leaves_when_it_is_over(
    serve: Serve, short_speech: Speech, dialogue_packets: list[bytes]
) -> None:
    """A call of several people could be placed by hand alone, and a report knew of one voice."""
    server = await serve()
    longer = Speech(dialogue_packets[25:150], ())
    messages: list[AnyMessage] = []
    report = await Caller(server.url, {"alice": short_speech, "Bob & co": longer}).run(messages.append)
    assert report.ended == "played"
    assert set(report.voices) == {"alice", "Bob & co"}
    alice, bob = report.voices.values()
    assert (alice.seconds, bob.seconds, report.seconds) == (1.5, 2.5, 2.5)
    assert min(alice.results, bob.results) >= 5
    assert report.results == alice.results + bob.results
    assert [turn.label for turn in alice.turns] == ["male"]
    summaries = [message for message in messages if isinstance(message, Summary)]
    # She left before him: her summary is not one of those at the end.
    assert [summary.name for summary in summaries] == ["alice", "Bob & co", None]
    assert any(isinstance(message, Result) for message in messages[messages.index(summaries[0]) :])
    assert (alice.summary, bob.summary, report.summary) == tuple(summaries)
    assert report.latency_ms is not None
    assert alice.latency_ms is not None
    assert report.latency_ms.count > alice.latency_ms.count
    assert not server.node.places.sessions()


async def test_voices_join_and_leave_in_mid_call(serve: Serve, endless: Speech) -> None:
    server = await serve()
    room = Room(server.url, {"alice": endless})
    await room.until_heard("alice")
    await room.caller.add("bob", endless)
    await room.until_heard("bob")
    with pytest.raises(ValueError, match="already"):
        await room.caller.add("bob", endless)
    await room.caller.remove("alice")
    assert len(voices_of(server)) == 1
    with pytest.raises(ValueError, match="hang up"):
        await room.caller.remove("bob")
    with pytest.raises(ValueError, match="no voice"):
        await room.caller.remove("carol")
    await room.hang_up()
    assert not server.node.places.sessions()
    latency = room.caller.recorder.report(ended="hung_up", voices={"bob": room.caller._voices["bob"].recorder})
    assert latency.latency_ms is not None
    # By its own place on the room's clock: otherwise it would be late by all the time before it came.
    assert 0 < latency.latency_ms.p50 < 1_000


async def test_a_voice_for_which_there_is_no_place_is_refused_and_the_others_go_on(
    serve: Serve, endless: Speech
) -> None:
    server = await serve(max_sessions=1)
    room = Room(server.url, {"alice": endless})
    await room.until_heard("alice")
    with pytest.raises(CallError, match="too small"):
        await room.caller.add("bob", endless)
    room.heard.clear()
    await room.until_heard("alice")
    assert len(voices_of(server)) == 1
    await room.hang_up()


@pytest.mark.parametrize("name", ["", " alice", "a\nb", "x" * 65])
async def test_names_that_no_voice_can_have_are_refused(short_speech: Speech, name: str) -> None:
    with pytest.raises(ValueError, match="1 to 64 characters"):
        Caller("http://127.0.0.1:9", {name: short_speech})


@pytest.mark.parametrize("count", [0, MAX_VOICES + 1])
async def test_a_room_has_one_to_eight_voices(short_speech: Speech, count: int) -> None:
    with pytest.raises(ValueError, match="1 to 8 voices"):
        Caller("http://127.0.0.1:9", {str(number): short_speech for number in range(count)})


async def test_a_call_of_one_voice_takes_no_others(serve: Serve, short_speech: Speech) -> None:
    server = await serve()
    caller = Caller(server.url, short_speech)
    with pytest.raises(CallError, match="begin with voices by their names"):
        await caller.add("bob", short_speech)
    with pytest.raises(CallError, match="wait until it is connected"):
        await Caller(server.url, {"alice": short_speech}).add("bob", short_speech)


async def test_a_server_that_takes_one_voice_is_told_of_in_one_sentence(
    serve: Serve, endless: Speech, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of an older version hears the first line alone, and says nothing of voices."""
    server = await serve()
    monkeypatch.setattr(MediaRoom, "hello", lambda _, hello: hello)
    with pytest.raises(CallError, match="takes one voice in a call"):
        await Caller(server.url, {"alice": endless, "bob": endless}).run()
    assert not server.node.places.sessions()


async def test_an_answer_that_is_lost_once_is_asked_for_again(serve: Serve, endless: Speech) -> None:
    server = await serve()
    async with a_lossy_proxy(server.url) as proxy:
        room = Room(proxy.url, {"alice": endless})
        await room.until_heard("alice")
        proxy.losing["PATCH"] = UPDATE_TRIES - 1
        await room.caller.add("bob", endless)
        assert proxy.lost["PATCH"] == UPDATE_TRIES - 1
        await room.until_heard("bob")
        # The offer came three times, and is one voice.
        assert room.heard["bob"] == 1
        assert server.node.live == 2
        await room.hang_up()


@pytest.mark.parametrize("change", ["add", "remove"])
async def test_a_voice_does_not_stay_on_the_server_for_answers_that_are_lost(
    serve: Serve, endless: Speech, change: str
) -> None:
    """A later offer whose answer was lost left its voice, and its place, on the server until the call ended."""
    server = await serve()

    async def add(room: Room) -> None:
        await room.caller.add("carol", endless)

    async def remove(room: Room) -> None:
        await room.caller.remove("bob")

    todo = {"add": add, "remove": remove}
    async with a_lossy_proxy(server.url) as proxy:
        room = Room(proxy.url, {"alice": endless, "bob": endless})
        await room.until_heard("alice", "bob")
        proxy.losing["PATCH"] = UPDATE_TRIES
        with pytest.raises(Unanswered):
            await todo[change](room)
        expected = {"add": 2, "remove": 1}[change]
        assert server.node.live == {"add": 3, "remove": 1}[change]
        await until(lambda: server.node.live == expected)
        # The next offer has nothing of the past.
        await room.caller.add("dave", endless)
        await room.until_heard("dave")
        assert server.node.live == expected + 1
        await room.hang_up()
    assert not server.node.places.sessions()


async def test_a_call_that_ends_unsettled_leaves_nothing(serve: Serve, endless: Speech) -> None:
    server = await serve()
    async with a_lossy_proxy(server.url) as proxy:
        room = Room(proxy.url, {"alice": endless})
        await room.until_heard("alice")
        proxy.losing["PATCH"] = 1_000
        adding = asyncio.create_task(room.caller.add("bob", endless))
        await until(lambda: proxy.lost["PATCH"] > 0)
        adding.cancel()
        with suppress(asyncio.CancelledError):
            await adding
        await room.hang_up()
    assert not server.node.places.sessions()
