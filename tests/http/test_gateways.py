"""Streams shaped as Twilio's and Telnyx's documents have them."""

import gc
import json
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from types import TracebackType
from typing import Any

import av
import numpy as np
import pytest
from aiohttp import ClientSession, ClientWebSocketResponse

from tests.amrwb import efficient, encoded
from tests.http.test_listen import emptied, of, refusal, until_closed
from tests.options import given
from tests.rtc import Server, a_server
from tests.support import Samples, frames, silence
from tests.waits import until
from voxgender import amrwb, protocol
from voxgender.engine import Engine
from voxgender.http import mediastream
from voxgender.http.app import ClientLimits
from voxgender.peer.voices import MAN, WOMAN, speak
from voxgender.settings import FrontSettings

TOKEN = "s3cr3t"
CHUNK = 160
"""Bytes of 20 ms."""


@pytest.fixture
async def phone(hearing: Engine) -> AsyncIterator[Server]:
    async with a_server(hearing, settings=given(FrontSettings, token=TOKEN)) as server:
        yield server


def mulaw(samples: Samples) -> bytes:
    """16 kHz sound as a phone has it: G.711 at 8 kHz."""
    to_8_khz = av.AudioResampler(format="s16", layout="mono", rate=8_000)
    encoder = av.CodecContext.create("pcm_mulaw", "w")
    assert isinstance(encoder, av.AudioCodecContext)
    encoder.format, encoder.layout, encoder.sample_rate = "s16", "mono", 8_000
    narrow = [piece for one in frames(samples) for piece in to_8_khz.resample(one)]
    return b"".join(bytes(packet) for one in narrow for packet in encoder.encode(one))


def twilio_start(*tracks: str, **parameters: str) -> dict[str, Any]:
    return {
        "event": "start",
        "sequenceNumber": "1",
        "start": {
            "accountSid": "AC1",
            "streamSid": "MZ1",
            "callSid": "CA1",
            "tracks": list(tracks),
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            "customParameters": parameters,
        },
        "streamSid": "MZ1",
    }


def telnyx_start(codec: str = "PCMU", rate: object = 8_000, **parameters: str) -> dict[str, Any]:
    return {
        "event": "start",
        "sequence_number": "1",
        "stream_id": "32DE",
        "start": {
            "call_control_id": "v2:T02",
            "from": "+13122010094",
            "to": "+13122123456",
            "custom_parameters": parameters,
            "media_format": {"encoding": codec, "sample_rate": rate, "channels": 1},
        },
    }


def media(track: str, number: int, payload: bytes) -> dict[str, Any]:
    return {
        "event": "media",
        "sequenceNumber": str(number + 2),
        "media": {
            "track": track,
            "chunk": str(number + 1),
            "timestamp": str(20 * number),
            "payload": b64encode(payload).decode(),
        },
        "streamSid": "MZ1",
    }


def both_tracks() -> Iterator[dict[str, Any]]:
    """A man calls in, and a woman answers him."""
    man, woman = speak(MAN, 3.0), speak(WOMAN, 3.0)
    quiet = silence(0.5)
    inbound = mulaw(np.concatenate([quiet, man, np.zeros_like(woman), quiet]))
    outbound = mulaw(np.concatenate([quiet, np.zeros_like(man), woman, quiet]))
    for number, start in enumerate(range(0, len(inbound), CHUNK)):
        yield media("inbound", number, inbound[start : start + CHUNK])
        yield media("outbound", number, outbound[start : start + CHUNK])


async def say(socket: ClientWebSocketResponse, *events: dict[str, Any]) -> None:
    for event in events:
        await socket.send_str(json.dumps(event))


CONNECTED = {"event": "connected", "protocol": "Call", "version": "1.0.0"}
STOP = {"event": "stop", "sequenceNumber": "99", "stop": {"accountSid": "AC1", "callSid": "CA1"}, "streamSid": "MZ1"}
MARK = {"event": "mark", "sequenceNumber": "4", "streamSid": "MZ1", "mark": {"name": "my label"}}
DTMF = {"event": "dtmf", "streamSid": "MZ1", "sequenceNumber": "5", "dtmf": {"track": "inbound_track", "digit": "1"}}


