"""Nothing of a call stays behind, and nothing in it grows for as long as it lasts.

Objects are counted, not bytes of the process: allocators keep what they like.
"""

import asyncio
import gc
import sys
from collections import Counter
from pathlib import Path

import pytest
from aioice import Connection
from aioice.ice import StunProtocol
from aiortc import RTCDataChannel, RTCPeerConnection, RTCRtpReceiver

from tests.replay import replay
from tests.rtc import Server
from voxgender.analysis import Analyzer
from voxgender.analysis.listener import Listener
from voxgender.media.outbox import Outbox
from voxgender.media.receiver import AudioReceiver
from voxgender.media.session import Session
from voxgender.peer import speech
from voxgender.peer.caller import Caller
from voxgender.peer.pacer import Pacer
from voxgender.peer.speech import Speech

CALLS = 100
AT_ONCE = 10
OF_A_CALL = (
    Session, Outbox, AudioReceiver, Listener, Caller, RTCPeerConnection, RTCDataChannel, RTCRtpReceiver, Connection,
    StunProtocol,
)  # fmt: skip


@pytest.fixture(scope="module")
def packets() -> list[bytes]:
    return list(speech.synthesised(loss=1).packets)


def alive() -> Counter[str]:
    """How many there are of what a call is made of."""
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

    # What is made once, at the first call, is none of the others'.
    await place()
    await asyncio.sleep(0)
    before, files, tasks = alive(), open_files(), len(asyncio.all_tasks())

    async with asyncio.TaskGroup() as group:
        for _ in range(CALLS):
            group.create_task(place())

    async with asyncio.timeout(10):
        while len(asyncio.all_tasks()) > tasks or alive() != before:  # noqa: ASYNC110 - no event tells of the last one
            await asyncio.sleep(0.1)
    assert not server.node.sessions()
    assert pacer.idle
    # The HTTP client and server may keep a connection each for the next one.
    assert open_files() <= files + 2


async def test_ten_minutes_of_packets_leave_nothing_in_a_call(packets: list[bytes]) -> None:
    """Of 30,000 packets and 3,000 results, with losses; sequence numbers go round on the way."""
    analyzer = Analyzer(None)
    blocks: list[int] = []
    try:
        async for _ in replay(analyzer, packets, 600, every_s=200, loss=1):
            gc.collect()
            blocks.append(sys.getallocatedblocks())
    finally:
        analyzer.close()

    assert len(blocks) == 3
    # Every object has a block, arrays too. A third is 10,000 packets and 1,000 results.
    assert blocks[2] - blocks[1] < 500
