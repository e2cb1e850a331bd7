import asyncio
from collections import Counter
from collections.abc import Callable
from functools import partial

import pytest

from tests.options import given
from voxgender.errors import SettingsError
from voxgender.peer import faults
from voxgender.peer.faults import OVERTAKEN_S, Faults, FaultyLink

PACKETS = 20_000


class Time:
    """A clock that is moved by hand, and the timers that it lets off."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._timers: list[tuple[float, int, Callable[[], None], asyncio.Handle]] = []
        self._count = 0

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> asyncio.Handle:
        handle = asyncio.Handle(callback, (), asyncio.get_event_loop())
        self._count -= 1  # Timers that are due together may come in any order: here the last comes first.
        self._timers.append((self.now + delay_s, self._count, callback, handle))
        return handle

    def move(self, seconds: float) -> None:
        end = self.now + seconds
        while due := [timer for timer in self._timers if timer[0] <= end]:
            timer = min(due, key=lambda timer: timer[:2])
            self._timers.remove(timer)
            self.now = max(self.now, timer[0])
            if not timer[3].cancelled():
                timer[2]()
        self.now = end


@pytest.fixture
async def clock() -> Time:
    return Time()


def faulty(clock: Time, faults: Faults, call: int = 0, *, outage_after_s: float | None = None) -> FaultyLink:
    return FaultyLink(faults, call, outage_after_s=outage_after_s, clock=lambda: clock.now, call_later=clock.call_later)


class Receiver:
    """Return the datagrams that get through, and when."""

    def __init__(self, clock: Time) -> None:
        self._clock = clock
        self.numbers: list[int] = []
        self.delays_s: list[float] = []

    def take(self, sent_at: float, datagram: bytes) -> None:
        self.numbers.append(int.from_bytes(datagram, "big"))
        self.delays_s.append(self._clock.now - sent_at)


def through(clock: Time, link: FaultyLink, packets: int = PACKETS) -> Receiver:
    """Send packets every 20 ms, once the link has settled."""
    link.start()
    clock.move(faults.FAULTS_AFTER_S)
    receiver = Receiver(clock)
    for number in range(packets):
        link.send(number.to_bytes(4, "big"), partial(receiver.take, clock.now))
        clock.move(0.02)
    clock.move(10.0)
    return receiver


def lost_runs(numbers: list[int], packets: int = PACKETS) -> list[int]:
    """Lengths of the runs of packets that are missing."""
    runs, run, arrived = [], 0, set(numbers)
    for number in range(packets):
        if number in arrived:
            runs += [run] if run else []
            run = 0
        else:
            run += 1
    return runs


async def test_a_good_link_changes_nothing(clock: Time) -> None:
    receiver = through(clock, faulty(clock, Faults()), 500)

    assert receiver.numbers == list(range(500))
    assert set(receiver.delays_s) == {0.0}


@pytest.mark.parametrize("loss", [2, 5, 30])
async def test_single_losses_come_as_often_as_asked_and_by_themselves(clock: Time, loss: float) -> None:
    receiver = through(clock, faulty(clock, Faults(loss=loss)))

    lost = PACKETS - len(receiver.numbers)
    assert lost == pytest.approx(PACKETS * loss / 100, rel=0.12)
    runs = lost_runs(receiver.numbers)
    assert sum(runs) / len(runs) == pytest.approx(1 / (1 - loss / 100), rel=0.05)
    assert receiver.numbers == sorted(receiver.numbers)


@pytest.mark.parametrize(("loss", "burst"), [(5, 4), (20, 2.5)])
async def test_losses_in_bursts_are_as_long_and_as_many_as_asked(clock: Time, loss: float, burst: float) -> None:
    receiver = through(clock, faulty(clock, Faults(loss=loss, burst=burst)))

    runs = lost_runs(receiver.numbers)
    assert sum(runs) / len(runs) == pytest.approx(burst, rel=0.15)
    assert sum(runs) == pytest.approx(PACKETS * loss / 100, rel=0.2)


async def test_jitter_delays_up_to_its_measure_and_keeps_the_order(clock: Time) -> None:
    receiver = through(clock, faulty(clock, Faults(jitter_ms=60)), 5_000)

    assert receiver.numbers == list(range(5_000))
    assert 0.0 <= min(receiver.delays_s) < 0.005
    assert 0.055 < max(receiver.delays_s) <= 0.0601
    assert len({round(delay, 3) for delay in receiver.delays_s}) > 30


async def test_reordered_packets_are_overtaken_by_the_next_one_and_none_is_missing(clock: Time) -> None:
    receiver = through(clock, faulty(clock, Faults(reorder=10)))

    assert sorted(receiver.numbers) == list(range(PACKETS))
    late = [delay for delay in receiver.delays_s if delay]
    assert len(late) == pytest.approx(PACKETS * 0.1, rel=0.1)
    assert late == pytest.approx([OVERTAKEN_S] * len(late))
    displaced = Counter(abs(place - number) for place, number in enumerate(receiver.numbers))
    assert set(displaced) <= {0, 1, 2}
    assert displaced[1] > PACKETS * 0.1


async def test_duplicates_come_twice(clock: Time) -> None:
    receiver = through(clock, faulty(clock, Faults(duplicate=5)))

    counts = Counter(receiver.numbers)
    assert set(counts.values()) == {1, 2}
    assert len(counts) == PACKETS
    assert sum(count == 2 for count in counts.values()) == pytest.approx(PACKETS * 0.05, rel=0.15)


async def test_an_outage_cuts_both_ways_and_ends_in_time(clock: Time) -> None:
    link = faulty(clock, Faults(outage_ms=490))
    link.start()
    receiver = Receiver(clock)
    admitted = []
    for number in range(100):
        if number == 50:
            link.cut()
        link.send(number.to_bytes(4, "big"), partial(receiver.take, clock.now))
        admitted.append(link.admits())
        clock.move(0.02)

    assert receiver.numbers == [*range(50), *range(75, 100)]
    assert [number for number, admits in enumerate(admitted) if not admits] == list(range(50, 75))
    ((since, until),) = link.outages
    assert until - since == pytest.approx(0.49)


async def test_an_outage_may_begin_by_itself(clock: Time) -> None:
    link = faulty(clock, Faults(outage_ms=500), outage_after_s=2.0)
    link.start()
    clock.move(1.99)
    assert link.admits()
    clock.move(0.02)
    assert not link.admits()
    clock.move(0.5)
    assert link.admits()
    assert link.idle


async def test_without_an_outage_asked_for_there_is_nothing_to_cut(clock: Time) -> None:
    link = faulty(clock, Faults(loss=1))
    link.cut()
    assert link.admits()
    assert not link.outages


async def test_the_first_second_is_spared(clock: Time) -> None:
    """The server's clock starts with the first packet that it hears."""
    link = faulty(clock, Faults(loss=90))
    link.start()
    receiver = Receiver(clock)
    for number in range(49):
        link.send(number.to_bytes(4, "big"), partial(receiver.take, clock.now))
        clock.move(0.02)

    assert receiver.numbers == list(range(49))


