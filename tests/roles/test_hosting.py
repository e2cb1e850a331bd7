"""A server stops when it is told to, and waits for no more than it must."""

import asyncio
import atexit
import gc
import socket
import threading
from contextlib import AsyncExitStack

import pytest
from aiohttp import web

from tests.rtc import LOOPBACK
from voxgender.errors import ModelError, VoxgenderError
from voxgender.roles import hosting
from voxgender.roles.hosting import Stop, freeze_loaded, listen, load_in_thread, url_of


async def test_the_first_sigterm_drains_and_the_second_does_not_wait() -> None:
    stop = Stop()
    stop.drain()
    assert stop.asked.is_set()
    assert not stop.now.is_set()
    stop.drain()
    assert stop.now.is_set()


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 here")
async def test_all_addresses_of_ipv6_are_all_of_ipv4_too() -> None:
    """Listen to both with ``--host ::``, as other servers do.

    asyncio left IPv4 out. A media node that listened on ``::`` told signaling its address on the way to Redis, which
    was one of IPv4, so no call reached it.
    """
    async with AsyncExitStack() as stack:
        port = await listen(web.Application(), stack, host="::", port=0)
        for host in (LOOPBACK, "::1"):
            _, writer = await asyncio.open_connection(host, port)
            writer.close()
        with pytest.raises(VoxgenderError, match=f"cannot listen on :: port {port}"):
            await listen(web.Application(), stack, host="::", port=port)


async def test_sigint_does_not_wait() -> None:
    stop = Stop()
    stop.at_once()
    assert stop.asked.is_set()
    assert stop.now.is_set()


async def test_what_is_loaded_is_returned_and_an_error_is_raised() -> None:
    assert await load_in_thread(lambda: threading.current_thread().daemon) is True

    def fail() -> None:
        raise ModelError("no such model")

    with pytest.raises(ModelError, match="no such model"):
        await load_in_thread(fail)


def test_what_is_loaded_is_looked_through_by_the_collector_no_more() -> None:
    before = len(gc.get_objects())
    try:
        freeze_loaded()
        assert gc.get_freeze_count() > 0.9 * before
        assert len(gc.get_objects()) < 0.1 * before
    finally:
        gc.unfreeze()


async def test_a_cancelled_caller_does_not_wait_for_what_is_being_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[object] = []
    monkeypatch.setattr(atexit, "register", left.append)
    loading, let = threading.Event(), threading.Event()

    def load() -> bool:
        loading.set()
        return let.wait()

    waiting = asyncio.create_task(load_in_thread(load))
    await asyncio.to_thread(loading.wait)
    waiting.cancel()
    try:
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert left == [hosting._leave]
    finally:
        let.set()


async def test_an_address_that_is_taken_is_said_so() -> None:
    async with AsyncExitStack() as stack:
        port = await listen(web.Application(), stack, host=LOOPBACK, port=0)
        with pytest.raises(VoxgenderError, match=f"port {port} .*choose another with --port"):
            await listen(web.Application(), stack, host=LOOPBACK, port=port)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("0.0.0.0", "http://localhost:1/"),
        ("::", "http://localhost:1/"),
        ("127.0.0.1", "http://localhost:1/"),
        ("192.0.2.1", "http://192.0.2.1:1/"),
        ("2001:db8::1", "http://[2001:db8::1]:1/"),
    ],
)
def test_the_page_is_where_a_browser_finds_it(host: str, url: str) -> None:
    assert url_of(host, 1) == url
