"""Many calls on one UDP socket."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aioice import stun

from tests.figures import value_of
from tests.waits import until
from voxgender import metrics
from voxgender.engine.schedule import QUIET_TICK_S, TICK_S, Phase
from voxgender.errors import NotReady
from voxgender.media.calltransport import OTHERS_AT_ONCE, OTHERS_PER_S, CallTransport
from voxgender.media.datagrams import PlainReader, pack_address
from voxgender.media.sharedsocket import MAX_TRIALS
from voxgender.media.sockets import CALLS, Sockets

HERE = "127.0.0.1"
RTP = b"\x80\x60" + bytes(20)
DATA = b"\x17" + bytes(20)  # DTLS
PASSWORD = b"password that a call's peer knows"


class Call:
    """Datagrams that one call was handed."""

    def __init__(self) -> None:
        self.transport: Any = None
        self.datagrams: asyncio.Queue[tuple[bytes, Any]] = asyncio.Queue()
        self.media: asyncio.Queue[tuple[bytes, float]] = asyncio.Queue()
        self.errors: list[Exception] = []
        self.lost = asyncio.Event()
        self.password = PASSWORD
        self.trials = 0
        self.in_use: Any = None
        self.forgotten: list[Any] = []
        self.only_answers = False
        self.asked: Any = None
        """The address that its checks went to."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()

    def error_received(self, exc: Exception) -> None:
        self.errors.append(exc)

    def datagram_received(self, data: Any, addr: Any) -> None:
        self.datagrams.put_nowait((data, addr))

    def media_received(self, data: bytes, addr: Any, arrived_at: float) -> bool:
        self.media.put_nowait((data, arrived_at))
        return True

    def introduces(self, data: bytes) -> bool:
        return stun.parse_message(data).check_message_integrity(self.password)

    def recognizes(self, data: bytes, addr: Any, arrived_at: float) -> bool:
        self.trials += 1
        return self.password in data and self.media_received(data, addr, arrived_at)

    def is_answer_from(self, data: bytes, addr: Any) -> bool:
        return bool(addr == self.asked)

    def forget(self, addr: Any) -> bool:
        self.forgotten.append(addr)
        return bool(addr != self.in_use)

    async def next(self) -> tuple[bytes, Any]:
        return await asyncio.wait_for(self.datagrams.get(), 5)


def check(ufrag: str, *, method: stun.Method = stun.Method.BINDING, password: bytes = PASSWORD) -> bytes:
    """A connectivity check, as ICE sends it."""
    request = stun.Message(message_method=method, message_class=stun.Class.REQUEST)
    request.attributes["PRIORITY"] = 7
    request.attributes["USERNAME"] = f"{ufrag}:peer"
    request.add_message_integrity(password)
    return bytes(request)


class Peer:
    """A plain UDP socket."""

    def __init__(self, address: str = HERE) -> None:
        self.socket = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((address, 0))
        self.socket.settimeout(5)
        self.address = self.socket.getsockname()[:2]

    def send(self, data: bytes, call: Call) -> None:
        self.socket.sendto(data, call.transport.get_extra_info("sockname"))


@pytest.fixture
async def peers() -> AsyncIterator[list[Peer]]:
    made = [Peer() for _ in range(3)]
    yield made
    for peer in made:
        peer.socket.close()


@pytest.fixture
def busy() -> list[bool]:
    """Return the answer to whether the engine is busy, which a test may change."""
    return [False]


@pytest.fixture
async def sockets(busy: list[bool]) -> AsyncIterator[Sockets]:
    sockets = Sockets(is_busy=lambda: busy[0])
    yield sockets
    for shared in tuple(sockets.shared):
        for call in tuple(shared._by_ufrag.values()):
            call.close()
    assert sockets._timer is None


def place(sockets: Sockets, ufrag: str, address: str = HERE) -> tuple[Call, CallTransport]:
    call = Call()
    return call, sockets.open(address, ufrag, call)


