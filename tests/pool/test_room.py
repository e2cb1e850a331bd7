from voxgender.pool.room import START, Room

HOLD_S = 1.0


def answered(room: Room, windows: int) -> None:
    """Windows that were sent, and answered in time."""
    room.taken += windows
    room.grow(windows)
    room.taken -= windows


def test_windows_that_are_out_take_room() -> None:
    room = Room(HOLD_S)
    room.taken = 10
    assert room.free == START - 10
    room.taken = 1_000
    assert room.free == 0


def test_late_windows_halve_what_is_out_once_for_all_that_were_sent_together() -> None:
    room = Room(HOLD_S)
    room.taken = 40
    for _ in range(40):
        room.shrink(5.0)
    room.taken = 0
    assert room.free == 20
    room.taken = 20
    room.shrink(5.0 + HOLD_S)
    room.taken = 0
    assert room.free == 10


def test_one_window_is_always_tried() -> None:
    room = Room(HOLD_S)
    for second in range(20):
        room.taken = 1
        room.shrink(float(second))
    room.taken = 0
    assert room.free == 1


def test_the_room_comes_back_fast_to_where_it_was_good_and_slowly_beyond() -> None:
    room = Room(HOLD_S)
    room.taken = 64
    room.shrink(0.0)
    room.taken = 1
    for second in range(1, 6):
        room.shrink(float(second))
    room.taken = 0
    trips = 0
    while room.free < 16:
        answered(room, room.free)
        trips += 1
    assert trips <= 40
    before = room.free
    answered(room, before)
    assert room.free <= before + before // 2


def test_a_limit_that_nothing_comes_near_does_not_grow() -> None:
    room = Room(HOLD_S)
    for _ in range(1_000):
        answered(room, 4)
    assert room.free == START
