"""Nothing of a call stays behind, and nothing in it grows for as long as it lasts.

Objects are counted, not bytes of the process: allocators keep what they like.
"""

import asyncio
import gc
import re
import sys
import weakref
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from aioice import Connection
from aioice.ice import StunProtocol
from aiortc import RTCDataChannel, RTCPeerConnection, RTCRtpReceiver

from tests.replay import replay
from tests.rtc import SDP, Server, ToneTrack, a_peer, session_on
from tests.waits import until
from voxgender.engine import Call, Engine
from voxgender.engine.call_state import CallState
from voxgender.media.calltransport import CallTransport
from voxgender.media.outbox import Outbox
from voxgender.media.receiver import AudioReceiver
from voxgender.media.session import Session
from voxgender.peer import speech
from voxgender.peer.caller import Caller
from voxgender.peer.pacer import Pacer
from voxgender.peer.speech import Speech
from voxgender.protocol import Hello, Result

CALLS = 100
AT_ONCE = 10
OF_A_CALL = (
    Session, Outbox, AudioReceiver, Call, CallState, Caller, RTCPeerConnection, RTCDataChannel, RTCRtpReceiver,
    Connection, StunProtocol,
)  # fmt: skip


@pytest.fixture(scope="module")
def packets() -> list[bytes]:
    return list(speech.synthesised(loss=1).packets)


def alive() -> Counter[str]:
    """Count the objects of the classes that a call is made of."""
    gc.collect()
    kinds = {kind: kind.__name__ for kind in OF_A_CALL}
    return Counter(kinds[type(thing)] for thing in gc.get_objects() if type(thing) in kinds)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.timeout(180)
async def test_nothing_of_a_hundred_calls_is_left(server: Server, packets: list[bytes]) -> None:
    pacer, places = Pacer(), asyncio.Semaphore(AT_ONCE)

    async def place() -> None:
        async with places:
            await Caller(server.url, Speech(packets, ()), duration_s=0.1, pacer=pacer).run()

    # The first call makes objects that the others share.
    await place()
    await asyncio.sleep(0)
    before, files, tasks = alive(), open_files(), len(asyncio.all_tasks())

    async with asyncio.TaskGroup() as group:
        for _ in range(CALLS):
            group.create_task(place())

    await until(lambda: len(asyncio.all_tasks()) <= tasks and alive() == before)
    assert not server.node.places.sessions()
    assert pacer.idle
    # The HTTP client and server may keep a connection each for the next one.
    assert open_files() <= files + 2


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def parts(session: Session) -> dict[str, "weakref.ref[object]"]:
    """Return the objects that a call is made of."""
    pc = session._pc
    (transceiver,) = pc.getTransceivers()
    dtls = transceiver.receiver.transport
    ice = dtls.transport._connection
    things = [
        session,
        session._outbox,
        session._receiver,
        session._call,
        session._call.state,
        pc,
        transceiver.receiver,
        dtls,
        ice,
        *ice._protocols,
    ]
    things += [protocol.transport for protocol in ice._protocols]
    things += [
        thing for thing in (pc.sctp, dtls._ssl, *session._receiver._decoders._decoders.values()) if thing is not None
    ]
    return {type(thing).__name__: weakref.ref(thing) for thing in things}


async def all_gone(parts: dict[str, "weakref.ref[object]"]) -> None:
    def left() -> set[str]:
        return {name for name, part in parts.items() if part() is not None}

    try:
        await until(lambda: not left(), within_s=10)
    except TimeoutError:
        pytest.fail(f"waits for the garbage collector: {left()}")


@pytest.mark.parametrize("ending", ["deleted", "left", "connection_failed"])
@pytest.mark.usefixtures("no_collector")
async def test_a_finished_call_leaves_nothing_for_the_garbage_collector(server: Server, ending: str) -> None:
    """A hundred calls' sockets, ciphers and decoders waited for it: 17 MB after a thousand calls."""
    async with a_peer(ToneTrack()) as peer:
        peer.channels()
        path = await peer.call(server.http)
        await peer.until(Hello)
        await peer.until(Result)
        made = parts(session_on(server.node))
        assert {"RTCSctpTransport", "OpusPayloads", CallTransport.__name__, "Connection"} <= made.keys()
        if ending == "deleted":
            async with server.http.get(f"{path}/events") as events, server.http.delete(path) as response:
                assert response.status == 200
                await events.read()
        elif ending == "left":
            await peer.close()
        else:
            session = session_on(server.node)
            session.end_soon("connection_failed")
            del session
        await all_gone(made)


@pytest.mark.parametrize("candidate", ["127.0.0.1 9", "nobody.local 9"])
@pytest.mark.usefixtures("no_collector")
async def test_a_call_that_never_comes_up_leaves_nothing_for_the_garbage_collector(
    server: Server, candidate: str
) -> None:
    async with a_peer(ToneTrack()) as peer:
        peer.channels()
        offer = re.sub(r"127\.0\.0\.1 \d+(?= typ host)", candidate, await peer.offer())
        async with server.http.post("/whip", data=offer, headers=SDP) as response:
            path = response.headers["Location"]
        made = parts(session_on(server.node))
        await until(lambda: candidate != "127.0.0.1 9" or checks_under_way(server))
        async with server.http.delete(path):
            await all_gone(made)


def checks_under_way(server: Server) -> bool:
    session = session_on(server.node)
    (transceiver,) = session._pc.getTransceivers()
    pairs = transceiver.receiver.transport.transport._connection._check_list
    return any(pair.task is not None for pair in pairs)


@pytest.mark.usefixtures("no_collector")
async def test_a_refused_offer_leaves_nothing_for_the_garbage_collector(server: Server) -> None:
    def connections() -> int:
        return sum(type(thing) is RTCPeerConnection for thing in gc.get_objects())

    async with a_peer(ToneTrack()) as peer:
        peer.channels()
        offer = await peer.offer()
        before = connections()
        no_codec = re.sub(r"(a=rtpmap:\d+) [^/]+", r"\1 other", offer)
        no_role = offer.replace("a=setup:actpass", "a=setup:nonsense")
        for wrong in (no_codec, no_role):
            async with server.http.post("/whip", data=wrong, headers=SDP) as response:
                assert response.status >= 400, await response.text()
        assert connections() == before


async def test_ten_minutes_of_packets_leave_nothing_in_a_call(packets: list[bytes]) -> None:
    """Run 30,000 packets and 3,000 results, with losses; sequence numbers wrap on the way."""
    engine = Engine(None)
    blocks: list[int] = []
    try:
        async for _ in replay(engine, packets, 600, every_s=200, loss=1):
            gc.collect()
            blocks.append(sys.getallocatedblocks())
    finally:
        engine.close()

    assert len(blocks) == 3
    # Every object has a block, arrays too. A third is 10,000 packets and 1,000 results.
    assert blocks[2] - blocks[1] < 500
