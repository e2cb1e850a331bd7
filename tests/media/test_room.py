"""Several audio lines of one offer are voices of their own, told apart in every message."""

import gc
import re
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from time import monotonic

import pytest

from tests.rooms import RoomPeer, a_room
from tests.rtc import SDP, Server, ToneTrack, a_peer, a_server
from tests.support import TimedTrack, in_real_time
from tests.waits import until
from voxgender.engine import Engine
from voxgender.engine.messages import NO_MEDIA_S
from voxgender.engine.schedule import EVERY_TICK
from voxgender.media.room import Room, RoomVoice
from voxgender.media.rtp import Rtp
from voxgender.media.session import Session
from voxgender.peer.voices import MAN, WOMAN, speak
from voxgender.protocol import AnyMessage, Change, Hello, Result, Segment, Summary, Warning
from voxgender.sdp import MAX_VOICES, Codec, VoiceLine


@pytest.fixture
async def heard(hearing: Engine) -> AsyncIterator[Server]:
    async with a_server(hearing) as server:
        yield server


def about(messages: list[AnyMessage], name: str | None) -> list[AnyMessage]:
    return [message for message in messages if getattr(message, "name", None) == name]


async def refusal(server: Server, room: RoomPeer, path: str = "/whip") -> tuple[int, str, str]:
    """Offer in vain; return status, code and sentence."""
    method = server.http.post if path == "/whip" else server.http.patch
    async with method(path, data=await room.offer(), headers=SDP) as response:
        body = await response.json(content_type="application/problem+json")
        return response.status, body["code"], body["detail"]


async def test_each_line_is_a_voice_with_its_mid_and_name_in_every_message(heard: Server) -> None:
    """A call of eight people cost eight connections, and named nobody."""
    man, woman = (TimedTrack(in_real_time(speak(who, 4.0), each_s=0.02), ends=False) for who in (MAN, WOMAN))
    async with a_room([man, woman, ToneTrack()], ["Max", "Zoë & co"]) as room:
        path = await room.call(heard.http)
        hello = await room.until(Hello)
        assert isinstance(hello, Hello)
        assert hello.channels == 3
        assert hello.voices is not None
        assert [voice.channel for voice in hello.voices] == [0, 1, 2]
        assert [voice.name for voice in hello.voices][:2] == ["Max", "Zoë & co"]
        # Without a title the stream's id is the name (a=msid).
        assert hello.voices[2].name == room.pc.getTransceivers()[2].sender._stream_id
        mids = [transceiver.mid for transceiver in room.pc.getTransceivers()]
        assert [voice.mid for voice in hello.voices] == mids
        came = await room.until_all(Change, [0, 1])
        came += await room.end(heard.http, path)
    for channel, voice in enumerate(hello.voices):
        told = [message for message in came if message.channel == channel]
        assert {message.mid for message in told if not isinstance(message, Hello)} == {voice.mid}  # type: ignore[union-attr]
        assert {message.name for message in told} == {voice.name}  # type: ignore[union-attr]
        seqs = [message.seq for message in told if isinstance(message, Result)]
        assert seqs == sorted(set(seqs))
    changes = {message.name: message.to for message in came if isinstance(message, Change)}
    assert changes == {"Max": "male", "Zoë & co": "female"}
    segments = {message.name: message.label for message in came if isinstance(message, Segment)}
    assert segments == changes


async def test_each_voice_has_a_summary_and_the_room_the_sum_of_all(heard: Server) -> None:
    voices = [TimedTrack(in_real_time(speak(who, 4.0), each_s=0.02), ends=False) for who in (MAN, WOMAN)]
    async with a_room(voices, ["m", "w"]) as room:
        path = await room.call(heard.http)
        await room.until_all(Change, [0, 1])
        last = await room.end(heard.http, path)
    summaries = {message.channel: message for message in last if isinstance(message, Summary)}
    assert set(summaries) == {0, 1, None}
    assert last[-1] is summaries[None]
    whole = summaries[None]
    assert whole.male == pytest.approx(summaries[0].male, abs=0.002)
    assert whole.female == pytest.approx(summaries[1].female, abs=0.002)
    assert min(whole.male, whole.female) > 0
    assert whole.segments == summaries[0].segments + summaries[1].segments
    assert whole.duration >= max(summaries[0].duration, summaries[1].duration)