async def a_ticket(http: ClientSession, query: str) -> dict[str, str]:
    async with http.post(f"/listen?{query}", headers={"Authorization": f"Bearer {TOKEN}"}) as response:
        assert response.status == 201
        ticket: dict[str, str] = await response.json()
        return ticket


@pytest.mark.parametrize("name", ["twilio", "telnyx"])
async def test_a_phone_call_is_labelled_on_the_session_s_own_url(phone: Server, name: str) -> None:
    """The program that answers the gateway's webhook asks for a ticket, and so knows where the labels will be."""
    ticket = await a_ticket(phone.http, "encoding=mulaw&channels=2&name=CA1")
    url = ticket["url"].replace("/listen/", f"/listen/{name}/")
    async with phone.http.get(f"{ticket['session']}/events") as events:
        async with phone.http.ws_connect(url) as socket:
            await say(socket, CONNECTED)
            await say(socket, twilio_start("inbound", "outbound") if name == "twilio" else telnyx_start())
            await say(socket, *both_tracks(), MARK, DTMF, STOP)
            messages, code, _ = await until_closed(socket)
        lines = (await events.read()).splitlines()
        told = [protocol.decode(line.removeprefix(b"data: ")) for line in lines if line.startswith(b"data: ")]
    assert (messages, code) == ([], 1000)
    assert told[0].to_dict()["name"] == "CA1"
    assert {(segment.channel, segment.label) for segment in of(protocol.Segment, told)} == {(0, "male"), (1, "female")}
    # Each channel ends for itself.
    assert {summary.channel for summary in of(protocol.Summary, told)} == {0, 1}
    assert of(protocol.Summary, told)[0].duration == pytest.approx(7.0, abs=0.1)
    await emptied(phone)


async def test_a_token_comes_as_a_custom_parameter(phone: Server, caplog: pytest.LogCaptureFixture) -> None:
    """Twilio drops the query of a stream's URL, and hands on the parameters of the TwiML."""
    caplog.set_level("DEBUG")
    async with phone.http.ws_connect("/listen/twilio") as socket:
        await say(
            socket, CONNECTED, twilio_start("inbound", token=TOKEN, name="Ann"), media("inbound", 0, b"\xff" * 160)
        )
        await say(socket, STOP)
        assert await until_closed(socket) == ([], 1000, "The stream is finished.")
    assert TOKEN not in caplog.text
    for parameters in ({}, {"token": "wrong"}):
        async with phone.http.ws_connect("/listen/twilio") as socket:
            await say(socket, CONNECTED, twilio_start("inbound", **parameters))
            _, code, reason = await until_closed(socket)
        assert code == 1008
        assert "token" in reason
    await emptied(phone)


async def test_a_token_comes_in_the_query_where_the_gateway_keeps_it(phone: Server) -> None:
    async with phone.http.ws_connect(f"/listen/telnyx?token={TOKEN}&channels=1") as socket:
        await say(socket, telnyx_start("PCMA"), media("inbound", 0, b"\xd5" * 160), STOP)
        assert (await until_closed(socket))[1] == 1000
    await refusal(phone.http, "/listen/telnyx?token=wrong", 401, "unauthorized")


async def test_a_ticket_of_another_format_is_told(phone: Server) -> None:
    ticket = await a_ticket(phone.http, "encoding=s16le")
    async with phone.http.ws_connect(ticket["url"].replace("/listen/", "/listen/twilio/")) as socket:
        await say(socket, twilio_start("inbound"))
        _, code, reason = await until_closed(socket)
    assert code == 1003
    assert "another format" in reason
    await emptied(phone)


