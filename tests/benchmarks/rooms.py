"""Eight voices by one connection beside eight calls: server CPU and delay. The same speech, in Opus.

``python -m tests.benchmarks.rooms URL CONNECTIONS VOICES SECONDS`` places them, in a process of its own.
"""

import asyncio
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from itertools import cycle
from typing import Any

import numpy as np
from aiohttp import ClientSession
from aiortc import (
    RTCBundlePolicy,
    RTCConfiguration,
    RTCPeerConnection,
    RTCRtpSender,
    RTCSessionDescription,
)
from yarl import URL

from tests.benchmarks import machine
from tests.benchmarks.processes import a_server, lines_of, voxgender_server
from tests.benchmarks.tables import Measured, markdown
from voxgender.media.aiortc_internals.ice import bind_ice
from voxgender.peer import speech
from voxgender.peer.meter import Meter
from voxgender.peer.pacer import Pacer
from voxgender.peer.player import Player
from voxgender.peer.sending import write_rtp
from voxgender.peer.whip import WhipClient
from voxgender.protocol import EVENTS_CHANNEL, RESULTS_CHANNEL, Result, decode

VOICES = 8
ROOMS = 2
SECONDS = 5.0
TARGET = 0.5
"""CPU of eight voices in one call to that of eight calls."""
SETTLE_S = 2.0
HALF = "half as many calls of one voice"


