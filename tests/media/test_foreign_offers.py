"""Offers as gateways, GStreamer and proxies make them, each from a real peer whose call has to come up."""

import asyncio
import re
import socket

import pytest
from aiortc.sdp import SessionDescription
from prometheus_client import REGISTRY

from tests.rtc import FRAGMENT, LOOPBACK, SDP, Peer, Server, ToneTrack, a_peer, a_server
from voxgender.engine import Engine
from voxgender.protocol import Hello, Result, decode


async def open_call(server: Server, peer: Peer, offer: str) -> tuple[str, str]:
    """Place a call with an offer that was changed on its way; the session's path and the answer."""
    async with server.http.post("/whip", data=offer, headers=SDP) as response:
        assert response.status == 201, await response.text()
        answer = await response.text()
        await peer.accept(answer)
        return response.headers["Location"], answer


async def first_result(server: Server, path: str) -> None:
    """Wait until results come by server-sent events."""
    async with server.http.get(f"{path}/events") as events:
        async for line in events.content:
            if line.startswith(b"data: ") and isinstance(decode(line.removeprefix(b"data: ")), Result):
                return
    raise AssertionError("the call ended without a result")


async def end(server: Server, path: str, peer: Peer) -> None:
    """End the call and find nothing left of it: neither its session nor its place on a socket, nor a task."""
    async with server.http.delete(path) as response:
        assert response.status == 200
    assert server.node.live == 0
    assert server.node.sockets.shared == []
    await peer.close()
    coroutines = [getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks()]
    assert [name for name in coroutines if name.startswith(("RTC", "Connection", "Session"))] == []


def without(text: str, *starts: str) -> str:
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith(starts))


@pytest.mark.parametrize("missing", [("a=group:",), ("a=mid:",), ("a=group:", "a=mid:")], ids=["group", "mid", "both"])
async def test_audio_is_served_alone_where_nothing_is_bundled(server: Server, missing: tuple[str, ...]) -> None:
    """GStreamer and SIP gateways bundle nothing: they were answered with 201, and heard nothing for ever.

    The answer named a group that nobody had offered, two transports took one another's place on the shared socket, and
    ``DELETE`` was a ``KeyError``.
    """
    async with a_peer(ToneTrack()) as peer:
        peer.channels()
        offer = without(await peer.offer(), *missing)
        async with server.http.post("/whip", data=offer, headers=SDP) as response:
            assert response.status == 201, await response.text()
            path, answer = response.headers["Location"], await response.text()
        assert "a=group:" not in answer
        assert ("a=mid:" in answer) == ("a=mid:" not in missing)
        audio, data = SessionDescription.parse(answer).media
        assert (audio.kind, audio.direction, data.kind, data.port) == ("audio", "recvonly", "application", 0)
        await end(server, path, peer)


@pytest.mark.parametrize("missing", [("a=group:",), ("a=mid:",), ("a=group:", "a=mid:")], ids=["group", "mid", "both"])
async def test_a_call_that_bundles_nothing_comes_up_and_tells_its_results_by_events(
    server: Server, missing: tuple[str, ...]
) -> None:
    async with a_peer(ToneTrack()) as peer:
        offer = without(await peer.offer(), *missing)
        async with server.http.post("/whip", data=offer, headers=SDP) as response:
            path, answer = response.headers["Location"], await response.text()
        assert "a=group:" not in answer
        # The peer itself knows its line by a name.
        await peer.accept(answer if "a=mid:" in answer else answer.replace("a=recvonly", "a=recvonly\r\na=mid:0"))
        await first_result(server, path)
        await end(server, path, peer)


async def test_candidates_that_are_all_names_and_complete_do_not_end_a_call(server: Server) -> None:
    """Firefox that waits for its candidates offers so: aioice gave up before the first check of the browser's came."""
    async with a_peer(ToneTrack()) as peer:
        peer.channels()
        offer = re.sub(r"(a=candidate:\S+ 1 udp \d+) \S+", r"\1 3c5d-1f.local", await peer.offer())
        assert ".local" in offer
        assert "a=end-of-candidates" in offer
        path, _ = await open_call(server, peer, offer)
        await peer.until(Result)
        await end(server, path, peer)


@pytest.mark.parametrize("session", ["", "a=sendrecv\r\n"])
async def test_a_direction_need_not_be_said_with_the_line(server: Server, session: str) -> None:
    async with a_peer(ToneTrack()) as peer:
        peer.channels()
        offer = without(await peer.offer(), "a=sendrecv").replace("a=group:", session + "a=group:", 1)
        path, _ = await open_call(server, peer, offer)
        await peer.until(Result)
        await end(server, path, peer)