async def test_calls_share_a_socket_and_each_gets_what_its_check_named(sockets: Sockets, peers: list[Peer]) -> None:
    (one, first), (two, second) = place(sockets, "one"), place(sockets, "two")
    assert first.get_extra_info("sockname") == second.get_extra_info("sockname")
    peers[0].send(check("two"), one)
    peers[1].send(check("one"), one)
    assert (await two.next())[1] == peers[0].address
    assert (await one.next())[1] == peers[1].address
    peers[0].send(DATA, one)
    assert await two.next() == (DATA, peers[0].address)
    assert one.datagrams.empty()


async def test_a_call_that_goes_takes_nothing_of_another_ones_with_it(sockets: Sockets) -> None:
    """Two transports of one call once had one name: the end of the second was a ``KeyError``."""
    _, first = place(sockets, "same")
    _, second = place(sockets, "same")
    first.close()
    (shared,) = sockets.shared
    assert shared._by_ufrag == {"same": second}
    assert shared.calls == 1
    second.close()
    assert sockets.shared == []


async def test_a_socket_stays_while_any_call_is_on_it(sockets: Sockets) -> None:
    _, first = place(sockets, "same")
    _, second = place(sockets, "same")
    second.close()
    assert [shared.calls for shared in sockets.shared] == [1]
    first.close()
    assert sockets.shared == []


async def test_a_stranger_is_not_heard(sockets: Sockets, peers: list[Peer]) -> None:
    call, _ = place(sockets, "one")
    for data in (
        RTP,
        DATA,
        b"",
        b"\x00",
        check("nobody"),
        check("one")[:-1],
        check("one", method=stun.Method.ALLOCATE),
    ):
        peers[0].send(data, call)
    peers[1].send(check("one"), call)
    assert (await call.next())[1] == peers[1].address
    assert call.media.empty()


async def test_no_peer_can_take_the_address_of_anothers(sockets: Sockets, peers: list[Peer]) -> None:
    victim, _ = place(sockets, "victim")
    thief, _ = place(sockets, "thief")
    peers[0].send(check("victim"), victim)
    await victim.next()
    peers[0].send(check("thief"), victim)
    peers[0].send(DATA, victim)
    assert await victim.next() == (DATA, peers[0].address)
    assert (await thief.next())[1] == peers[0].address
    assert thief.datagrams.empty()


def answer() -> bytes:
    """The answer to a call's own check."""
    response = stun.Message(message_method=stun.Method.BINDING, message_class=stun.Class.RESPONSE)
    response.add_message_integrity(PASSWORD)
    return bytes(response)


@pytest.mark.parametrize("named_first", [True, False])
@pytest.mark.parametrize("only_answers", [True, False])
@pytest.mark.parametrize("is_up", [True, False])
async def test_a_call_that_connects_takes_an_address_where_its_peer_both_asks_and_answers(
    sockets: Sockets, peers: list[Peer], named_first: bool, only_answers: bool, is_up: bool
) -> None:
    """Else a client with one port could not call again while its last call was taken to live.

    A check alone may have a false sender, an answer alone may be meant for another call. A peer of ICE lite only
    answers. Where a call is up, its paths decide.
    """
    before, transport = place(sockets, "before")
    before.password = b"another password"
    peers[0].send(check("before", password=before.password), before)
    await before.next()
    after, transport = place(sockets, "after")
    after.asked, after.only_answers = peers[0].address, only_answers
    if is_up:
        transport.read_on_tick()
        transport.accept_foreign_addresses()

    async def is_taken() -> bool:
        peers[0].send(DATA, after)
        done, others = await asyncio.wait(
            {asyncio.create_task(call.datagrams.get()): call for call in (before, after)},
            timeout=5,
            return_when=asyncio.FIRST_COMPLETED,
        )
        for other in others:
            other.cancel()
        (got,) = done
        assert got.result() == (DATA, peers[0].address)
        return before.datagrams.empty() and transport.sources != {}

    steps = [check("after"), answer()] if named_first else [answer(), check("after")]
    peers[0].send(steps[0], after)
    await after.next()
    assert await is_taken() == (only_answers and not named_first and not is_up)
    peers[0].send(steps[1], after)
    await after.next()
    assert await is_taken() == (not is_up)