async def test_eight_voices_come_by_one_connection(server: Server) -> None:
    names = [f"voice {number}" for number in range(MAX_VOICES)]
    async with a_room([ToneTrack() for _ in names], names) as room:
        path = await room.call(server.http)
        came = await room.until_all(Result, range(MAX_VOICES))
        assert server.node.live == MAX_VOICES
        assert len(server.node.places.sessions()) == 1
        async with server.http.get(path) as response:
            told = (await response.json())["voices"]
        assert [voice["channel"] for voice in told] == list(range(MAX_VOICES))
        assert {message.name for message in came if isinstance(message, Result)} == set(names)
        await room.end(server.http, path)


async def test_more_than_eight_are_refused_in_one_sentence(server: Server) -> None:
    async with a_room([ToneTrack() for _ in range(MAX_VOICES + 1)]) as room:
        status, code, detail = await refusal(server, room)
    assert (status, code) == (422, "too_many_voices")
    assert "9" in detail
    assert "8 voices" in detail
    assert server.node.live == 0


async def test_an_only_line_with_a_title_is_a_room_and_one_without_is_not(server: Server) -> None:
    async with a_room([ToneTrack()], ["alice"]) as room:
        await room.call(server.http)
        result = await room.until(Result)
        assert isinstance(result, Result)
        assert (result.channel, result.name) == (0, "alice")
    async with a_room([ToneTrack()]) as peer:
        await peer.call(server.http)
        hello, result = await peer.until(Hello), await peer.until(Result)
        assert hello.to_dict().keys().isdisjoint(("channels", "voices"))
        assert result.to_dict().keys().isdisjoint(("channel", "mid", "name"))


async def test_places_are_counted_by_voices(engine: Engine) -> None:
    """Eight people by one connection cost a server as much as eight callers: it must not take more than it can."""
    async with a_server(engine, max_sessions=5) as server:
        async with a_room([ToneTrack() for _ in range(6)]) as large:
            status, code, detail = await refusal(server, large)
            assert (status, code) == (503, "at_capacity")
            assert "too small" in detail
        async with a_room([ToneTrack() for _ in range(3)]) as first, a_room([ToneTrack() for _ in range(3)]) as second:
            path = await first.call(server.http)
            await first.until(Result)
            assert server.node.live == 3
            assert (await refusal(server, second))[:2] == (503, "at_capacity")
            await first.end(server.http, path)
            await second.call(server.http)
            assert server.node.live == 3


async def test_a_subject_s_calls_are_counted_by_voices(engine: Engine) -> None:
    async with a_server(engine, max_sessions_per_subject=3) as server:
        async with a_room([ToneTrack() for _ in range(4)]) as room:
            offer = await room.offer()
        with pytest.raises(Exception, match="3 calls already"):
            await server.node.open(offer, "ann")
        assert server.node.live == 0
        async with a_room([ToneTrack() for _ in range(3)]) as room:
            await server.node.open(await room.offer(), "ann")
            with pytest.raises(Exception, match="3 calls already"):
                await server.node.open(offer, "ann")


