"""``GET /usage``: operators see the sums of what clients were told."""

from collections import Counter
from typing import Any

import pytest
from aiohttp import ClientSession

from tests.http.signing import AS_ALL, SECRET, as_token
from tests.http.test_listen import SECOND, finish, of
from tests.nodes import a_front, a_node
from tests.options import given
from tests.rooms import a_room
from tests.rtc import SDP, ToneTrack, a_peer, a_server
from tests.waits import until
from voxgender import protocol
from voxgender.engine import Engine
from voxgender.settings import FrontSettings


async def usage_of(http: ClientSession, **headers: str) -> dict[str, Any]:
    async with http.get("/usage", headers=headers or AS_ALL) as response:
        assert response.status == 200, await response.text()
        assert response.headers["Cache-Control"] == "no-store, no-transform"
        report: dict[str, Any] = await response.json()
        return report


async def counted(http: ClientSession, calls: int) -> dict[str, Any]:
    """Wait until so many calls have ended and none is on; return the usage."""

    async def look() -> dict[str, Any] | None:
        report = await usage_of(http)
        are_over = report["total"]["calls"] == calls and not any(node["live"] for node in report["nodes"])
        return report if are_over else None

    return await until(look)


def rows(report: dict[str, Any]) -> dict[str | None, tuple[int, float, float]]:
    return {row["subject"]: (row["calls"], row["audio_s"], row["speech_s"]) for row in report["subjects"]}


def added(messages: list[protocol.Message]) -> tuple[int, int]:
    """Milliseconds of audio and of speech by the summaries of a call."""
    usages = [summary.usage for summary in of(protocol.Summary, messages) if summary.usage is not None]
    assert usages
    return sum(round(1_000 * one.audio_s) for one in usages), sum(round(1_000 * one.speech_s) for one in usages)


async def stream(http: ClientSession, subject: str, seconds: float, query: str = "") -> list[protocol.Message]:
    async with http.ws_connect(f"/listen?{query}", headers=as_token(sub=subject)) as socket:
        await socket.send_bytes(SECOND[: round(32_000 * seconds) & ~3])
        return await finish(socket)


async def room(http: ClientSession, subject: str) -> list[protocol.Message]:
    """Call with two voices; return all that was told on the reliable channel."""
    async with a_room([ToneTrack(), ToneTrack()], ["a", "b"]) as peer:
        async with http.post("/whip", data=await peer.offer(), headers=SDP | as_token(sub=subject)) as response:
            assert response.status == 201
            await peer.accept(await response.text())
            path = response.headers["Location"]
        await peer.until_all(protocol.Result, [0, 1])
        return list(await peer.end(http, path))


async def test_usage_adds_up_to_the_summaries_of_all_calls(http: ClientSession) -> None:
    """Single voices, channels and a room of two subjects, over a server of one process and over a fleet."""
    calls = [
        ("ann", await stream(http, "ann", 1.0)),
        ("ann", await stream(http, "ann", 0.333)),
        ("ann", await room(http, "ann")),
        ("bob", await stream(http, "bob", 0.777, "channels=2")),
        ("bob", await stream(http, "bob", 0.5, "messages=summary&hop_ms=1920")),
    ]
    wanted = {"ann": Counter[str](), "bob": Counter[str]()}
    for subject, messages in calls:
        audio_ms, speech_ms = added(messages)
        wanted[subject].update(calls=1, audio_ms=audio_ms, speech_ms=speech_ms)
        assert {summary.subject for summary in of(protocol.Summary, messages) if summary.usage} == {subject}
    report = await counted(http, len(calls))
    for name, (count, audio_s, speech_s) in rows(report).items():
        assert name is not None
        sums = wanted[name]
        assert (count, round(1_000 * audio_s), round(1_000 * speech_s)) == (
            sums["calls"],
            sums["audio_ms"],
            sums["speech_ms"],
        )
    assert rows(report).keys() == wanted.keys()
    for field in ("calls", "audio_s", "speech_s"):
        total = report["total"][field]
        assert sum(row[field] for row in report["subjects"]) == pytest.approx(total)
        assert sum(node[field] for node in report["nodes"]) == pytest.approx(total)
    assert report["total"]["calls"] == 5
    assert report["unreachable"] == []


async def test_a_call_is_counted_when_it_ends_and_one_that_never_connects_is_not(http: ClientSession) -> None:
    async with a_peer(ToneTrack()) as peer:
        async with http.post("/whip", data=await peer.offer(), headers=SDP | AS_ALL) as response:
            never = response.headers["Location"]
        async with http.ws_connect("/listen", headers=as_token(sub="ann")) as socket:
            await socket.send_bytes(SECOND)
            while protocol.decode(await socket.receive_str()).type != "result":
                pass
            report = await usage_of(http)
            assert (report["total"]["calls"], sum(node["live"] for node in report["nodes"])) == (0, 1)
            await finish(socket)
        async with http.delete(never) as response:
            assert response.status == 200
    assert rows(await counted(http, 1)).keys() == {"ann"}


async def test_callers_without_a_token_of_their_own_are_counted_together(http: ClientSession) -> None:
    async with http.ws_connect("/listen", headers=AS_ALL) as socket:
        await socket.send_bytes(SECOND)
        await finish(socket)
    assert rows(await counted(http, 1)).keys() == {None}


async def test_usage_is_for_operators(engine: Engine) -> None:
    async with a_server(engine, settings=given(FrontSettings, jwt_secret=SECRET)) as server:
        for headers, status, code in (
            ({}, 401, "unauthorized"),
            (as_token(), 403, "insufficient_scope"),
            (as_token(scope="follow:subjects/ann"), 403, "insufficient_scope"),
        ):
            async with server.http.get("/usage", headers=headers) as response:
                assert (response.status, (await response.json())["code"]) == (status, code)
        await usage_of(server.http, **as_token(scope="operator"))
    async with a_server(engine) as server, server.http.get("/usage") as response:
        assert (response.status, (await response.json())["code"]) == (403, "tokens_required")


async def test_a_node_that_cannot_be_asked_is_named(engine: Engine) -> None:
    async with a_node(engine) as one, a_node(engine) as two, a_front(one, two, token="open sesame") as front:
        assert {node["node"] for node in (await usage_of(front.http))["nodes"]} == {one.id, two.id}
        await two.kill()
        report = await usage_of(front.http)
        assert [node["node"] for node in report["nodes"]] == [one.id]
        assert report["unreachable"] == [two.id]