async def test_an_answer_to_what_was_asked_elsewhere_takes_no_address(sockets: Sockets, peers: list[Peer]) -> None:
    """A peer that is asked at one address could answer under another one, which is a caller's."""
    before, _ = place(sockets, "before")
    before.password = b"another password"
    peers[0].send(check("before", password=before.password), before)
    await before.next()
    after, transport = place(sockets, "after")
    after.asked = peers[1].address
    for data in (check("after"), answer()):
        peers[0].send(data, after)
        await after.next()
    assert transport.sources == {}


async def test_two_calls_of_one_peer_have_a_port_each_while_there_are_any(sockets: Sockets) -> None:
    first = sockets.open(HERE, "one", Call(), peer="peer")
    assert sockets.open(HERE, "two", Call(), peer="another").get_extra_info("sockname") == first.get_extra_info(
        "sockname"
    )
    assert sockets.open(HERE, "three", Call(), peer="peer").get_extra_info("sockname") != first.get_extra_info(
        "sockname"
    )
    low, high = sorted(shared.name[1] for shared in sockets.shared)
    assert low != high


async def test_an_address_is_free_again_once_its_call_has_gone(sockets: Sockets, peers: list[Peer]) -> None:
    first, transport = place(sockets, "first")
    second, _ = place(sockets, "second")
    peers[0].send(check("first"), first)
    await first.next()
    transport.close()
    await asyncio.wait_for(first.lost.wait(), 5)
    peers[0].send(check("second"), second)
    assert (await second.next())[1] == peers[0].address


async def test_an_address_that_a_call_sent_to_is_not_its_own(sockets: Sockets, peers: list[Peer]) -> None:
    """An offer may name anybody's address: the checks that went there took it from its owner's call."""
    victim, _ = place(sockets, "victim")
    _, transport = place(sockets, "thief")
    transport.sendto(b"\x00ask", peers[0].address)
    assert peers[0].socket.recvfrom(100) == (b"\x00ask", victim.transport.get_extra_info("sockname"))
    peers[0].send(check("victim"), victim)
    assert (await victim.next())[1] == peers[0].address


async def test_a_peer_that_only_answers_is_known_by_an_answer_that_is_signed(
    sockets: Sockets, peers: list[Peer]
) -> None:
    """ICE lite makes no checks of its own, and a response has no USERNAME."""
    other, _ = place(sockets, "other")
    call, _ = place(sockets, "one")
    other.password = b"another"
    answer = stun.Message(message_method=stun.Method.BINDING, message_class=stun.Class.RESPONSE)
    peers[0].send(bytes(answer), call)
    answer.add_message_integrity(PASSWORD)
    peers[0].send(bytes(answer), call)
    assert await call.next() == (bytes(answer), peers[0].address)
    assert call.datagrams.empty()
    assert other.datagrams.empty()


async def test_who_knows_a_name_and_no_password_claims_nothing(sockets: Sockets, peers: list[Peer]) -> None:
    """Sixteen such checks from sixteen ports kept a call from connecting."""
    call, transport = place(sockets, "one")
    before = value_of(metrics.STUN_IGNORED)
    for _ in range(2):
        peers[0].send(check("one", password=b"a guess"), call)
        peers[0].send(DATA, call)
    peers[1].send(check("one"), call)
    assert (await call.next())[1] == peers[1].address
    assert [*transport.sources.values()] == [peers[1].address]
    assert value_of(metrics.STUN_IGNORED) == before + 2
    assert call.datagrams.empty()


@pytest.mark.parametrize("on_tick", [False, True])
async def test_media_is_told_from_the_rest_and_when_it_came(sockets: Sockets, peers: list[Peer], on_tick: bool) -> None:
    call, transport = place(sockets, "one")
    peers[0].send(check("one"), call)
    await call.next()
    if on_tick:
        transport.read_on_tick()
    before = asyncio.get_running_loop().time()
    rtcp = b"\x80\xc9" + bytes(20)
    for data in (RTP, rtcp, DATA, RTP[:1]):
        peers[0].send(data, call)
    for sent in (RTP, rtcp):
        data, arrived_at = await asyncio.wait_for(call.media.get(), 5)
        assert data == sent
        assert before - 0.01 <= arrived_at <= asyncio.get_running_loop().time()
    assert [(await call.next())[0] for _ in range(2)] == [DATA, RTP[:1]]