async def test_voices_come_and_go_in_mid_call(server: Server) -> None:
    async with a_room([ToneTrack(), ToneTrack()], ["alice", "bob"]) as room:
        path = await room.call(server.http)
        await room.until_all(Result, [0, 1])
        room.pc.addTrack(ToneTrack())
        room.names.append("carol")
        await room.update(server.http, path)
        came = await room.until_all(Result, [0, 1, 2])
        assert server.node.live == 3
        (carol, *_) = about(came, "carol")
        assert isinstance(carol, Result)
        # The clock is the room's, not the voice's own.
        assert carol.start > 0.1
        room.pc.getTransceivers()[0].direction = "inactive"
        await room.update(server.http, path)
        came = await room.until_all(Summary, [0])
        assert about(came, "alice")
        came = await room.until_all(Result, [1, 2])
        assert server.node.live == 2
        # A reader that comes later is told of the present ones.
        async with server.http.get(f"{path}/events") as events:
            async for line in events.content:
                if line.startswith(b"data:"):
                    assert b"bob" in line
                    assert b"carol" in line
                    assert b"alice" not in line
                    break
        # The line of one who has left may send again: it is another voice.
        room.pc.getTransceivers()[0].direction = "sendonly"
        room.names[0] = "dave"
        await room.update(server.http, path)
        came = await room.until_all(Result, [3])
        assert {message.name for message in came if message.channel == 3} == {"dave"}  # type: ignore[union-attr]
        last = await room.end(server.http, path)
    assert Counter(message.channel for message in last if isinstance(message, Summary)) == Counter([1, 2, 3, None])
    assert server.node.live == 0


async def test_a_voice_is_renamed(server: Server) -> None:
    async with a_room([ToneTrack(), ToneTrack()], ["alice", "bob"]) as room:
        path = await room.call(server.http)
        await room.until_all(Result, [0, 1])
        room.names[1] = "Bob Junior"
        await room.update(server.http, path)
        while (result := await room.until(Result)).name != "Bob Junior":  # type: ignore[attr-defined]
            pass
        assert result.channel == 1


async def test_a_voice_for_which_there_is_no_place_changes_nothing(engine: Engine) -> None:
    async with a_server(engine, max_sessions=2) as server, a_room([ToneTrack(), ToneTrack()], ["a", "b"]) as room:
        path = await room.call(server.http)
        await room.until_all(Result, [0, 1])
        room.pc.addTrack(ToneTrack())
        assert (await refusal(server, room, path))[:2] == (503, "at_capacity")
        assert server.node.live == 2
        await room.until_all(Result, [0, 1])


async def test_an_offer_of_another_connection_changes_nothing(server: Server) -> None:
    async with a_room([ToneTrack(), ToneTrack()]) as room, a_room([ToneTrack(), ToneTrack()]) as other:
        path = await room.call(server.http)
        assert (await refusal(server, other, path))[:2] == (422, "ice_restart")
        await room.until_all(Result, [0, 1])


async def test_an_offer_that_comes_again_is_answered_again_and_changes_nothing(server: Server) -> None:
    async with a_room([ToneTrack(), ToneTrack()], ["alice", "bob"]) as room:
        path = await room.call(server.http)
        await room.until_all(Result, [0, 1])
        room.pc.addTrack(ToneTrack())
        room.names.append("carol")
        offer = await room.offer()
        answers = []
        for _ in range(2):
            async with server.http.patch(path, data=offer, headers=SDP) as response:
                assert response.status == 200
                answers.append(await response.text())
        assert answers[0] == answers[1]
        await room.accept(answers[1])
        await room.until_all(Result, [2])
        assert server.node.live == 3


async def test_an_offer_that_a_later_one_has_overtaken_adds_nothing(server: Server) -> None:
    """A request that was slow on its way would have brought back a voice that its client had given up."""
    async with a_room([ToneTrack(), ToneTrack()], ["alice", "bob"]) as room:

        async def offered(version: int) -> str:
            return re.sub(r"^o=.*\r$", f"o=- 7 {version} IN IP4 0.0.0.0\r", await room.offer(), flags=re.MULTILINE)

        async with server.http.post("/whip", data=await offered(1), headers=SDP) as response:
            path = response.headers["Location"]
            await room.accept(await response.text())
        await room.until_all(Result, [0, 1])
        room.pc.addTrack(ToneTrack())
        room.names.append("carol")
        slow = await offered(2)
        room.pc.getTransceivers()[2].direction = "inactive"
        async with server.http.patch(path, data=await offered(3), headers=SDP) as response:
            assert response.status == 200
        async with server.http.patch(path, data=slow, headers=SDP) as response:
            assert response.status == 409
            assert (await response.json(content_type=None))["code"] == "stale_offer"
        assert server.node.live == 2


