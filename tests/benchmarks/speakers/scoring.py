"""Score what was told of a call's voices against who spoke."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from tests.benchmarks.speakers.clustering import Told
from tests.benchmarks.speakers.conversations import Turn
from voxgender.decisions import Span

FRAME_S = 0.01
COLLAR_S = 0.25
"""Time on both sides of a change in which nothing is scored, as NIST's evaluations of diarisation have it."""
_GRACE_S = 0.5
"""A change is heard in time if it is told within the turn, or so long after it."""

_Numbers = npt.NDArray[np.int64]


@dataclass
class Score:
    """Figures of some calls together.

    Attributes:
        speech, confused: seconds of speech scored, and those given to a wrong voice, outside the collars.
        whole_speech, whole_confused: the same with the collars.
        calls, counted: calls, and those of which the right number of voices was told.
        found: voices told, of all calls together.
        delays: seconds from the beginning of a turn until the change was told.
        missed: changes that were not told.
        false: changes told that were none, or to a wrong voice.
        minutes: length of the calls.
    """

    speech: float = 0.0
    confused: float = 0.0
    whole_speech: float = 0.0
    whole_confused: float = 0.0
    calls: int = 0
    counted: int = 0
    found: int = 0
    delays: list[float] = field(default_factory=list)
    missed: int = 0
    false: int = 0
    minutes: float = 0.0

    @property
    def error(self) -> float:
        """Diarisation error rate outside the collars: the share of speech that is given to a wrong voice."""
        return self.confused / self.speech if self.speech else 0.0

    @property
    def whole_error(self) -> float:
        """Diarisation error rate of all speech."""
        return self.whole_confused / self.whole_speech if self.whole_speech else 0.0

    @property
    def counted_share(self) -> float:
        """Share of the calls of which the right number of voices was told."""
        return self.counted / self.calls if self.calls else 0.0

    def add(self, other: "Score") -> None:
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    def to_dict(self) -> dict[str, Any]:
        delays = self.delays
        return {
            "error": self.error,
            "whole_error": self.whole_error,
            "calls": self.calls,
            "counted_share": self.counted_share,
            "found": self.found / max(1, self.calls),
            "heard": len(delays) / (len(delays) + self.missed) if delays or self.missed else None,
            "delay_p50_s": float(np.quantile(delays, 0.5)) if delays else None,
            "delay_p95_s": float(np.quantile(delays, 0.95)) if delays else None,
            "false_a_minute": self.false / self.minutes if self.minutes else None,
        }


def score(turns: Sequence[Turn], speech: Sequence[Span], told: Sequence[Told]) -> Score:
    """Score one call.

    Speech is where the speech gate found it, in truth and in what was told, so that all errors are confusions. Each
    voice stands for another speaker, so that most of the speech is right (the usual optimal mapping).
    """
    frames = round(turns[-1].end / FRAME_S)
    names = list(dict.fromkeys(turn.speaker for turn in turns))
    true = _frames(frames, [(turn.start, turn.end, names.index(turn.speaker)) for turn in turns])
    spoken = _frames(frames, [(span.start, span.end, 0) for span in speech]) == 0
    changes = [(before, turn) for before, turn in pairwise(turns) if turn.speaker != before.speaker]
    starts = [*(one.at for one in told), turns[-1].end]
    heard = _frames(frames, [(at, end, one.voice) for one, (at, end) in zip(told, pairwise(starts), strict=True)])
    scored = spoken & (true >= 0)
    collars = _frames(frames, [(before.end - COLLAR_S, turn.start + COLLAR_S, 0) for before, turn in changes]) == 0
    clear = scored & ~collars
    speakers = _mapping(true[scored], heard[scored], len(names))
    mapped = np.array([speakers.get(int(voice), -1) for voice in heard])
    voices = len({one.voice for one in told})
    result = Score(
        speech=float(clear.sum() * FRAME_S),
        confused=float((clear & (mapped != true)).sum() * FRAME_S),
        whole_speech=float(scored.sum() * FRAME_S),
        whole_confused=float((scored & (mapped != true)).sum() * FRAME_S),
        calls=1,
        counted=int(voices == len(names)),
        found=voices,
        minutes=turns[-1].end / 60,
    )
    ends = [*(before.end for before, _ in changes[1:]), turns[-1].end]
    unmatched = list(told[1:])
    for (_, turn), end in zip(changes, ends, strict=False):  # of one speaker there is no change, but an end
        fitting = (
            one
            for one in unmatched
            if turn.start < one.told <= end + _GRACE_S and speakers.get(one.voice) == names.index(turn.speaker)
        )
        if (first := next(fitting, None)) is None:
            result.missed += 1
        else:
            unmatched.remove(first)
            result.delays.append(first.told - turn.start)
    result.false = len(unmatched)
    return result


def equal_error_rate(alike: npt.NDArray[Any], different: npt.NDArray[Any]) -> float:
    """Return the error rate at the cosine that splits as many pairs of one speaker as it joins pairs of two."""
    both = np.concatenate([alike, different])
    order = np.argsort(both)
    is_alike = np.concatenate([np.ones(alike.size), np.zeros(different.size)])[order]
    split = np.cumsum(is_alike) / alike.size
    merged = 1 - np.cumsum(1 - is_alike) / different.size
    at = int(np.argmin(np.abs(split - merged)))
    return float((split[at] + merged[at]) / 2)


def _frames(count: int, spans: Sequence[tuple[float, float, int]]) -> _Numbers:
    """Return the number of the last span that holds each frame, -1 where there is none."""
    found = np.full(count, -1)
    for start, end, number in spans:
        found[max(0, round(start / FRAME_S)) : max(0, round(end / FRAME_S))] = number
    return found


def _mapping(true: _Numbers, heard: _Numbers, speakers: int) -> dict[int, int]:
    """Return the speaker of each voice, so that most frames are right; of no two voices the same one."""
    voices = sorted({int(voice) for voice in heard if voice >= 0})
    shared = np.array([[np.sum((heard == voice) & (true == who)) for who in range(speakers)] for voice in voices])
    if not voices:
        return {}
    rows, columns = linear_sum_assignment(-shared)
    return {voices[row]: int(column) for row, column in zip(rows, columns, strict=True)}
