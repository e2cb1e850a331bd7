"""Eight voices by one connection beside eight calls, and beside four: server CPU and delay. The same speech, in Opus.

All of them speak without a pause, except in a row of its own: there one speaks and the others are silent, as in a
meeting.

``python -m tests.benchmarks.rooms`` places them, in a process of its own: each line of its input is
``URL CONNECTIONS VOICES SPEAKERS SHARE``, and each line of its output a report. One process does for all: to start
one and to synthesise the speech took as long as what was measured. All shapes are measured while they hear the same
speech, ``SHARE`` of it, from another place for each voice: its pauses cost the model nothing.
"""

import asyncio
import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from itertools import cycle, repeat
from statistics import median
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
from tests.benchmarks.processes import a_helper, a_server, voxgender_server
from tests.benchmarks.tables import Measured, markdown
from voxgender.media.aiortc_internals.ice import bind_ice
from voxgender.peer import speech
from voxgender.peer.meter import Meter
from voxgender.peer.pacer import Pacer
from voxgender.peer.player import Player, Writer
from voxgender.peer.sending import write_rtp
from voxgender.peer.whip import WhipClient
from voxgender.protocol import EVENTS_CHANNEL, RESULTS_CHANNEL, Result, decode

VOICES = 8
IDLE_S = 6.0
SETTLE_S = 1.5
PACKET_S = 0.04
PAUSE_S, CLOCK_HZ = 0.4, 48_000
"""Time between two packets of a silent voice, and ticks of their timestamps in a second."""
SILENCE = bytes((0xF8,))
"""20 ms of Opus without a frame: the decoder conceals them, or plays its comfort noise."""
TARGET = 1.0
"""CPU of eight voices in one call to that of four calls."""
CALLS, ROOM, HALF = f"{VOICES} calls", f"a room of {VOICES}", f"{VOICES // 2} calls"
MEETING = f"a room of {VOICES}, one of whom speaks"
SHAPES = {CALLS: (VOICES, 1, 1), ROOM: (1, VOICES, VOICES), MEETING: (1, VOICES, 1), HALF: (VOICES // 2, 1, 1)}
"""Connections, voices of each, and how many of these speak. A room of eight is analysed on the longer ticks of a busy
server, single calls are too few for them: compare the delays, too.
"""


async def measure(brief: bool) -> Measured:
    share = 0.2 if brief else 1.0
    rows: list[tuple[Any, ...]] = []
    ratios: dict[str, dict[str, float]] = {}
    every: dict[str, dict[str, list[dict[str, float]]]] = {}
    callers = (sys.executable, "-m", "tests.benchmarks.rooms")
    for model in ("off", "embedded"):
        rounds: dict[str, list[dict[str, float]]] = {name: [] for name in SHAPES}
        async with (
            a_server(voxgender_server("--model", model), machine.pinned_to(0)) as url,
            a_helper(callers) as ask,
        ):
            idle = await _idle(url, share * IDLE_S)
            # There, back and there again: the middle of three leaves out what else the machine did for once.
            for name in SHAPES if brief else (*SHAPES, *reversed(SHAPES), *SHAPES):
                connections, voices, speakers = SHAPES[name]
                rounds[name].append(json.loads(await ask(f"{url} {connections} {voices} {speakers} {share}")))
        every[model] = rounds
        cost = {name: _middle(reports, "cpu_percent") - idle for name, reports in rounds.items()}
        ratios[model] = {
            CALLS: cost[ROOM] / cost[CALLS], HALF: cost[ROOM] / cost[HALF], MEETING: cost[MEETING] / cost[HALF]
        }  # fmt: skip
        rows += [
            (
                model, name, cost[name], cost[name] / math.prod(SHAPES[name][:2]), cost[name] / cost[HALF],
                _middle(reports, "p50_ms"), _middle(reports, "p95_ms"), _middle(reports, "results_per_s"),
            )
            for name, reports in rounds.items()
        ]  # fmt: skip
    head = (
        "model", "", "server, % of a core above idle", "% a voice", f"to {HALF}", "latency p50 ms", "p95 ms",
        "results a second",
    )  # fmt: skip
    verdict = " and ".join(
        f"{ratio[CALLS]:.2f} of {CALLS} and {ratio[HALF]:.2f} of {HALF} with model {model}, "
        f"{ratio[MEETING]:.2f} of {HALF} where one of them speaks"
        for model, ratio in ratios.items()
    )
    told = f"{VOICES} voices in one call cost {verdict}. To reach: {TARGET:g} of {HALF}."
    return Measured(
        {"share": share, "ratios": ratios, "target": TARGET, "rounds": every, "rows": rows},
        f"{markdown(head, rows)}\n\n{told}",
    )


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


def _middle(reports: list[dict[str, float]], name: str) -> float:
    return median(report[name] for report in reports)


class _Pausing:
    """Sends one packet of many, as Opus encoders do in a pause (RFC 6716 section 2.1.9)."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def write(self, payload: bytes, timestamp: int) -> None:
        if timestamp % (PAUSE_S * CLOCK_HZ) == 0:
            self._writer.write(payload, timestamp)


class _Placed:
    """One connection that sends several voices, and the results that come back."""

    def __init__(self, first: int, voices: int, speakers: int, packets: Sequence[bytes], pacer: Pacer) -> None:
        self.latencies_ms: list[float] = []
        self.heard: set[int | None] = set()
        self._packets = packets
        self._pc = RTCPeerConnection(RTCConfiguration([], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE))
        self._players: list[Player] = []
        opus = [codec for codec in RTCRtpSender.getCapabilities("audio").codecs if codec.mimeType == "audio/opus"]
        for number in range(voices):
            transceiver = self._pc.addTransceiver("audio", direction="sendonly")
            transceiver.setCodecPreferences(opus)
            speaks = number < speakers
            player = Player(self._from(first + number) if speaks else repeat(SILENCE), pacer)
            self._players.append(player)
            write_rtp(transceiver, player.start if speaks else _paused(player))
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


def _paused(player: Player) -> Callable[[Writer], None]:
    return lambda writer: player.start(_Pausing(writer))


async def _place(
    url: str, connections: int, voices: int, speakers: int, share: float, packets: Sequence[bytes]
) -> dict[str, float]:
    """Return the server's CPU while all voices are heard, and the delay of their results."""
    pacer = Pacer()
    seconds = share * len(packets) * PACKET_S
    async with AsyncExitStack() as stack:
        whip = await stack.enter_async_context(WhipClient(url))
        placed = [_Placed(number * voices, voices, speakers, packets, pacer) for number in range(connections)]
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
    return {name: round(float(value), 2) for name, value in report.items()}


async def _place_all() -> None:
    words = await asyncio.to_thread(speech.synthesised)
    packets = list(words.wideband or words.packets)
    while line := await asyncio.to_thread(sys.stdin.readline):
        url, connections, voices, speakers, share = line.split()
        report = await _place(url, int(connections), int(voices), int(speakers), float(share), packets)
        print(json.dumps(report), flush=True)


if __name__ == "__main__":
    if pin := machine.pinned_to(1):
        pin()
    asyncio.run(_place_all())
