"""The end of a connection: no errors in the log, and nothing that its parts hold of one another."""

import asyncio
import gc
import inspect
import re
from typing import Any

import pytest
from aiortc import InvalidStateError, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.rtcsctptransport import ForwardTsnChunk, ShutdownAckChunk

from tests.media.aiortc_internals.pair import a_pair, on_loopback
from tests.rtc import ToneTrack
from tests.waits import until
from voxgender.media.aiortc_internals.bundling import bundle
from voxgender.media.aiortc_internals.closing import close, suppress_close_errors


async def test_a_connection_that_closes_while_it_connects_is_no_error() -> None:
    """The log filled with "Task exception was never retrieved" when calls ended while connecting."""
    pc: Any = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    assert inspect.iscoroutinefunction(pc._RTCPeerConnection__connect)

    async def fail() -> None:
        raise InvalidStateError

    pc._RTCPeerConnection__connect = fail
    suppress_close_errors(pc)
    await pc._RTCPeerConnection__connect()
    await pc.close()


@pytest.mark.parametrize("timer", ["_t1_expired", "_t2_expired", "_t3_expired"])
async def test_a_chunk_that_is_sent_again_at_the_very_end_is_no_error(timer: str) -> None:
    """A call waits a second for its last messages, and SCTP sends them again after a second.

    So both happened in one tick of the loop now and then: DTLS was shut down before the task of the timer ran, and a
    soak left some tracebacks of OpenSSL ("protocol is shutdown") a minute.
    """
    errors: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))

    def prepare(callee: RTCPeerConnection) -> None:
        suppress_close_errors(callee)
        bundle(callee)
        on_loopback(callee)

    async with a_pair(prepare) as pair:
        sctp: Any = pair.callee.sctp
        chunk = ShutdownAckChunk()
        if timer != "_t3_expired":
            getattr(sctp, timer.replace("expired", "start"))(chunk)
            getattr(sctp, timer.replace("expired", "handle")).cancel()
        stop = sctp.stop

        async def stop_as_the_timer_goes_off() -> None:
            getattr(sctp, timer)()
            sctp._forward_tsn_chunk = ForwardTsnChunk()
            await stop()

        sctp.stop = stop_as_the_timer_goes_off
        await close(pair.callee)
        for _ in range(5):
            await asyncio.sleep(0)
        assert not any((sctp._t1_handle, sctp._t2_handle, sctp._t3_handle))
        del sctp.stop
        assert not {name for name in vars(sctp) if callable(getattr(type(sctp), name, None))}
    gc.collect()
    assert not errors


async def test_close_undoes_what_aiortc_leaves_of_a_call_that_never_came_up() -> None:
    """tests/media/test_memory.py shows that it is enough."""
    caller, callee = (RTCPeerConnection(RTCConfiguration(iceServers=[])) for _ in range(2))
    caller.addTrack(ToneTrack())
    on_loopback(caller)
    await caller.setLocalDescription(await caller.createOffer())
    nowhere = re.sub(r"127\.0\.0\.1 \d+(?= typ host)", "127.0.0.1 9", caller.localDescription.sdp)
    await caller.close()
    await callee.setRemoteDescription(RTCSessionDescription(nowhere, "offer"))
    suppress_close_errors(callee)
    on_loopback(callee)
    await callee.setLocalDescription(await callee.createAnswer())
    dtls = callee.getTransceivers()[0].receiver.transport
    connection = dtls.transport._connection
    await until(lambda: any(pair.task for pair in connection._check_list))
    pairs = list(connection._check_list)

    await callee.close()
    assert any(pair.task for pair in connection._check_list), "aioice does it by itself: close need not any more"
    assert dtls.event_names(), "aiortc does it by itself: close need not any more"

    await close(callee)
    assert not connection._check_list
    assert not any(pair.task for pair in pairs)
    assert not dtls.event_names()
    for thing in (callee, connection):
        assert not [name for name in vars(thing) if hasattr(type(thing), name) and callable(vars(thing)[name])]
