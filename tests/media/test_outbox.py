"""Messages reach each listener in order, and slow listeners cost the others nothing."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from aiortc.exceptions import InvalidStateError

from voxgender.errors import NotReady
from voxgender.media.outbox import MAX_BUFFERED, MAX_CHANNELS, MAX_FOLLOWED, MAX_FOLLOWERS, REMEMBERED, Outbox
from voxgender.protocol import Change, Hello, Message, Result, Summary, Warning, decode

HELLO = Hello(session="s", model="m", window_ms=1_000, hop_ms=192)
RESULT = Result(seq=1, start=0.0, end=0.2, label="no_speech", confidence=1.0, scores=None, latency_ms=1.0, stages_ms={})
CHANGE = Change(at=0.0, from_="no_speech", to="male", confidence=0.9)


class Channel:
    """A data channel's face; the real one is used in ``test_session.py``, where its failures cannot be made."""

    def __init__(
        self, label: str = "x", *, ordered: bool = True, retransmits: int | None = None, protocol: str = ""
    ) -> None:
        self.label = label
        self.protocol = protocol
        self.ordered = ordered
        self.maxRetransmits = retransmits
        self.maxPacketLifeTime: int | None = None
        self.readyState = "open"
        self.bufferedAmount = 0
        self.fails = False
        self.sent: list[str] = []

    def send(self, text: str) -> None:
        if self.fails:
            raise InvalidStateError
        self.sent.append(decode(text).type)


def attach(outbox: Outbox, *args: Any, **kwargs: Any) -> Channel:
    channel = Channel(*args, **kwargs)
    outbox.attach(channel)  # type: ignore[arg-type]
    return channel


@pytest.mark.parametrize(
    ("label", "shape", "gets"),
    [
        ("results", {"ordered": False, "retransmits": 0}, ["hello", "result"]),
        ("results", {}, ["hello", "result", "change"]),
        ("events", {}, ["hello", "change"]),
        ("events", {"ordered": False, "retransmits": 0}, ["hello", "result", "change"]),
        ("captions", {}, ["hello", "result", "change"]),
    ],
)
def test_a_channel_gets_what_its_label_and_shape_ask_for(label: str, shape: dict[str, Any], gets: list[str]) -> None:
    outbox = Outbox(HELLO)
    channel = attach(outbox, label, **shape)
    outbox.post(RESULT)
    outbox.post(CHANGE)
    assert channel.sent == gets


def test_a_channel_that_comes_late_is_told_the_events_so_far() -> None:
    outbox = Outbox(HELLO)
    outbox.post(RESULT)
    outbox.post(CHANGE)
    assert attach(outbox).sent == ["hello", "change"]
    assert attach(outbox, "results", ordered=False, retransmits=0).sent == ["hello"]


def test_what_is_remembered_is_bounded() -> None:
    outbox = Outbox(HELLO)
    for _ in range(10 * REMEMBERED):
        outbox.post(CHANGE)
    assert len(attach(outbox).sent) == 1 + REMEMBERED


def test_a_client_that_does_not_read_misses_results_but_no_event() -> None:
    outbox = Outbox(HELLO)
    channel = attach(outbox)
    channel.bufferedAmount = MAX_BUFFERED + 1
    outbox.post(RESULT)
    outbox.post(CHANGE)
    assert channel.sent == ["hello", "change"]


def test_a_channel_that_closes_or_fails_harms_nobody() -> None:
    outbox = Outbox(HELLO)
    closed, failing, healthy = attach(outbox), attach(outbox), attach(outbox)
    closed.readyState = "closed"
    failing.fails = True
    outbox.post(CHANGE)
    assert healthy.sent == ["hello", "change"]
    assert outbox.channels == 2


async def test_a_follower_is_told_the_events_so_far_and_everything_after() -> None:
    outbox = Outbox(HELLO)
    outbox.post(RESULT)
    outbox.post(CHANGE)
    heard: list[str] = []

    async def follow() -> None:
        async for _, message in outbox.follow():
            heard.append(message.type)

    following = asyncio.create_task(follow())
    await asyncio.sleep(0)
    outbox.post(RESULT)
    outbox.close("left")
    await asyncio.wait_for(following, 5)
    assert heard == ["hello", "change", "result", "end"]


async def test_a_follower_that_comes_after_the_end_gets_the_summary_and_goes() -> None:
    outbox = Outbox(HELLO)
    outbox.post(Summary(duration=1.0, speech=0.0, male=0.0, female=0.0, uncertain=0.0, segments=0))
    outbox.close("left")
    assert [message.type async for _, message in outbox.follow()] == ["hello", "summary", "end"]


