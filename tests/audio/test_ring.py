import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxgender.audio.ring import Ring


@given(st.integers(1, 20), st.lists(st.integers(0, 50), max_size=30), st.data())
def test_the_newest_samples_are_those_of_a_plain_list(capacity: int, sizes: list[int], data: st.DataObject) -> None:
    ring = Ring(capacity)
    plain = [0.0] * capacity
    value = 0
    for size in sizes:
        piece = np.arange(value, value + size, dtype=np.float32)
        value += size
        ring.append(piece)
        plain = [*plain, *piece.tolist()]
        count = data.draw(st.integers(0, capacity))
        assert ring.latest(count).tolist() == plain[len(plain) - count :]


def test_what_was_read_does_not_change_with_what_comes() -> None:
    ring = Ring(4)
    ring.append(np.ones(4, dtype=np.float32))
    before = ring.latest(4)
    ring.append(np.zeros(4, dtype=np.float32))
    assert before.tolist() == [1, 1, 1, 1]


def test_what_was_written_may_change_afterwards() -> None:
    ring = Ring(4)
    piece = np.ones(4, dtype=np.float32)
    ring.append(piece)
    piece[:] = 0
    assert ring.latest(4).tolist() == [1, 1, 1, 1]


def test_more_than_it_holds_is_refused() -> None:
    with pytest.raises(ValueError, match="4 samples, not 5"):
        Ring(4).latest(5)


def test_it_takes_no_more_than_it_holds_and_never_grows() -> None:
    ring = Ring(16)
    before = ring._buffer
    assert before.size == 16
    for _ in range(100):
        ring.append(np.ones(7, dtype=np.float32))
    assert ring._buffer is before