@pytest.mark.parametrize(
    ("events", "code", "says"),
    [
        (["{"], 1007, "no JSON"),
        (["[1]"], 1007, "no JSON"),
        ([json.dumps(media("inbound", 0, b""))], 1008, "'start'"),
        ([json.dumps({"event": "start", "start": {"mediaFormat": {"encoding": "audio/x-l16"}}})], 1003, "mulaw"),
        ([b"\xff" * 160], 1003, "texts alone"),
        (
            [json.dumps(twilio_start("inbound", token=TOKEN)), '{"event":"media","media":{"payload":"*"}}'],
            1007,
            "base64",
        ),
        ([json.dumps(twilio_start("inbound", token=TOKEN))] + [json.dumps(MARK)] * 300, 1008, "Too many messages"),
        (["x" * 70_000], 1009, "larger"),
        ([json.dumps(twilio_start(*"abc", token=TOKEN))], 1008, "two tracks"),
    ],
)
async def test_what_is_no_media_stream_is_told(phone: Server, events: list[str | bytes], code: int, says: str) -> None:
    async with phone.http.ws_connect("/listen/twilio") as socket:
        for event in events:
            await (socket.send_str(event) if isinstance(event, str) else socket.send_bytes(event))
        _, closed, reason = await until_closed(socket)
    assert says in reason
    assert closed in (code, 1003)
    await emptied(phone)


async def test_nothing_is_kept_of_streams_that_were_malformed(phone: Server) -> None:
    """The error was one object for all of them, and kept the frames of each function that it had ever passed."""

    for event in ("no JSON", json.dumps({"event": "media", "media": {"payload": "*"}})):
        async with phone.http.ws_connect("/listen/twilio") as socket:
            await socket.send_str(json.dumps(twilio_start("inbound", token=TOKEN)))
            await socket.send_str(event)
            assert (await until_closed(socket))[1] == 1007
    await emptied(phone)
    gc.collect()
    tracebacks = [one for one in gc.get_objects() if type(one) is TracebackType]
    assert not [one for one in tracebacks if one.tb_frame.f_code.co_filename == mediastream.__file__]


async def test_a_stream_that_does_not_start_is_not_waited_for(hearing: Engine) -> None:
    async with (
        a_server(hearing, clients=ClientLimits(gateway_start_s=0.05)) as phone,
        phone.http.ws_connect("/listen/twilio") as socket,
    ):
        _, code, reason = await until_closed(socket)
    assert (code, "'start'" in reason) == (1008, True)


async def test_so_many_streams_may_be_about_to_start(hearing: Engine) -> None:
    async with (
        a_server(hearing, clients=ClientLimits(unstarted_gateways=1)) as phone,
        phone.http.ws_connect("/listen/twilio"),
    ):
        await refusal(phone.http, "/listen/twilio", 503, "at_capacity")


def g722(samples: Samples) -> bytes:
    """16 kHz sound as G.722."""
    encoder = av.CodecContext.create("g722", "w")
    assert isinstance(encoder, av.AudioCodecContext)
    encoder.format, encoder.layout, encoder.sample_rate = "s16", "mono", 16_000
    return b"".join(bytes(packet) for one in frames(samples) for packet in encoder.encode(one))


def l16(samples: Samples, order: str) -> bytes:
    return (samples * 32_767).astype(f"{order}i2").tobytes()