async def measure(brief: bool) -> Measured:
    rooms, seconds = (1, 3.0) if brief else (ROOMS, SECONDS)
    shapes = {
        "calls of one voice": (rooms * VOICES, 1),
        f"rooms of {VOICES} voices": (rooms, VOICES),
        HALF: (rooms * VOICES // 2, 1),
    }
    rows: list[tuple[Any, ...]] = []
    ratios: dict[str, float] = {}
    for model in ("off", "embedded"):
        rounds: dict[str, list[dict[str, float]]] = {name: [] for name in shapes}
        async with a_server(voxgender_server("--model", model), machine.pinned_to(0)) as url:
            idle = await _idle(url, seconds)
            # There and back, so that a machine whose speed drifts wrongs none of them.
            for name in shapes if brief else (*shapes, *reversed(shapes)):
                rounds[name].append(await _placed(url, *shapes[name], seconds))
        cost = {name: _mean(reports, "cpu_percent") - idle for name, reports in rounds.items()}
        calls, room, _ = cost.values()
        ratios[model] = room / calls
        rows += [
            (
                model, name, *shapes[name],
                cost[name], cost[name] / rooms / VOICES if name != HALF else 2 * cost[name] / rooms / VOICES,
                cost[name] / calls,
                _mean(reports, "p50_ms"), _mean(reports, "p95_ms"), _mean(reports, "results_per_s"),
            )
            for name, reports in rounds.items()
        ]  # fmt: skip
    head = (
        "model", "", "connections", "voices each", "server, % of a core above idle", "% a voice", "to calls",
        "latency p50 ms", "p95 ms", "results a second",
    )  # fmt: skip
    verdict = " and ".join(
        f"{ratio:.2f} of as many calls with model {model} ({'within' if ratio <= TARGET else 'above'} {TARGET})"
        for model, ratio in ratios.items()
    )
    told = f"{VOICES} voices in one call cost {verdict}."
    figures = {"voices": VOICES, "rooms": rooms, "seconds": seconds, "ratios": ratios, "target": TARGET, "rows": rows}
    return Measured(figures, f"{markdown(head, rows)}\n\n{told}")


async def _placed(url: str, connections: int, voices: int, seconds: float) -> dict[str, float]:
    command = (sys.executable, "-m", "tests.benchmarks.rooms", url, str(connections), str(voices), str(seconds))
    (line,) = await lines_of(command)
    report: dict[str, float] = json.loads(line)
    return report


async def _idle(url: str, seconds: float) -> float:
    async with ClientSession() as http:
        return await _cpu_percent(http, url, seconds)


async def _cpu_percent(http: ClientSession, url: str, seconds: float) -> float:
    meter = Meter(http, URL(url) / "metrics")
    before = await meter.read()
    await asyncio.sleep(seconds)
    after = await meter.read()
    assert before.cpu_s is not None
    assert after.cpu_s is not None
    return 100 * (after.cpu_s - before.cpu_s) / (after.at - before.at)


def _mean(reports: list[dict[str, float]], name: str) -> float:
    return sum(report[name] for report in reports) / len(reports)


class _Placed:
    """One connection that sends several voices, and the results that come back."""

    def __init__(self, voices: int, packets: Sequence[bytes], pacer: Pacer) -> None:
        self.latencies_ms: list[float] = []
        self.heard: set[int | None] = set()
        self._packets = packets
        self._pc = RTCPeerConnection(RTCConfiguration([], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE))
        self._players: list[Player] = []
        opus = [codec for codec in RTCRtpSender.getCapabilities("audio").codecs if codec.mimeType == "audio/opus"]
        for number in range(voices):
            transceiver = self._pc.addTransceiver("audio", direction="sendonly")
            transceiver.setCodecPreferences(opus)
            player = Player(self._from(number), pacer)
            self._players.append(player)
            write_rtp(transceiver, player.start)
        for channel in (
            self._pc.createDataChannel(RESULTS_CHANNEL, ordered=False, maxRetransmits=0),
            self._pc.createDataChannel(EVENTS_CHANNEL),
        ):
            channel.on("message", self._receive)

    async def call(self, whip: WhipClient, stack: AsyncExitStack) -> None:
        stack.push_async_callback(self.close)
        bind_ice(self._pc, ["127.0.0.1"])
        await self._pc.setLocalDescription(await self._pc.createOffer())
        session = await whip.open(self._pc.localDescription.sdp)
        stack.push_async_callback(session.delete)
        await self._pc.setRemoteDescription(RTCSessionDescription(session.answer, "answer"))

    async def close(self) -> None:
        for player in self._players:
            player.stop()
        await self._pc.close()

    def _from(self, number: int) -> Iterator[bytes]:
        """Return the speech, over and over, from another place for each voice."""
        start = number * 37 % len(self._packets)
        return cycle([*self._packets[start:], *self._packets[:start]])

    def _receive(self, text: str) -> None:
        if isinstance(message := decode(text), Result):
            self.heard.add(message.channel)
            self.latencies_ms.append(message.latency_ms)


async def _place(url: str, connections: int, voices: int, seconds: float) -> None:
    """Print one line of JSON: the server's CPU while all voices are heard, and the delay of their results."""
    words = await asyncio.to_thread(speech.synthesised)
    packets = list(words.wideband or words.packets)
    pacer = Pacer()
    async with AsyncExitStack() as stack:
        whip = await stack.enter_async_context(WhipClient(url))
        placed = [_Placed(voices, packets, pacer) for _ in range(connections)]
        for one in placed:
            await one.call(whip, stack)
        async with asyncio.timeout(30):
            while not all(len(one.heard) == voices for one in placed):  # noqa: ASYNC110 - it is over once
                await asyncio.sleep(0.1)
        await asyncio.sleep(SETTLE_S)
        for one in placed:
            one.latencies_ms.clear()
        http = await stack.enter_async_context(ClientSession())
        percent = await _cpu_percent(http, url, seconds)
        latencies = np.concatenate([one.latencies_ms for one in placed])
    p50, p95 = np.percentile(latencies, (50, 95))
    report = {"cpu_percent": percent, "p50_ms": p50, "p95_ms": p95, "results_per_s": latencies.size / seconds}
    print(json.dumps({name: round(float(value), 2) for name, value in report.items()}))


if __name__ == "__main__":
    if pin := machine.pinned_to(1):
        pin()
    asyncio.run(_place(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])))