async def test_a_slow_follower_loses_the_oldest_and_costs_no_memory() -> None:
    outbox = Outbox(HELLO)
    messages = outbox.follow()
    assert await anext(messages) == (0, HELLO)
    for number in range(3 * MAX_FOLLOWED):
        outbox.post(Warning(code=str(number), message=""))
    outbox.close("left")
    codes = [message.code async for _, message in messages if isinstance(message, Warning)]
    assert codes == [str(number) for number in range(2 * MAX_FOLLOWED, 3 * MAX_FOLLOWED)]


async def test_a_follower_that_leaves_is_forgotten() -> None:
    outbox = Outbox(HELLO)
    messages = outbox.follow()
    assert await anext(messages) == (0, HELLO)
    await messages.aclose()
    assert not outbox._followers


def test_channels_and_followers_are_bounded() -> None:
    """A peer may open thousands of channels; each would be one more copy of every message."""
    outbox = Outbox(HELLO)
    channels = [attach(outbox) for _ in range(MAX_CHANNELS + 1)]
    assert channels[-2].sent == ["hello"]
    assert channels[-1].sent == []


async def test_a_crowd_of_followers_is_refused() -> None:
    outbox = Outbox(HELLO)
    followers = [outbox.follow() for _ in range(MAX_FOLLOWERS)]
    for follower in followers:
        await anext(follower)
    with pytest.raises(NotReady, match="followers"):
        outbox.follow()
    await followers[0].aclose()
    await anext(outbox.follow())


async def test_a_crowd_of_followers_that_comes_at_once_is_bounded_too() -> None:
    """Requests of one turn of the loop are let in before any is counted: sixty of sixty were told all."""
    outbox = Outbox(HELLO)
    told = await asyncio.gather(*(anext(outbox.follow(), None) for _ in range(3 * MAX_FOLLOWERS)))
    assert len([message for message in told if message is not None]) == MAX_FOLLOWERS


def test_a_channel_that_has_closed_gives_its_place_back() -> None:
    """Only the first eight of the channels that were opened and closed one after another got messages."""
    outbox = Outbox(HELLO)
    kept = attach(outbox)
    for _ in range(30):
        channel = attach(outbox)
        assert channel.sent == ["hello"]
        channel.readyState = "closed"
    closing = [attach(outbox) for _ in range(MAX_CHANNELS)]
    assert [len(channel.sent) for channel in closing] == [1] * (MAX_CHANNELS - 1) + [0]
    closing[0].readyState = "closing"
    assert attach(outbox).sent == ["hello"]
    outbox.post(CHANGE)
    assert kept.sent == ["hello", "change"]


async def told(messages: AsyncGenerator[tuple[int, Message], None]) -> list[tuple[int, str]]:
    return [(number, message.type) async for number, message in messages]


@pytest.mark.parametrize(
    ("after", "wanted"),
    [
        (None, [(0, "hello"), (2, "change"), (4, "change"), (5, "end")]),
        (0, [(2, "change"), (4, "change"), (5, "end")]),
        (1, [(2, "change"), (4, "change"), (5, "end")]),
        (2, [(4, "change"), (5, "end")]),
        (4, [(5, "end")]),
        (5, []),
        (6, [(0, "hello"), (2, "change"), (4, "change"), (5, "end")]),
    ],
)
async def test_a_follower_that_comes_back_is_told_what_it_has_missed(
    after: int | None, wanted: list[tuple[int, str]]
) -> None:
    """All events were told again; a number that is none of this call's is no reason to tell less."""
    outbox = Outbox(HELLO)
    for message in (RESULT, CHANGE, RESULT, CHANGE):
        outbox.post(message)
    outbox.close("left")
    assert await told(outbox.follow(after)) == wanted


def test_a_channel_that_opens_late_is_told_each_event_once_and_in_order() -> None:
    outbox = Outbox(HELLO)
    for message in (RESULT, CHANGE, RESULT, CHANGE):
        outbox.post(message)
    late = attach(outbox)
    outbox.post(CHANGE)
    assert late.sent == ["hello", "change", "change", "change"]


@pytest.mark.parametrize(
    ("protocol", "changes"), [("last-event-id=2", 1), ("last-event-id=4", 0), ("last-event-id=x", 2)]
)
def test_a_channel_after_a_reader_of_events_is_told_what_that_has_not_had(protocol: str, changes: int) -> None:
    outbox = Outbox(HELLO)
    for message in (RESULT, CHANGE, RESULT, CHANGE):
        outbox.post(message)
    assert attach(outbox, protocol=protocol).sent == ["hello", *["change"] * changes]