@pytest.mark.parametrize(
    ("codec", "rate", "bytes_per_ms"),
    [("PCMU", 8_000, 8), ("G722", 8_000, 8), ("G722", "16000", 8), ("L16<", 16_000, 32), ("L16>", "16000", 32)],
)
async def test_each_codec_of_telnyx_is_heard_on_both_tracks(
    phone: Server, codec: str, rate: object, bytes_per_ms: int
) -> None:
    """L16 comes in network order by its definition, and in the other one by its users' reports."""
    man, woman = speak(MAN, 3.0), speak(WOMAN, 3.0)
    tracks = {
        "inbound": np.concatenate([man, np.zeros_like(woman)]),
        "outbound": np.concatenate([np.zeros_like(man), woman]),
    }
    coders: dict[str, Callable[[Samples], bytes]] = {
        "PCMU": mulaw, "G722": g722, "L16<": partial(l16, order="<"), "L16>": partial(l16, order=">"),
    }  # fmt: skip
    sides = {name: coders[codec](sound) for name, sound in tracks.items()}
    size = 20 * bytes_per_ms
    encoding = {"PCMU": "mulaw", "G722": "g722"}.get(codec, "s16le&rate=16000")
    ticket = await a_ticket(phone.http, f"encoding={encoding}&channels=2")
    async with phone.http.get(f"{ticket['session']}/events") as events:
        async with phone.http.ws_connect(ticket["url"].replace("/listen/", "/listen/telnyx/")) as socket:
            await say(socket, telnyx_start(codec.rstrip("<>"), rate))
            for number in range(len(sides["inbound"]) // size):
                for name, data in sides.items():
                    await say(socket, media(name, number, data[number * size : (number + 1) * size]))
            await say(socket, STOP)
            assert (await until_closed(socket))[1] == 1000
        lines = (await events.read()).splitlines()
    told = [protocol.decode(line.removeprefix(b"data: ")) for line in lines if line.startswith(b"data: ")]
    assert {(segment.channel, segment.label) for segment in of(protocol.Segment, told)} == {(0, "male"), (1, "female")}
    assert of(protocol.Summary, told)[0].duration == pytest.approx(6.0, abs=0.1)
    await emptied(phone)


@pytest.mark.parametrize("layout", ["aligned", "efficient"])
async def test_amr_wb_is_heard_on_both_tracks(phone: Server, layout: str) -> None:
    """Telnyx sends it as the phone does, in either layout, and in a pause next to nothing."""
    sides = {name: encoded(speak(voice, 3.0)) for name, voice in (("inbound", MAN), ("outbound", WOMAN))}
    ticket = await a_ticket(phone.http, "encoding=amrwb&channels=2")
    async with phone.http.get(f"{ticket['session']}/events") as events:
        async with phone.http.ws_connect(ticket["url"].replace("/listen/", "/listen/telnyx/")) as socket:
            await say(socket, telnyx_start("AMR-WB", 16_000))
            for number in range(300):
                # The man, then the woman; the silent side sends comfort noise, every 160 ms.
                speaking, silent = ("inbound", "outbound") if number < 150 else ("outbound", "inbound")
                payload = sides[speaking][number % 150]
                if layout == "efficient":
                    payload = efficient(amrwb.frames(payload))
                await say(socket, telnyx_media(speaking, number, payload))
                if number % 8 == 0:
                    await say(socket, telnyx_media(silent, number, b"\xf0\x4c" + bytes(5)))
            await say(socket, STOP)
            assert (await until_closed(socket))[1] == 1000
        lines = (await events.read()).splitlines()
    told = [protocol.decode(line.removeprefix(b"data: ")) for line in lines if line.startswith(b"data: ")]
    assert {(segment.channel, segment.label) for segment in of(protocol.Segment, told)} == {(0, "male"), (1, "female")}
    assert of(protocol.Summary, told)[0].duration == pytest.approx(6.0, abs=0.1)
    await emptied(phone)


def vonage_start(content_type: str = "audio/l16;rate=16000") -> dict[str, Any]:
    return {"event": "websocket:connected", "content-type": content_type, "caller": "Ann"}


@pytest.mark.parametrize("rate", [8_000, 16_000, 24_000])
async def test_a_call_at_vonage_is_labelled(phone: Server, rate: int) -> None:
    """Its WebSocket begins with a text, which /listen took for a command that it does not know."""
    resampled = av.AudioResampler(format="s16", layout="mono", rate=rate)
    sound = np.concatenate([speak(MAN, 3.0), silence(1.0), speak(WOMAN, 3.0)]).astype(np.float32)
    pcm = b"".join(piece.to_ndarray().tobytes() for one in frames(sound) for piece in resampled.resample(one))
    ticket = await a_ticket(phone.http, f"rate={rate}")
    async with phone.http.get(f"{ticket['session']}/events") as events:
        async with phone.http.ws_connect(ticket["url"].replace("/listen/", "/listen/vonage/")) as socket:
            await say(socket, vonage_start(f"audio/l16;rate={rate}"))
            for start in range(0, len(pcm), rate // 25):
                await socket.send_bytes(pcm[start : start + rate // 25])
            await say(socket, {"event": "websocket:dtmf", "digit": "5", "duration": 260})
            # It hangs up without a word.
        lines = (await events.read()).splitlines()
    told = [protocol.decode(line.removeprefix(b"data: ")) for line in lines if line.startswith(b"data: ")]
    assert [change.to for change in of(protocol.Change, told)] == ["male", "female"]
    assert of(protocol.Summary, told)[0].duration == pytest.approx(7.0, abs=0.2)
    await emptied(phone)


async def test_vonage_shows_the_token_in_its_header(phone: Server) -> None:
    async with phone.http.ws_connect("/listen/vonage", headers={"Authorization": f"Bearer {TOKEN}"}) as socket:
        await say(socket, vonage_start())
        await socket.send_bytes(bytes(640))
        await until(lambda: phone.node.live)
    await emptied(phone)
    async with phone.http.ws_connect("/listen/vonage") as socket:
        await say(socket, vonage_start())
        _, code, reason = await until_closed(socket)
    assert (code, "token" in reason) == (1008, True)
    await refusal(phone.http, "/listen/vonage", 401, "unauthorized", Authorization="Bearer wrong")


@pytest.mark.parametrize("content_type", ["", "audio/l16;rate=1", "audio/l16;rate=fast", "audio/pcmu;rate=8000", "l16"])
async def test_what_vonage_does_not_send_is_told(phone: Server, content_type: str) -> None:
    async with phone.http.ws_connect("/listen/vonage", headers={"Authorization": f"Bearer {TOKEN}"}) as socket:
        await say(socket, vonage_start(content_type))
        _, code, reason = await until_closed(socket)
    assert code == 1003
    assert "audio/l16" in reason
    await emptied(phone)


async def test_a_gateway_that_sends_next_to_nothing_is_bounded(phone: Server) -> None:
    """Messages of media were not counted, however little they held."""
    async with phone.http.ws_connect("/listen/twilio") as socket:
        await say(socket, twilio_start("inbound", token=TOKEN))
        for _ in range(300):
            await say(socket, media("inbound", 0, b""))
        _, code, reason = await until_closed(socket)
    assert (code, "Too many messages" in reason) == (1008, True)
    await emptied(phone)


async def test_a_payload_that_is_no_amr_wb_is_told(phone: Server) -> None:
    async with phone.http.ws_connect(f"/listen/telnyx?token={TOKEN}") as socket:
        await say(socket, telnyx_start("AMR-WB", 16_000), media("inbound", 0, b"\xff" * 160))
        _, code, reason = await until_closed(socket)
    assert (code, reason) == (1007, "The payload is no AMR-WB of RFC 4867.")
    await emptied(phone)


def telnyx_media(track: str, number: int, payload: bytes) -> dict[str, Any]:
    """A message without a number in its track, as its time alone says where it belongs."""
    message = media(track, number, payload)
    del message["media"]["chunk"]
    return message


@pytest.mark.parametrize("codec", ["EVS", "", None])
async def test_a_codec_that_is_not_taken_is_told_with_those_that_are(phone: Server, codec: str) -> None:
    async with phone.http.ws_connect(f"/listen/telnyx?token={TOKEN}") as socket:
        await say(socket, telnyx_start(codec))
        _, code, reason = await until_closed(socket)
    assert code == 1003
    assert reason == "Ask for another stream_codec: PCMU, PCMA, G722, L16, AMR-WB, OPUS are taken."


@pytest.mark.parametrize("rate", [1, 96_000, "fast", None, [], {}, 8e3, True])
async def test_a_rate_that_is_none_is_told(phone: Server, rate: object) -> None:
    async with phone.http.ws_connect(f"/listen/telnyx?token={TOKEN}") as socket:
        await say(socket, telnyx_start("L16", rate))
        _, code, reason = await until_closed(socket)
    assert code == 1003
    assert "sample rate" in reason