async def test_more_than_one_read_takes_is_read_in_one_tick(sockets: Sockets, peers: list[Peer]) -> None:
    call, transport = place(sockets, "one")
    peers[0].send(check("one"), call)
    await call.next()
    transport.read_on_tick()
    sent = [b"\x80\x60" + number.to_bytes(2, "big") for number in range(150)]
    for data in sent:
        peers[0].send(data, call)
    await asyncio.wait_for(call.media.get(), 5)
    assert call.media.qsize() == 149
    assert [call.media.get_nowait()[0] for _ in sent[1:]] == sent[1:]


def timer(sockets: Sockets) -> asyncio.TimerHandle:
    found = sockets._timer
    assert found is not None
    return found


@pytest.mark.parametrize(("is_busy", "tick_s"), [(False, QUIET_TICK_S), (True, TICK_S)])
async def test_ticks_are_at_whole_multiples_and_fewer_while_the_engine_is_busy(
    sockets: Sockets, busy: list[bool], is_busy: bool, tick_s: float
) -> None:
    """Connections were counted here and voices in the engine: rooms were read more often than they were analysed."""
    busy[0] = is_busy
    place(sockets, "one")
    now = asyncio.get_running_loop().time()
    timer(sockets).cancel()
    sockets._tick()
    due = timer(sockets).when()
    assert due / tick_s == pytest.approx(round(due / tick_s), abs=1e-6)
    assert now < due <= now + 1.5 * tick_s


async def test_a_tick_that_goes_off_early_is_not_followed_by_itself(
    sockets: Sockets, monkeypatch: pytest.MonkeyPatch
) -> None:
    """uvloop rounds to milliseconds: half of the ticks came twice."""
    place(sockets, "one")
    timer(sockets).cancel()
    loop = asyncio.get_running_loop()
    tick = (loop.time() // QUIET_TICK_S + 2) * QUIET_TICK_S
    monkeypatch.setattr(loop, "time", lambda: tick - 0.0006)
    sockets._tick()
    monkeypatch.undo()
    assert timer(sockets).when() == pytest.approx(tick + QUIET_TICK_S)


async def test_one_calls_fault_costs_the_others_nothing(sockets: Sockets, peers: list[Peer]) -> None:
    class Broken(Call):
        def datagram_received(self, data: Any, addr: Any) -> None:
            raise ZeroDivisionError

    broken = Broken()
    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["exception"]))
    sockets.open(HERE, "broken", broken)
    call, _ = place(sockets, "one")
    peers[0].send(check("broken"), call)
    peers[1].send(check("one"), call)
    await call.next()
    assert [type(error) for error in told] == [ZeroDivisionError]


def packed(address: tuple[str, int]) -> bytes:
    return pack_address(socket.AF_INET, *address)


async def test_a_call_hears_from_so_many_addresses_and_no_more(sockets: Sockets) -> None:
    """A peer that changes its address for ever must not make the table grow for ever, nor be deaf at the next."""
    call, transport = place(sockets, "one")
    shared = sockets.shared[0]
    call.in_use = (HERE, 10_000)
    for port in range(10_000, 10_100):
        shared.deliver(check("one"), packed((HERE, port)), 0.0)
    assert [port for _, port in transport.sources.values()] == [10_000, *range(10_085, 10_100)]
    assert shared._by_source.keys() == transport.sources.keys()