async def test_a_call_of_one_voice_stays_one(server: Server) -> None:
    async with a_room([ToneTrack()]) as room:
        path = await room.call(server.http)
        room.pc.addTrack(ToneTrack())
        assert (await refusal(server, room, path))[:2] == (415, "unsupported_media_type")
        await room.until(Result)


async def test_a_room_without_titles_goes_on_with_one_voice(server: Server) -> None:
    """Let a voice leave a room whose lines have no titles, as those of programs have none.

    The offer with one line left was refused, so the voice that had left stayed, and no other one could come.
    """
    async with a_room([ToneTrack(), ToneTrack()]) as room:
        path = await room.call(server.http)
        await room.until_all(Result, [0, 1])
        room.pc.getTransceivers()[0].direction = "inactive"
        await room.update(server.http, path)
        await room.until_all(Summary, [0])
        await room.until_all(Result, [1])
        assert server.node.live == 1
        room.pc.addTrack(ToneTrack())
        await room.update(server.http, path)
        await room.until_all(Result, [1, 2])
        last = await room.end(server.http, path)
    assert Counter(message.channel for message in last if isinstance(message, Summary)) == Counter([1, 2, None])


async def test_an_offer_with_no_audio_left_is_refused(server: Server) -> None:
    async with a_room([ToneTrack(), ToneTrack()]) as room:
        path = await room.call(server.http)
        for transceiver in room.pc.getTransceivers():
            transceiver.direction = "inactive"
        assert (await refusal(server, room, path))[:2] == (422, "no_audio")


async def test_a_line_that_never_sends_is_warned_of_alone(server: Server) -> None:
    async with a_room([ToneTrack()], ["alice", "silent"]) as room:
        room.pc.addTransceiver("audio", direction="sendonly")
        await room.call(server.http)
        warning = await room.until(Warning)
        assert isinstance(warning, Warning)
        assert (warning.code, warning.channel, warning.name) == ("no_media", 1, "silent")