async def test_codecs_may_be_offered_by_number_alone(server: Server) -> None:
    """Alexa offers G.711 without ``a=rtpmap`` lines (RFC 3551 section 6)."""
    async with a_peer(ToneTrack()) as peer:
        peer.channels()
        offer = without(await peer.offer(), "a=rtpmap:", "a=fmtp:")
        offer = re.sub(r"(m=audio \d+ \S+) .*", r"\1 0 8\r", offer)
        path, answer = await open_call(server, peer, offer)
        assert "PCMU/8000" in answer
        await peer.until(Result)
        await end(server, path, peer)


async def test_a_client_that_takes_short_messages_alone_is_told_which_ones_a_call_has(server: Server) -> None:
    """Tags made ``hello`` longer than was offered: the call was ended for "what SCTP does not allow"."""
    tags = {"tags": ",".join(letter * 64 for letter in "äëïöüÿçñ"), "reference": "ß" * 128}
    async with a_peer(ToneTrack()) as peer:
        peer.channels()
        offer = re.sub(r"a=max-message-size:\d+", "a=max-message-size:1200", await peer.offer())
        async with server.http.post("/whip", data=offer, headers=SDP, params=tags) as response:
            assert response.status == 400
            problem = await response.json()
        assert "a=max-message-size" in problem["detail"]
        assert server.node.live == 0
        path, _ = await open_call(server, peer, offer)
        await peer.until(Result)
        await end(server, path, peer)


async def test_candidates_of_a_line_that_is_not_used_are_no_ice_restart(server: Server) -> None:
    """Without a bundle each line has its own user name. One of another line was refused, and all candidates with it."""
    async with a_peer(ToneTrack()) as peer:
        offer = without(await peer.offer(), "a=candidate", "a=end-of-candidates", "a=group:")
        (ufrag,) = re.findall(r"a=ice-ufrag:(\S+)", offer)
        async with server.http.post("/whip", data=offer, headers=SDP) as response:
            assert response.status == 201, await response.text()
            path = response.headers["Location"]
        candidate = "a=candidate:1 1 udp 9 127.0.0.1 9 typ host\r\n"
        lines = (("audio", "0", ufrag), ("application", "1", "other"))
        fragment = "".join(
            f"m={kind} 9 x 0\r\na=mid:{mid}\r\na=ice-ufrag:{name}\r\n{candidate}" for kind, mid, name in lines
        )
        async with server.http.patch(path, data=fragment, headers=FRAGMENT) as response:
            assert response.status == 204, await response.text()
        await end(server, path, peer)


async def test_addresses_that_most_clients_reach_stand_first(engine: Engine) -> None:
    """FFmpeg's WHIP tries the first candidate alone."""
    public = ["2001:db8::7", "192.168.1.7", "8.8.8.8"]
    async with (
        a_server(engine, ice_addresses=["::1", LOOPBACK], advertise_addresses=public) as server,
        a_peer(ToneTrack()) as peer,
        server.http.post("/whip", data=await peer.offer(), headers=SDP) as response,
    ):
        answer = await response.text()
    candidates = [line.split()[4] for line in answer.splitlines() if line.startswith("a=candidate:")]
    assert candidates == ["8.8.8.8", "192.168.1.7", "2001:db8::7"]


async def test_a_refused_offer_is_no_call_that_ended(engine: Engine) -> None:
    """Refused offers were counted as calls that had ``left``, more of them than had ever started."""

    def count() -> float:
        return sum(
            sample.value
            for metric in REGISTRY.collect()
            if metric.name == "voxgender_sessions_ended"
            for sample in metric.samples
            if sample.name.endswith("_total")
        )

    before = count()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind((LOOPBACK, 0))
        port = taken.getsockname()[1]
        async with a_server(engine, udp_ports=(port, port)) as server, a_peer(ToneTrack()) as peer:
            for body in ("hello", "v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\n"):
                async with server.http.post("/whip", data=body, headers=SDP) as response:
                    assert response.status in (400, 422)
            async with server.http.post("/whip", data=await peer.offer(), headers=SDP) as response:
                assert response.status == 503
    assert count() == before


async def test_the_user_name_that_opens_a_call_is_long(server: Server) -> None:
    async with a_peer(ToneTrack()) as peer:
        peer.channels()
        path, answer = await open_call(server, peer, await peer.offer())
        (ufrag,) = set(re.findall(r"a=ice-ufrag:(\S+)", answer))
        assert len(ufrag) == 16
        await peer.until(Hello)
        await end(server, path, peer)
