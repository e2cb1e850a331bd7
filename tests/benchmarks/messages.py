"""Messages of one turn on their way to a client, and their acknowledgement: aiortc's way beside ours, in the server.

Two real peers with DTLS between them, whose datagrams are handed over by hand: so the kernel's part is left out, and
the client's is not counted.
"""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import numpy as np
from aiortc import RTCPeerConnection

from tests.benchmarks.tables import Measured, markdown
from tests.media.aiortc_internals.pair import Pair, a_pair
from tests.rtc import LOOPBACK
from voxgender.media.aiortc_internals.bundling import bundle
from voxgender.media.aiortc_internals.closing import suppress_close_errors
from voxgender.media.aiortc_internals.ice import HostAddresses, gather_on
from voxgender.media.aiortc_internals.records import read_records
from voxgender.media.aiortc_internals.sctp import bound
from voxgender.media.sockets import Sockets
from voxgender.protocol import Result

ROUNDS, BRIEF_ROUNDS = 40, 5
TURNS = (1, 8)
"""Results of one turn: of a call, and of a room of eight."""
AIORTC, OURS = "aiortc's", "ours"
_CACHES_BYTES = 1 << 25
_EVER = 1e9


async def measure(brief: bool) -> Measured:
    rounds = BRIEF_ROUNDS if brief else ROUNDS
    rows: list[tuple[Any, ...]] = []
    ratios: dict[str, float] = {}
    for caches, chill in (("warm", lambda: None), ("cold", _Chill(_CACHES_BYTES))):
        for results in TURNS:
            # There and back, so that a machine whose speed drifts wrongs neither.
            costs: dict[str, list[tuple[float, float, float]]] = {AIORTC: [], OURS: []}
            for way in (AIORTC, OURS, OURS, AIORTC):
                costs[way].append(await _cost(way == OURS, results, rounds, chill))
            mean = {
                way: [statistics.mean(column) for column in zip(*of_way, strict=True)] for way, of_way in costs.items()
            }
            theirs = sum(mean[AIORTC][:2])
            for way, (sent_us, acknowledged_us, packets) in mean.items():
                ratio = (sent_us + acknowledged_us) / theirs
                rows.append((results, caches, way, round(packets), sent_us, acknowledged_us, ratio))
            ratios[f"{results} {caches}"] = sum(mean[OURS][:2]) / theirs
    head = ("results of a turn", "caches", "way", "packets", "sent, µs", "acknowledged, µs", "together, to aiortc's")
    return Measured({"rounds": rounds, "ratios": ratios, "rows": rows}, markdown(head, rows))


class _Chill:
    """Drives from the caches what is in them."""

    def __init__(self, size: int) -> None:
        self._others = np.ones(size, dtype=np.uint8)

    def __call__(self) -> None:
        self._others.sum()


class _Held:
    """A transport that keeps datagrams of DTLS."""

    def __init__(self, transport: Any) -> None:
        self.kept: list[bytes] = []
        self._transport = transport

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def sendto(self, data: bytes, address: Any = None) -> None:
        if 19 < data[0] < 64:
            self.kept.append(bytes(data))
        else:
            self._transport.sendto(data, address)

    def take(self) -> list[bytes]:
        kept, self.kept = self.kept, []
        return kept


class _End:
    """One end of a call, whose datagrams are handed over by hand."""

    def __init__(self, pc: RTCPeerConnection) -> None:
        self.sctp = cast("Any", pc.sctp)
        self._protocol = self.sctp.transport.transport._connection._nominated[1].protocol
        self.out = _Held(self._protocol.transport)

    def hold(self) -> None:
        vars(self._protocol)["transport"] = self.out

    def restore(self) -> None:
        vars(self._protocol)["transport"] = self.out._transport

    def receive(self, datagrams: list[bytes]) -> None:
        for datagram in datagrams:
            self._protocol.datagram_received(datagram, (LOOPBACK, 9))


@asynccontextmanager
async def _a_call(*, together: bool) -> AsyncIterator[Pair]:
    sockets = Sockets()

    def before_answer(callee: RTCPeerConnection) -> None:
        gather_on(callee, sockets, HostAddresses((LOOPBACK,)))
        suppress_close_errors(callee)
        bound(callee, lambda _: None, chunks_at_once=_EVER)
        if together:
            bundle(callee)
            callee.on("connectionstatechange", lambda: read_records(callee))

    async with a_pair(before_answer) as pair:
        track = pair.caller.getSenders()[0].track
        assert track is not None
        track.stop()
        yield pair


async def _cost(together: bool, results: int, rounds: int, chill: Callable[[], None]) -> tuple[float, float, float]:
    """Return the CPU time that sending takes and that acknowledgements take, µs, and the number of packets."""
    async with _a_call(together=together) as pair:
        server, client = _End(pair.callee), _End(pair.caller)
        channel = server.sctp._data_channels[pair.channel.id]
        await _until(lambda: not server.sctp._sent_queue)
        for end in (server, client):
            end.hold()
        sent_us, acknowledged_us, packets = [], [], 0
        try:
            for number in range(rounds):
                texts = [_result(number, voice).to_json() for voice in range(results)]

                async def send(texts: list[str] = texts) -> None:
                    for text in texts:
                        channel.send(text)
                    await _until(lambda: len(server.sctp._sent_queue) == results)

                sent_us.append(await _cpu_us(send, chill))
                datagrams = server.out.take()
                packets = len(datagrams)
                client.receive(datagrams)
                await _until(lambda packets=packets: len(client.out.kept) == packets)  # type: ignore[misc]
                acknowledgements = client.out.take()

                async def acknowledge(acknowledgements: list[bytes] = acknowledgements) -> None:
                    server.receive(acknowledgements)
                    await _until(lambda: not server.sctp._sent_queue)

                acknowledged_us.append(await _cpu_us(acknowledge, chill))
        finally:
            for end in (server, client):
                end.restore()
        return statistics.median(sent_us), statistics.median(acknowledged_us), packets


async def _until(is_so: Callable[[], bool]) -> None:
    while not is_so():  # noqa: ASYNC110 - the loop is to turn, not to wait
        await asyncio.sleep(0)


async def _cpu_us(do: Callable[[], Awaitable[None]], chill: Callable[[], None]) -> float:
    chill()
    began_at = time.thread_time()
    await do()
    return (time.thread_time() - began_at) * 1e6


def _result(number: int, voice: int) -> Result:
    stages = ("receive", "reorder", "queue", "decode", "gate", "inference", "send")
    return Result(
        channel=voice, mid=str(voice), name=f"voice {voice}", seq=number, start=float(number), end=number + 0.192,
        label="female", confidence=0.9123, scores={"male": 0.0877, "female": 0.9123}, latency_ms=16.4,
        stages_ms=dict.fromkeys(stages, 2.3),
    )  # fmt: skip
