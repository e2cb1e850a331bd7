"""Callers behind a firewall: TURN by a real coturn, and what is told where there is none."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiortc import RTCIceServer

from tests import turn
from tests.peer.conftest import Serve
from tests.rtc import session_on
from tests.turn import SECRET, Coturn, a_turn_server
from voxgender.cli import main
from voxgender.errors import CallError
from voxgender.http.iceservers import IceServers
from voxgender.peer.caller import Caller
from voxgender.peer.relay import ALLOCATE_TIMEOUT_S, working_relay
from voxgender.peer.speech import Speech
from voxgender.peer.whip import ice_servers


@pytest.fixture
async def coturn(tmp_path: Path) -> AsyncIterator[Coturn]:
    async with a_turn_server(tmp_path) as coturn:
        yield coturn


def told(*uris: str, secret: str = SECRET, ttl_s: int = 600, now: float | None = None) -> list[RTCIceServer]:
    """Servers as a caller gets them from this server's ``Link`` headers."""
    servers = IceServers(uris, turn_secret=secret, turn_ttl_s=ttl_s, clock=lambda: now or time.time())
    return ice_servers(servers.links(subject="ann"))


@pytest.mark.parametrize("transport", turn.TRANSPORTS)
async def test_a_relay_is_had_by_each_transport_and_given_back(
    coturn: Coturn, monkeypatch: pytest.MonkeyPatch, transport: str
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(coturn.certificate))
    (server,) = told(coturn.uri(transport))
    assert await working_relay([server]) is server


async def test_the_first_server_that_works_is_taken(coturn: Coturn) -> None:
    dead, other, good = "turn:127.0.0.1:1?transport=tcp", coturn.uri("tls"), coturn.uri("tcp")
    assert (await working_relay(told(dead, other, good))).urls == good


async def failure(*servers: RTCIceServer, timeout_s: float = ALLOCATE_TIMEOUT_S) -> str:
    with pytest.raises(CallError) as caught:
        await working_relay(servers, timeout_s=timeout_s)
    assert "\n" not in str(caught.value)
    return str(caught.value)


async def test_a_login_of_another_secret_is_told(coturn: Coturn) -> None:
    said = await failure(*told(coturn.uri("tcp"), secret="south"))
    assert coturn.uri("tcp") in said
    assert "does not take this login (401)" in said


async def test_a_login_that_has_expired_is_told(coturn: Coturn) -> None:
    (expired,) = told(coturn.uri("udp"), now=time.time() - 3_600)
    said = await failure(expired)
    assert "it has expired" in said
    assert str(expired.credential) not in said


async def test_a_certificate_that_nobody_trusts_is_told(coturn: Coturn) -> None:
    assert "its certificate is not trusted: self" in await failure(*told(coturn.uri("tls")))


async def test_a_server_that_is_not_there_is_told() -> None:
    servers = told("turn:127.0.0.1:1?transport=tcp", "turn:127.0.0.1:1?transport=udp", "turn:no.invalid")
    said = await failure(*servers, timeout_s=0.05)
    assert said.count("turn:") == 3
    assert "onnect" in said
    assert "no answer" in said


async def test_what_says_no_turn_is_told() -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        uri = f"turn:127.0.0.1:{server.sockets[0].getsockname()[1]}?transport=tcp"
        assert f"{uri}: no answer" in await failure(*told(uri), timeout_s=0.05)


@pytest.mark.parametrize("transport", turn.TRANSPORTS)
async def test_a_whole_call_goes_by_the_relay_alone(
    coturn: Coturn,
    serve: Serve,
    short_speech: Speech,
    monkeypatch: pytest.MonkeyPatch,
    transport: str,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(coturn.certificate))
    server = await serve(ice_server=[coturn.uri(transport)], turn_secret=SECRET)
    ways: list[str] = []

    def look() -> None:
        session = session_on(server.node)
        connection = session._pc.getTransceivers()[0].receiver.transport.transport._connection
        ways.extend(pair.remote_candidate.type for pair in connection._nominated.values())

    report = await Caller(server.url, short_speech, route="relay").run(on_connected=look)
    assert report.ended == "played"
    assert report.results
    assert report.summary is not None
    assert ways == ["relay"]


async def refused_call(url: str, speech: Speech) -> str:
    with pytest.raises(CallError) as caught:
        await Caller(url, speech, route="relay").run()
    assert "\n" not in str(caught.value)
    return str(caught.value)


async def test_a_call_by_relay_alone_says_what_is_missing(serve: Serve, short_speech: Speech) -> None:
    server = await serve()
    assert "--ice-server turn:HOST" in await refused_call(server.url, short_speech)
    server = await serve(ice_server=["turn:127.0.0.1"], turn_secret=SECRET, token="open sesame")
    assert "the token" in await refused_call(server.url, short_speech)


async def test_a_call_with_a_login_that_is_not_taken_says_so(
    coturn: Coturn, serve: Serve, short_speech: Speech
) -> None:
    server = await serve(ice_server=[coturn.uri("udp")], turn_secret="south")
    assert "does not take this login (401)" in await refused_call(server.url, short_speech)
    assert server.node.live == 0


async def test_the_command_line_says_it_in_one_line(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    server = await serve()
    assert await asyncio.to_thread(main, ["call", server.url, "--relay-only"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("voxgender: http://127.0.0.1")
    assert "--ice-server turn:HOST" in said
    assert said.count("\n") == 1