async def test_a_seed_and_a_call_s_number_give_the_same_faults_again(clock: Time) -> None:
    wanted = Faults(loss=10, jitter_ms=40, reorder=5, duplicate=5, seed=7)

    def run(wanted: Faults, call: int) -> list[int]:
        return through(clock, faulty(clock, wanted, call), 500).numbers

    assert run(wanted, 3) == run(wanted, 3)
    assert run(wanted, 3) != run(wanted, 4)
    assert run(wanted, 3) != run(Faults(loss=10, jitter_ms=40, reorder=5, duplicate=5, seed=8), 3)


async def test_a_closed_link_drops_what_is_on_its_way(clock: Time) -> None:
    link = faulty(clock, Faults(jitter_ms=1000))
    link.start()
    clock.move(faults.FAULTS_AFTER_S)
    receiver = Receiver(clock)
    for number in range(10):
        link.send(number.to_bytes(4, "big"), partial(receiver.take, clock.now))
    assert not link.idle

    link.close()
    clock.move(10.0)

    assert not receiver.numbers
    assert link.idle


def test_options_are_taken_as_texts() -> None:
    assert given(Faults, loss="2.5", burst=None, jitter_ms="40", seed="3") == Faults(loss=2.5, jitter_ms=40, seed=3)
    assert not Faults().any
    assert given(Faults, reorder="1").any


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"loss": "much"}, "--loss takes a number from 0 to 90"),
        ({"loss": "-1"}, "--loss takes a number from 0 to 90"),
        ({"loss": "nan"}, "--loss takes a number from 0 to 90"),
        ({"loss": "100"}, "--loss takes a number from 0 to 90"),
        ({"burst": "0"}, "--burst takes a number from 1 to 100"),
        ({"jitter_ms": "1e9"}, "--jitter-ms takes a number from 0 to 2000"),
        ({"reorder": "101"}, "--reorder takes a number from 0 to 100"),
        ({"duplicate": "inf"}, "--duplicate takes a number from 0 to 100"),
        ({"outage_ms": "-5"}, "--outage-ms takes a number from 0 to 20000"),
        ({"seed": "1.5"}, "--seed takes a whole number from 0 to 2147483648"),
        ({"loss": "80", "burst": "2"}, "--loss takes at most 67 with --burst 2"),
    ],
)
def test_a_value_that_cannot_be_used_is_one_clear_error(values: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        given(Faults, **values)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
