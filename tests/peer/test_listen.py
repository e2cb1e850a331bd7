"""``voxgender listen`` and callers over a WebSocket, against a real server."""

import asyncio
import io
import json
import os
import subprocess
import sys
import wave
from itertools import islice
from pathlib import Path

import aiohttp
import av
import numpy as np
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from yarl import URL

from tests.options import given
from tests.rtc import Server, a_server
from tests.support import silence
from voxgender.audiostream import StreamFormat
from voxgender.engine import Engine
from voxgender.errors import AudioError, CallError
from voxgender.peer import speech, terminal
from voxgender.peer.audiosource import FileSource
from voxgender.peer.caller import CallLost
from voxgender.peer.listen import StreamCaller
from voxgender.peer.load import load
from voxgender.peer.voices import MAN, WOMAN, speak
from voxgender.protocol import Change, Hello, Result
from voxgender.settings import FrontSettings

RAW = StreamFormat()


@pytest.fixture
def conversation(tmp_path: Path) -> Path:
    """A man on the left, a woman on the right."""
    man, woman = speak(MAN, 3.0), speak(WOMAN, 3.0)
    left = np.concatenate([man, np.zeros_like(woman)])
    right = np.concatenate([np.zeros_like(man), woman])
    path = tmp_path / "conversation.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=16_000, layout="stereo")
        pcm = (np.stack([left, right], axis=1) * 32_767).astype(np.int16).reshape(1, -1)
        made = av.AudioFrame.from_ndarray(pcm, format="s16", layout="stereo")
        made.sample_rate = 16_000
        container.mux(stream.encode(made))
        container.mux(stream.encode(None))
    return path


async def lines(server: Server, file: Path, **options: object) -> list[dict[str, object]]:
    out = io.StringIO()
    await terminal.listen(server.url, file, raw=RAW, json=True, out=out, **options)  # type: ignore[arg-type]
    return [json.loads(line) for line in out.getvalue().splitlines()]


async def test_a_file_is_streamed_faster_than_real_time_and_its_messages_are_printed(
    hearing: Engine, conversation: Path
) -> None:
    async with a_server(hearing, settings=given(FrontSettings, token="secret")) as server:
        printed = await lines(server, conversation, token="secret")
        assert [line["type"] for line in (printed[0], printed[-1])] == ["hello", "summary"]
        assert printed[-1]["duration"] == pytest.approx(6.0, abs=0.01)
        assert [line["to"] for line in printed if line["type"] == "change"] == ["male", "female"]


async def test_channels_are_printed_apart(hearing: Engine, conversation: Path) -> None:
    async with a_server(hearing) as server:
        out = io.StringIO()
        await terminal.listen(server.url, conversation, raw=RAW, apart=True, out=out)
    assert "[0]" in out.getvalue()
    assert "[1]    3" in out.getvalue()
    assert out.getvalue().count("6.0 s of audio") == 2


async def test_refusals_are_told_in_the_server_s_words(hearing: Engine, conversation: Path) -> None:
    async with a_server(hearing, settings=given(FrontSettings, token="secret")) as server:
        with pytest.raises(CallError, match="give a token"):
            await lines(server, conversation)
        server.node.drain()
        with pytest.raises(CallError, match="shutting down"):
            await lines(server, conversation, token="secret")
    with pytest.raises(CallError, match="is `voxgender serve` running there"):
        await lines(server, conversation)
    with pytest.raises(AudioError, match="cannot be read"):
        await lines(server, conversation / "missing")


async def test_a_proxy_that_lets_no_websocket_through_is_told_and_the_ticket_is_not(
    hearing: Engine, conversation: Path
) -> None:
    """An nginx set up as the documents had it: the line had the whole address of the WebSocket, ticket included."""
    async with a_server(hearing) as server, aiohttp.ClientSession() as upstream:

        async def forward(request: web.Request) -> web.Response:
            url = URL(server.url).join(URL(request.path_qs, encoded=True))
            # Hop-by-hop headers end at a proxy (RFC 9110 section 7.6.1), if it is not told to pass them on.
            async with upstream.request(request.method, url, data=await request.read()) as response:
                return web.Response(
                    status=response.status, body=await response.read(), content_type=response.content_type
                )

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", forward)
        async with TestServer(app) as proxy:
            out = io.StringIO()
            with pytest.raises(
                CallError, match=r"/listen: the WebSocket was refused \(426\); a proxy .* Upgrade"
            ) as told:
                await terminal.listen(str(proxy.make_url("/")), conversation, raw=RAW, json=True, out=out)
    assert "listen/" not in str(told.value)


async def test_a_stream_that_the_server_ends_is_told(hearing: Engine) -> None:
    async with a_server(hearing) as server:
        closing: list[asyncio.Task[None]] = []

        def close_once(message: object) -> None:
            if isinstance(message, Result) and not closing:
                closing.append(asyncio.create_task(server.node.close()))

        with pytest.raises(CallLost, match=r"\(1001\): The server is shutting down"):
            await StreamCaller(server.url, speech.synthesised()).run(close_once)
        await asyncio.gather(*closing)


async def test_a_caller_over_a_websocket_is_measured_as_any(hearing: Engine) -> None:
    async with a_server(hearing) as server:
        messages: list[object] = []
        whole = speech.synthesised()
        words = speech.Speech(list(islice(whole.packets, 200)), whole.turns[:1])
        report = await StreamCaller(server.url, words).run(messages.append)
    assert isinstance(messages[0], Hello)
    assert report.ended == "played"
    assert report.latency_ms is not None
    assert report.lost_results == 0
    assert [turn.delay_ms is not None for turn in report.turns] == [True]
    assert [message.to for message in messages if isinstance(message, Change)] == ["male"]


async def test_a_load_may_come_over_websockets(hearing: Engine) -> None:
    async with a_server(hearing) as server:
        report = await load(server.url, peers=2, seconds=1.0, transport="websocket")
    assert (report.up, report.failed) == (2, {})
    assert report.results > 2


async def test_raw_audio_comes_from_stdin(hearing: Engine) -> None:
    async with a_server(hearing) as server:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "voxgender.cli", "listen", server.url, "-", "--encoding", "f32le", "--rate", "16000",
            "--json", "--tag", "pilot", "--hop-ms", "576",
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=dict(os.environ),
        )  # fmt: skip
        out, _ = await process.communicate(np.concatenate([speak(MAN, 3.0), silence(0.5)]).astype("<f4").tobytes())
        assert process.returncode == 0
    printed = [json.loads(line) for line in out.splitlines()]
    assert (printed[0]["tags"], printed[0]["hop_ms"]) == (["pilot"], 576)
    assert printed[-1]["type"] == "summary"
    assert printed[-1]["male"] > 2


@pytest.mark.parametrize("signs", [(1, -1), (1,) * 9])
async def test_channels_that_ffmpeg_does_not_mix_are_heard(tmp_path: Path, signs: tuple[int, ...]) -> None:
    """Silence was sent of a stereo file with one channel inverted, and a file of nine channels was a traceback."""
    path = tmp_path / "voice.wav"
    tone = (8_000 * np.sin(2 * np.pi * 300 * np.arange(16_000) / 16_000)).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(len(signs))
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(np.stack([sign * tone for sign in signs], axis=1).tobytes())
    sent = b"".join([piece async for piece in FileSource(path).chunks()])
    assert np.abs(np.frombuffer(sent, "<i2")).max() == pytest.approx(8_000, rel=0.01)
    assert len(sent) == pytest.approx(32_000, abs=100)