async def test_an_address_that_another_call_has_costs_a_full_call_none_of_its_own(sockets: Sockets) -> None:
    _, other = place(sockets, "other")
    call, transport = place(sockets, "one")
    shared = sockets.shared[0]
    shared.deliver(check("other"), packed((HERE, 9_999)), 0.0)
    for port in range(10_000, 10_016):
        shared.deliver(check("one"), packed((HERE, port)), 0.0)
    shared.deliver(check("one"), packed((HERE, 9_999)), 0.0)
    assert len(transport.sources) == 16
    assert call.forgotten == []
    # The peer answers from there, so it is its own now.
    transport.take_over_address((HERE, 9_999))
    assert (HERE, 9_999) in transport.sources.values()
    assert not other.sources


async def test_media_from_a_new_address_is_known_by_its_stream_and_tried_once(
    sockets: Sockets, peers: list[Peer]
) -> None:
    (one, first), (two, second) = place(sockets, "one"), place(sockets, "two")
    first.expect(b"aaaa")
    second.expect(b"bbbb")
    second.expect(b"cccc")
    for ssrc in (b"aaaa", b"bbbb", b"dddd", b"cccc"):
        peers[0].send(b"\x80\x60" + bytes(6) + ssrc + b"forged", one)
    peers[0].send(b"\x80\x60" + bytes(6) + b"cccc" + PASSWORD, one)
    await asyncio.wait_for(two.media.get(), 5)
    assert (one.trials, two.trials) == (1, 2)
    peers[0].send(DATA, one)
    assert await two.next() == (DATA, peers[0].address)
    assert one.media.empty()
    first.close()
    second.close()


async def test_a_flood_of_media_is_tried_within_bounds(sockets: Sockets, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anybody who sees a call's SSRC on its way can send as much under it as the network takes."""
    call, transport = place(sockets, "one")
    transport.expect(b"aaaa")
    shared = sockets.shared[0]
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: 1000.0)
    for port in range(10_000, 11_000):
        shared.deliver(b"\x80\x60" + bytes(6) + b"aaaa" + b"forged", packed((HERE, port)), 0.0)
    assert call.trials == MAX_TRIALS
    monkeypatch.undo()
    assert not transport.sources


async def test_a_stream_of_one_call_is_not_that_of_another_which_says_so_later(sockets: Sockets) -> None:
    _, first = place(sockets, "one")
    _, second = place(sockets, "two")
    first.expect(b"aaaa")
    second.expect(b"aaaa")
    (shared,) = sockets.shared
    assert shared._by_ssrc == {b"aaaa": first}
    second.close()
    assert shared._by_ssrc == {b"aaaa": first}
    first.close()
    assert shared._by_ssrc == {}


async def test_a_full_socket_is_followed_by_another_and_the_last_call_closes_it(sockets: Sockets) -> None:
    transports = [place(sockets, f"call{number}")[1] for number in range(CALLS + 1)]
    names = [transport.get_extra_info("sockname") for transport in transports]
    assert len(set(names)) == 2
    assert names.count(names[0]) == CALLS
    for transport in transports[:CALLS]:
        transport.close()
    assert [shared.name for shared in sockets.shared] == [names[-1]]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
        again.bind(names[0])


async def test_ports_are_taken_from_the_range_until_there_are_none() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind((HERE, 0))
        port = taken.getsockname()[1]
        sockets = Sockets((port, port), max_calls=1)
        with pytest.raises(NotReady, match="All UDP ports") as refused:
            place(sockets, "one")
        assert refused.value.code == "at_capacity"
    _, transport = place(sockets, "one")
    assert transport.get_extra_info("sockname")[1] == port
    with pytest.raises(NotReady):
        place(sockets, "two")
    transport.close()
    transport.close()
    place(sockets, "three")[1].close()


async def test_an_address_that_is_not_ours_is_an_error(sockets: Sockets) -> None:
    with pytest.raises(OSError, match="assign"):
        place(sockets, "one", "198.51.100.1")
    assert sockets.shared == []


async def test_sending_after_the_end_or_to_where_nothing_goes_harms_nothing(sockets: Sockets) -> None:
    call, transport = place(sockets, "one")
    transport.sendto(b"x" * 70_000, (HERE, 9))
    assert [type(error) for error in call.errors] == [OSError]
    transport.close()
    transport.sendto(b"x", (HERE, 9))
    assert transport.is_closing()


