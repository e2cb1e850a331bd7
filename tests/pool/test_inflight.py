from voxgender.pool.inflight import START, InFlight

HOLD_S = 1.0


def answered(in_flight: InFlight, windows: int) -> None:
    """Windows that were sent, and answered in time."""
    in_flight.taken += windows
    in_flight.grow(windows)
    in_flight.taken -= windows


def test_windows_that_are_out_take_room() -> None:
    in_flight = InFlight(HOLD_S)
    in_flight.taken = 10
    assert in_flight.free == START - 10
    in_flight.taken = 1_000
    assert in_flight.free == 0


def test_late_windows_halve_what_is_out_once_for_all_that_were_sent_together() -> None:
    in_flight = InFlight(HOLD_S)
    in_flight.taken = 40
    for _ in range(40):
        in_flight.shrink(5.0)
    in_flight.taken = 0
    assert in_flight.free == 20
    in_flight.taken = 20
    in_flight.shrink(5.0 + HOLD_S)
    in_flight.taken = 0
    assert in_flight.free == 10


def test_one_window_is_always_tried() -> None:
    in_flight = InFlight(HOLD_S)
    for second in range(20):
        in_flight.taken = 1
        in_flight.shrink(float(second))
    in_flight.taken = 0
    assert in_flight.free == 1


def test_the_room_comes_back_fast_to_where_it_was_good_and_slowly_beyond() -> None:
    in_flight = InFlight(HOLD_S)
    in_flight.taken = 64
    in_flight.shrink(0.0)
    in_flight.taken = 1
    for second in range(1, 6):
        in_flight.shrink(float(second))
    in_flight.taken = 0
    trips = 0
    while in_flight.free < 16:
        answered(in_flight, in_flight.free)
        trips += 1
    assert trips <= 40
    before = in_flight.free
    answered(in_flight, before)
    assert in_flight.free <= before + before // 2


def test_a_limit_that_nothing_comes_near_does_not_grow() -> None:
    in_flight = InFlight(HOLD_S)
    for _ in range(1_000):
        answered(in_flight, 4)
    assert in_flight.free == START