async def test_streams_without_the_header_extension_are_known_by_their_ssrc(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GStreamer's webrtcbin offers no mid extension, and names each line's SSRC."""
    async with a_room([ToneTrack(), ToneTrack()], ["a", "b"]) as room:
        offer = await room.offer()
        lines = [line for line in offer.split("\r\n") if "sdes:mid" not in line]
        async with server.http.post("/whip", data="\r\n".join(lines), headers=SDP) as response:
            assert response.status == 201, await response.text()
            await room.accept(await response.text())
        came = await room.until_all(Result, [0, 1])
        assert {message.name for message in came if isinstance(message, Result)} == {"a", "b"}
        assert "urn:ietf:params:rtp-hdrext:sdes:mid" not in "".join(lines)


async def test_rooms_leave_nothing_for_the_garbage_collector(server: Server) -> None:
    async def one() -> None:
        async with a_room([ToneTrack(), ToneTrack()], ["a", "b"]) as room:
            path = await room.call(server.http)
            await room.until_all(Result, [0, 1])
            await room.end(server.http, path)

    await one()
    gc.collect()
    gc.disable()
    try:
        before = sum(type(one) in (Session, Room, RoomVoice) for one in gc.get_objects())
        await one()
        await until(lambda: not server.node.live)
        after = sum(type(one) in (Session, Room, RoomVoice) for one in gc.get_objects())
    finally:
        gc.enable()
    assert (before, after) == (0, 0)


async def test_a_room_holds_up_no_call_beside_it(server: Server) -> None:
    async with a_room([ToneTrack() for _ in range(MAX_VOICES)]) as room, a_peer(ToneTrack()) as peer:
        peer.channels()
        await peer.call(server.http)
        await room.call(server.http)
        await room.until_all(Result, range(MAX_VOICES))
        result = await peer.until(Result)
        assert isinstance(result, Result)
        assert result.channel is None


class Voices:
    """A room without a connection, and what was told of it."""

    def __init__(self, engine: Engine, *mids: str, ssrcs: Sequence[Sequence[int]] = ()) -> None:
        self.excesses: list[tuple[str, str | None]] = []
        self.ended: list[Exception | None] = []
        self.room = Room(
            engine,
            EVERY_TICK,
            lambda _: None,
            lambda excess, about: self.excesses.append((excess, about.get("name"))),
            self.ended.append,
        )
        lines = [a_line(mid, tuple(ssrcs[n]) if ssrcs else ()) for n, mid in enumerate(mids)]
        self.room.update(lines)

    def feed(self, ssrc: int, seq: int = 0, *, mid: str = "", payload_type: int = 111) -> None:
        self.room.feed(Rtp(payload_type, seq, seq * 960, ssrc, OPUS_SILENCE, mid), monotonic())

    @property
    def heard(self) -> list[str]:
        """The voices of which a packet has come."""
        return [mid for mid, voice in self.room.voices.items() if voice.receiver.last_arrival]


OPUS_SILENCE = b"\xf8\xff\xfe"


def a_line(mid: str, ssrcs: tuple[int, ...] = (), payload_type: int = 111) -> VoiceLine:
    return VoiceLine(0, mid, f"name of {mid}", (Codec(payload_type, "OPUS"),), (), ssrcs)


@pytest.fixture
async def abandoned(engine: Engine) -> AsyncIterator[list[Voices]]:
    made: list[Voices] = []
    yield made
    for voices in made:
        voices.room.abandon()


async def test_a_packet_belongs_to_the_line_that_it_names_and_so_does_its_stream(
    engine: Engine, abandoned: list[Voices]
) -> None:
    abandoned.append(voices := Voices(engine, "a", "b"))
    voices.feed(7)
    assert voices.heard == []
    voices.feed(7, mid="b")
    voices.feed(7, 1)
    assert voices.heard == ["b"]
    voices.feed(8, mid="nobody")
    voices.feed(8, 1)
    assert voices.heard == ["b"]
    # The latest name counts: a stream may go over to another line (RFC 8843 section 9.2).
    voices.feed(7, 2, mid="a")
    assert voices.heard == ["a", "b"]


async def test_a_packet_without_a_name_is_known_by_its_ssrc_or_by_the_format_of_one_line(
    engine: Engine, abandoned: list[Voices]
) -> None:
    abandoned.append(voices := Voices(engine, "a", "b", ssrcs=[[1], [2]]))
    voices.feed(2)
    assert voices.heard == ["b"]
    voices.room.update([a_line("a"), a_line("b"), a_line("c", payload_type=96)])
    voices.feed(9, payload_type=111)
    assert voices.heard == ["b"]
    voices.feed(9, payload_type=96)
    assert voices.heard == ["b", "c"]


async def test_a_stream_of_a_voice_that_has_left_is_nobody_s(engine: Engine, abandoned: list[Voices]) -> None:
    abandoned.append(voices := Voices(engine, "a", "b", ssrcs=[[1], [2]]))
    voices.feed(2)
    voices.room.update([a_line("a", (1,))])
    # The only line that is left has the format of this packet, which was on its way when the other one ended.
    voices.feed(2, 1)
    assert voices.heard == []
    voices.feed(3)
    assert voices.heard == ["a"]


async def test_streams_without_end_are_forgotten(engine: Engine, abandoned: list[Voices]) -> None:
    """A sender that changes its SSRC with each packet must not fill the memory."""
    abandoned.append(voices := Voices(engine, "a", "b"))
    for ssrc in range(1000):
        voices.feed(ssrc, mid="a")
    assert len(voices.room._by_ssrc) <= 64


async def test_too_much_of_one_voice_is_told_of_that_voice_and_costs_the_others_nothing(
    engine: Engine, abandoned: list[Voices]
) -> None:
    abandoned.append(voices := Voices(engine, "a", "b"))
    for seq in range(400):
        voices.feed(1, seq, mid="a")
    voices.feed(2, mid="b")
    assert {name for _, name in voices.excesses} == {"name of a"}
    assert voices.excesses[0][0] == "too_fast"
    assert voices.heard == ["a", "b"]


async def test_a_channel_is_never_given_again(engine: Engine, abandoned: list[Voices]) -> None:
    abandoned.append(voices := Voices(engine, "a", "b"))
    voices.room.update([a_line("b"), a_line("c")])
    voices.room.update([a_line("b"), a_line("a")])
    assert {mid: voice.channel for mid, voice in voices.room.voices.items()} == {"b": 1, "a": 3}


async def test_an_error_of_one_voice_ends_the_call_once(engine: Engine, abandoned: list[Voices]) -> None:
    abandoned.append(voices := Voices(engine, "a", "b"))
    for voice in list(voices.room.voices.values()):
        voice.call.finish(RuntimeError("a fault"))
    (error,) = voices.ended
    assert isinstance(error, RuntimeError)


async def test_a_stream_that_sends_is_not_forgotten_for_the_many_of_another_voice(
    engine: Engine, abandoned: list[Voices]
) -> None:
    """Browsers name a packet's line at the beginning of its stream only: forgotten, it was silent for good."""
    abandoned.append(voices := Voices(engine, "a", "b"))
    voices.feed(1, mid="a")
    for ssrc in range(100, 200):
        voices.feed(ssrc, mid="b")
    (a, _) = voices.room.voices.values()
    before = a.receiver.last_arrival
    voices.feed(1, 1)
    assert a.receiver.last_arrival > before


async def test_a_room_whose_only_heard_voice_has_left_was_heard_all_the_same(
    engine: Engine, abandoned: list[Voices]
) -> None:
    """It was ended as silent before the first packet of the next voice."""
    abandoned.append(voices := Voices(engine, "a", "b"))
    voices.feed(1, mid="a")
    arrived = voices.room.last_arrival
    voices.room.update([a_line("b"), a_line("c")])
    assert voices.room.last_arrival == arrived > 0


async def test_formats_that_a_later_offer_gives_a_line_are_decoded(engine: Engine, abandoned: list[Voices]) -> None:
    """They were answered, and their packets dropped without a word."""
    abandoned.append(voices := Voices(engine, "a", "b"))
    voices.room.update([a_line("a", payload_type=100), a_line("b")])
    voices.feed(1, mid="a", payload_type=100)
    assert voices.heard == ["a"]


async def test_a_voice_that_has_only_just_come_is_not_said_to_send_nothing(
    engine: Engine, abandoned: list[Voices]
) -> None:
    abandoned.append(voices := Voices(engine, "a", "b"))
    assert voices.room.unheard(monotonic()) == []
    assert [about["mid"] for about in voices.room.unheard(monotonic() + NO_MEDIA_S)] == ["a", "b"]


async def test_many_voices_end_nobody_s_call_unless_there_is_room_for_all_of_them(engine: Engine) -> None:
    """One offer of eight voices ended all calls that were connecting, and was refused then."""
    async with (
        a_server(engine, max_sessions=6, give_way_s=0.0) as server,
        a_peer(ToneTrack()) as peer,
        a_room([ToneTrack() for _ in range(3)]) as room,
        a_room([ToneTrack() for _ in range(4)]) as large,
    ):
        await room.call(server.http)
        await room.until(Result)
        async with server.http.post("/whip", data=await peer.offer(), headers=SDP) as response:
            assert response.status == 201
        assert (await refusal(server, large))[:2] == (503, "at_capacity")
        assert server.node.live == 4


async def test_a_room_that_asks_for_too_much_while_it_connects_is_not_ended_for_it(engine: Engine) -> None:
    """It had been without a connection for longest itself, so it gave way to its own voice."""
    async with (
        a_server(engine, max_sessions=2, give_way_s=0.0) as server,
        a_room([ToneTrack(), ToneTrack()], ["a", "b"]) as room,
    ):
        async with server.http.post("/whip", data=await room.offer(), headers=SDP) as response:
            path = response.headers["Location"]
        room.pc.addTrack(ToneTrack())
        assert (await refusal(server, room, path))[:2] == (503, "at_capacity")
        assert server.node.live == 2