async def test_ipv6_calls_are_told_apart_too(sockets: Sockets) -> None:
    try:
        peer = Peer("::1")
    except OSError:
        pytest.skip("this host has no IPv6")
    call, _ = place(sockets, "six", "::1")
    peer.send(check("six"), call)
    assert (await call.next())[1] == peer.address
    peer.socket.close()


async def test_icmp_errors_do_not_stop_the_reading(sockets: Sockets, peers: list[Peer]) -> None:
    """A peer that has gone makes the kernel answer with an error in place of a datagram."""
    call, transport = place(sockets, "one")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
        gone.bind((HERE, 0))
        nowhere = gone.getsockname()
    for _ in range(3):
        transport.sendto(b"\x00", nowhere)
    peers[0].send(check("one"), call)
    assert (await call.next())[1] == peers[0].address


async def test_with_many_calls_a_socket_is_read_when_its_calls_have_their_turn(
    sockets: Sockets, busy: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Datagrams that came between two of a call's turns wait in the kernel: fewer wake-ups, each for more."""
    phases = [Phase(number, 3 * TICK_S) for number in range(3)]
    busy[0] = True
    for number in range(4):
        sockets.open(HERE, str(number), Call(), phases[number % 2]).read_on_tick()
    assert [[phase.number for phase in shared.phases] for shared in sockets.shared] == [[0], [1]]
    read: list[int] = []
    monkeypatch.setattr(sockets, "read", lambda shared: read.extend(phase.number for phase in shared.phases))
    loop = asyncio.get_running_loop()
    now = phases[0].next_turn(loop.time()) - TICK_S / 2
    monkeypatch.setattr(loop, "time", lambda: now)
    for shared in sockets.shared:
        shared.due_at = min(phase.next_turn(now) for phase in shared.phases)
    waits = []
    for _ in range(4):
        timer(sockets).cancel()
        sockets._wait()
        waits.append(round((timer(sockets).when() - now) / TICK_S, 3))
        now = timer(sockets).when()
        timer(sockets).cancel()
        sockets._tick()
    assert read == [0, 1, 0, 1]
    # No tick is kept for the phase that no call has.
    assert waits == [0.5, 1.0, 2.0, 1.0]


def connected(sockets: Sockets, calls: int) -> list[tuple[Call, CallTransport]]:
    made = [place(sockets, f"call{number}") for number in range(calls)]
    for _, transport in made:
        transport.read_on_tick()
    return made


async def until_known(sockets: Sockets, call: Call, peer: Peer, ufrag: str) -> None:
    peer.send(check(ufrag), call)
    await call.next()


@pytest.mark.parametrize("calls", [3, 20])
@pytest.mark.parametrize("kind", ["junk", "checks of nobody", "checks that are not signed"])
async def test_a_flood_of_a_strangers_costs_those_who_are_known_nothing(
    sockets: Sockets, peers: list[Peer], calls: int, kind: str
) -> None:
    """20,000 datagrams a second: 512 were read in a tick, and the kernel dropped half of all calls' media."""
    (call, _), *_ = connected(sockets, calls)
    await until_known(sockets, call, peers[0], "call0")
    junk = {
        "junk": bytes((200,)) + bytes(60),
        "checks of nobody": check("nobody"),
        "checks that are not signed": check("call0", password=b"a guess"),
    }[kind]
    address = call.transport.get_extra_info("sockname")
    loop = asyncio.get_running_loop()
    peers[1].socket.setblocking(False)
    (shared,) = sockets.shared
    sent = flooded = 0
    was_crowded = False
    began_at = loop.time()
    while sent < 200:
        now = loop.time()
        due = int((now - began_at) * 20_000)
        for _ in range(min(200, due - flooded)):
            peers[1].socket.sendto(junk, address)
        flooded = due
        # The first ticks are those that show it.
        if now - began_at > 0.3:
            was_crowded |= shared.is_crowded
            peers[0].socket.sendto(RTP[:2] + sent.to_bytes(2, "big") + RTP[4:], address)
            sent += 1
        await asyncio.sleep(0.002)
    await until(lambda: call.media.qsize() >= sent)
    assert was_crowded
    await until(lambda: not shared.is_crowded)


async def test_the_time_for_checks_of_strangers_is_bounded(
    sockets: Sockets, peers: list[Peer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each costs an HMAC: who knows a call's name could keep a core busy with them."""
    call, _ = place(sockets, "one")
    (shared,) = sockets.shared
    tried, cpu_s = 0, 0.0
    now = asyncio.get_running_loop().time()

    def introduces(data: bytes) -> bool:
        nonlocal tried, cpu_s
        tried += 1
        cpu_s += 0.001
        return False

    monkeypatch.setattr(call, "introduces", introduces)
    monkeypatch.setattr(time, "thread_time", lambda: cpu_s)
    monkeypatch.setattr(shared._loop, "time", lambda: now)
    source = packed((HERE, 4096))
    for _ in range(1_000):
        shared.deliver(check("one"), source, 0.0)
    assert tried <= 21
    now += 1.0
    for _ in range(1_000):
        shared.deliver(check("one"), source, 0.0)
    assert tried <= 42
    monkeypatch.undo()


async def test_what_one_call_sends_that_is_no_media_has_a_rate(sockets: Sockets, peers: list[Peer]) -> None:
    """It waits in aiortc's queue, which has no bound, and each costs OpenSSL a look."""
    call, transport = place(sockets, "one")
    await until_known(sockets, call, peers[0], "one")
    (source,) = transport.sources
    (shared,) = sockets.shared
    for _ in range(5_000):
        shared.deliver(DATA, source, 100.0)
    assert call.datagrams.qsize() <= OTHERS_AT_ONCE + OTHERS_PER_S
    for _ in range(5_000):
        shared.deliver(RTP, source, 100.0)
    assert call.media.qsize() == 5_000


async def test_one_reading_of_a_socket_ends_in_time(
    sockets: Sockets, peers: list[Peer], monkeypatch: pytest.MonkeyPatch
) -> None:
    ((call, transport),) = connected(sockets, 1)
    await until_known(sockets, call, peers[0], "call0")
    (shared,) = sockets.shared
    now = 0.0
    reads = 0

    def read(_: int) -> list[tuple[bytes, bytes, float]]:
        nonlocal now, reads
        now += 0.003
        reads += 1
        return [(RTP, next(iter(transport.sources)), now)] * 64

    monkeypatch.setattr(sockets._reader, "read", read)
    monkeypatch.setattr(time, "monotonic", lambda: now)
    sockets.read(shared)
    assert reads == 4
    assert shared.is_crowded
    monkeypatch.undo()


async def test_where_there_is_but_one_port_calls_of_all_phases_share_it() -> None:
    """One open port in a firewall is enough for 32 calls, whenever they have their turns."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((HERE, 0))
        port = probe.getsockname()[1]
    sockets = Sockets((port, port))
    made = [sockets.open(HERE, str(number), Call(), Phase(number % 3, 3 * TICK_S)) for number in range(CALLS)]
    (shared,) = sockets.shared
    assert {phase.number for phase in shared.phases} == {0, 1, 2}
    with pytest.raises(NotReady):
        sockets.open(HERE, "one more", Call())
    for transport in made:
        transport.close()
    assert sockets._timer is None


async def test_calls_connect_and_are_heard_on_an_event_loop_that_watches_no_sockets(
    peers: list[Peer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows, whose usual loop has no ``add_reader``."""

    def watch(*_: object) -> None:
        raise NotImplementedError

    monkeypatch.setattr(asyncio.get_running_loop(), "add_reader", watch)
    sockets = Sockets(reader=PlainReader())
    call, transport = place(sockets, "one")
    peers[0].send(check("one"), call)
    assert (await call.next())[1] == peers[0].address
    transport.read_on_tick()
    peers[0].send(RTP, call)
    assert (await asyncio.wait_for(call.media.get(), 5))[0] == RTP
    transport.close()
    assert sockets._timer is None
