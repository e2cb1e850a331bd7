import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.audio.gates import Scripted, SoloGate
from voxgender.audio.activity import FRAME
from voxgender.audio.frames import Samples
from voxgender.audio.gate import LEAVE_FRAMES
from voxgender.audio.windows import FIRST_SHARE, MIN_UTTERANCE_S, WindowSelection, WindowSelector

FULL, SHORT, HOP = 16_000, 8_000, 3_072
LONG_HOP = 24 * FRAME


class AnySound(Scripted):
    """Hears speech in whatever is not zero."""

    def say(self, frames: Samples) -> Samples:
        return np.asarray(frames[:, -FRAME:].any(axis=1), dtype=np.float32)


def speech(frames: int) -> Samples:
    return np.ones(frames * FRAME, dtype=np.float32)


def silence(frames: int) -> Samples:
    return np.zeros(frames * FRAME, dtype=np.float32)


def pick(*parts: Samples, hop: int = HOP, flush: bool = False) -> list[tuple[int, int] | None]:
    """Windows of a call, in samples from its start, one or None a hop."""
    audio = np.concatenate(parts)
    gate, selector = SoloGate(AnySound()), WindowSelector(full=FULL, short=SHORT, hop=hop)
    picked = []

    def look(position: int) -> None:
        window = selector.select(gate)
        newest = position - gate.pending
        picked.append(None if window is None else (newest - window.start, newest - window.end))
        if window is not None:
            assert window.size in (FULL, SHORT)
            assert window.start + gate.pending <= selector.reach

    for start in range(0, audio.size, hop):
        gate.hear(audio[start : start + hop])
        look(min(start + hop, audio.size))
    if flush:
        padding = -gate.pending % FRAME
        gate.finish()
        look(audio.size + padding)
    return picked


def test_silence_has_no_window() -> None:
    assert pick(silence(60)) == [None] * 10


def test_the_first_window_is_short_and_comes_with_enough_speech() -> None:
    # Six frames a hop; two fifths of 8,000 samples are 6.25 frames, so the second hop is the first with enough.
    assert FIRST_SHARE == 0.4
    assert pick(silence(6), speech(60))[:3] == [None, None, (3 * HOP - SHORT, 3 * HOP)]


def test_windows_are_full_as_soon_as_the_utterance_is_and_end_with_the_hop() -> None:
    picked = [window for window in pick(speech(60)) if window]
    assert [end - start for start, end in picked] == [SHORT] * 4 + [FULL] * 5
    assert [end for _, end in picked] == [HOP * number for number in range(2, 11)]


def test_no_window_holds_the_voice_before_a_pause() -> None:
    before = 30
    picked = pick(speech(before), silence(12), speech(60))
    after = [window for window in picked if window and window[1] > (before + 12) * FRAME]
    assert len(after) >= 5
    assert min(start for start, _ in after) >= before * FRAME


def test_windows_go_on_through_the_pauses_between_words() -> None:
    picked = pick(speech(40), silence(LEAVE_FRAMES - 2), speech(40))
    assert all(window is not None for window in picked[2:])


def test_windows_end_with_the_utterance() -> None:
    picked = pick(speech(42), silence(42))
    last = max(index for index, window in enumerate(picked) if window)
    assert (last + 1) * HOP < (42 + LEAVE_FRAMES) * FRAME
    assert picked[last + 1 :] == [None] * (13 - last)


@pytest.mark.parametrize("offset", range(6))
def test_a_short_utterance_is_judged_once_at_its_end(offset: int) -> None:
    # It begins and ends within one hop: otherwise it is judged while it lasts.
    picked = [window for window in pick(silence(26 + offset), speech(7), silence(30), hop=LONG_HOP) if window]
    end = (26 + offset + 7) * FRAME
    assert picked == [(end - SHORT, end)]


@pytest.mark.parametrize("offset", range(6))
def test_an_utterance_that_was_judged_while_it_lasted_is_not_judged_again_at_its_end(offset: int) -> None:
    spoken = 18
    picked = [window for window in pick(silence(20 + offset), speech(spoken), silence(30)) if window]
    end = (20 + offset + spoken) * FRAME
    assert 1 <= len(picked) <= 4
    assert all(window_end < end + LEAVE_FRAMES * FRAME for _, window_end in picked)


def test_a_click_or_a_breath_is_not_judged() -> None:
    frames = int(MIN_UTTERANCE_S * 16_000 / FRAME)
    assert pick(silence(20), speech(frames), silence(30)) == [None] * len(pick(silence(50 + frames)))


def test_a_short_utterance_is_judged_when_the_call_ends_in_it() -> None:
    # Its last frame is filled up with silence, and only then long enough.
    picked = pick(silence(12), speech(7)[:-100], flush=True)
    assert picked == [None, None, None, None, (19 * FRAME - SHORT, 19 * FRAME)]


def test_an_utterance_that_was_judged_is_not_judged_again_when_the_call_ends() -> None:
    assert pick(silence(12), speech(36), flush=True)[-1] is None


def test_two_short_utterances_are_judged_each() -> None:
    picked = [window for window in pick(speech(7), silence(20), speech(7), silence(20), hop=LONG_HOP) if window]
    assert picked == [(7 * FRAME - SHORT, 7 * FRAME), (34 * FRAME - SHORT, 34 * FRAME)]


def test_sizes_may_be_one_and_the_same() -> None:
    gate, selector = SoloGate(AnySound()), WindowSelector(full=SHORT, short=SHORT, hop=HOP)
    gate.hear(speech(60))
    assert selector.select(gate) == WindowSelection(SHORT, 0)


turns = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=1, max_size=6)


@given(turns, st.sampled_from([1_024, 1_600, HOP, 5_000, 32_000]), st.booleans())
def test_windows_never_reach_further_than_promised_and_never_start_in_silence_alone(
    turns: list[tuple[int, int]], hop: int, flush: bool
) -> None:
    parts = [part for spoken, quiet in turns for part in (speech(spoken), silence(quiet))]
    audio = np.concatenate([silence(1), *parts])
    for window in pick(silence(1), *parts, hop=hop, flush=flush):
        if window is not None:
            start, end = window
            assert audio[max(0, start) : end].any()
