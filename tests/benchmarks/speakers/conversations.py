"""Join recordings of several people into calls of which is known who speaks when."""

import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from tests.benchmarks.single_call import CORPUS, clips_of
from tests.benchmarks.turns import trimmed
from voxgender.audio.files import read_audio
from voxgender.audio.frames import SAMPLE_RATE_HZ, Samples

TURN_S = (2.0, 6.0)
PAUSE_S = (0.0, 0.5)
"""Silence between two turns; a good half of them is too short to end an utterance."""
ROUNDS, TURNS = 3, 8
"""Turns of each speaker, and least turns of a call, as far as the recordings last: none is heard twice in a call."""
_LEAST_S = 6.0
"""Least recordings of a speaker."""
_PEAK = np.float32(0.7)
"""Amplitude that each recording is brought to, so that loudness names nobody."""

CASTS: dict[str, tuple[tuple[int, int], ...]] = {
    "one alone": ((1, 0), (0, 1)),
    "two women": ((2, 0),),
    "two men": ((0, 2),),
    "a woman and a man": ((1, 1),),
    "three or four of one sex": ((3, 0), (0, 3), (4, 0), (0, 4)),
    "three or four of both": ((2, 1), (1, 2), (2, 2)),
    "five or six": ((3, 2), (2, 3), (3, 3)),
}
"""Numbers of women and men."""
ALONE = "one alone"
TWO_TO_FOUR = tuple(cast for cast in CASTS if cast not in (ALONE, "five or six"))


class Turn(NamedTuple):
    """A stretch of one speaker, in seconds of the call."""

    start: float
    end: float
    speaker: str


class Conversation(NamedTuple):
    """Turns of people who are recorded alike: those of one corpus."""

    corpus: str
    cast: str
    audio: Samples
    turns: tuple[Turn, ...]

    @property
    def speakers(self) -> list[str]:
        """Its speakers, in the order of their first turns."""
        return list(dict.fromkeys(turn.speaker for turn in self.turns))


class _Speaker:
    """Speaks recordings of one person, each once."""

    def __init__(self, name: str, paths: Iterable[str]) -> None:
        self.name = name
        self._recordings = map(_levelled, paths)
        self._next: Samples = np.zeros(0, dtype=np.float32)

    def speak(self, seconds: float) -> Samples | None:
        """Return the next part; None if less than a short turn is left."""
        size = round(seconds * SAMPLE_RATE_HZ)
        while self._next.size < size and (more := next(self._recordings, None)) is not None:
            self._next = np.concatenate([self._next, more])
        if self._next.size < TURN_S[0] * SAMPLE_RATE_HZ:
            return None
        said, self._next = self._next[:size], self._next[size:]
        return said


def conversations(
    split: str, corpora: Sequence[str] | None = None, *, each: int, seed: int = 0
) -> Iterator[Conversation]:
    """Join calls of each cast and corpus of a split, where a corpus has enough speakers.

    Args:
        split: of the recordings' manifest.
        corpora: those to take; None for all.
        each: calls of each cast and corpus.
    """
    people: dict[str, dict[str, dict[str, list[dict[str, str]]]]] = defaultdict(
        lambda: {"female": defaultdict(list), "male": defaultdict(list)}
    )
    for row in clips_of(split):
        if row["label"] in ("male", "female") and (corpora is None or row["corpus"] in corpora):
            people[row["corpus"]][row["label"]][row["speaker"]].append(row)
    for corpus, by_sex in sorted(people.items()):
        known = [
            sorted(who for who, rows in by_sex[sex].items() if sum(float(row["seconds"]) for row in rows) >= _LEAST_S)
            for sex in ("female", "male")
        ]
        for cast, sexes in CASTS.items():
            chance = random.Random(f"{corpus} {cast}")
            possible = [some for some in sexes if all(n <= len(of) for n, of in zip(some, known, strict=True))]
            for index in range(each if possible else 0):
                chosen = [
                    who
                    for count, of in zip(possible[index % len(possible)], known, strict=True)
                    for who in chance.sample(of, count)
                ]
                rows = by_sex["female"] | by_sex["male"]
                speakers = []
                for who in chosen:
                    paths = [row["path"] for row in rows[who]]
                    speakers.append(_Speaker(who, chance.sample(paths, len(paths))))
                made = _joined(corpus, cast, speakers, chance)
                if len(made.speakers) == len(chosen):
                    yield made


def _joined(corpus: str, cast: str, speakers: Sequence[_Speaker], chance: random.Random) -> Conversation:
    pieces: list[Samples] = [np.zeros(SAMPLE_RATE_HZ // 2, dtype=np.float32)]
    turns: list[Turn] = []
    at = 0.5
    waiting: list[_Speaker] = []
    silent: set[str] = set()
    while len(silent) < max(1, len(speakers) - 1) and len(turns) < max(TURNS, ROUNDS * len(speakers)):
        if not waiting:
            waiting = [one for one in chance.sample(speakers, len(speakers)) if one.name not in silent]
            if turns and len(waiting) > 1 and waiting[0].name == turns[-1].speaker:
                waiting.append(waiting.pop(0))
        speaker = waiting.pop(0)
        said = speaker.speak(chance.uniform(*TURN_S))
        if said is None:
            silent.add(speaker.name)
            continue
        pause = np.zeros(round(chance.uniform(*PAUSE_S) * SAMPLE_RATE_HZ), dtype=np.float32)
        turns.append(Turn(at, at + said.size / SAMPLE_RATE_HZ, speaker.name))
        pieces += [said, pause]
        at += (said.size + pause.size) / SAMPLE_RATE_HZ
    return Conversation(
        corpus, cast, np.concatenate([*pieces, np.zeros(SAMPLE_RATE_HZ, dtype=np.float32)]), tuple(turns)
    )


@lru_cache(1_000)
def _levelled(path: str) -> Samples:
    audio = trimmed(read_audio(CORPUS / path))
    levelled: Samples = audio * (_PEAK / max(np.float32(1e-6), np.abs(audio).max()))
    return levelled
