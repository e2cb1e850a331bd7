"""Who is heard how often: the sexes alike, and languages alike in both, however few women or men a language has."""

from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Generic, TypeVar

import numpy as np

from voxgender.training.manifest import Clip, Kind
from voxgender.training.voices import Recording

Sex = Kind
SEXES: tuple[Sex, ...] = ("female", "male")

_T = TypeVar("_T")


class People:
    """Draws recordings.

    A corpus in one language is a place. Its chance is the same for both sexes, as the square root of how many speakers
    it has of the sex it has fewer of; else a network would learn that a language that only men spoke to it is male.
    Within it, speakers come up equally often.
    """

    def __init__(self, recordings: Iterable[Recording]) -> None:
        self._places: dict[Sex, _Weighted[list[list[Recording]]]] = {}
        places: dict[Hashable, dict[Sex, dict[str, list[Recording]]]] = {}
        for one in recordings:
            sexes = places.setdefault((one.clip.corpus, one.clip.language), {})
            sexes.setdefault(one.clip.kind, {}).setdefault(one.clip.speaker, []).append(one)
        for sex in SEXES:
            there = [sexes for sexes in places.values() if sex in sexes]
            if there:
                weights = [min(len(sexes.get(one, ())) + 1 for one in SEXES) ** 0.5 for sexes in there]
                self._places[sex] = _Weighted([list(sexes[sex].values()) for sexes in there], weights)

    def __contains__(self, sex: Sex) -> bool:
        return sex in self._places

    def any(self, sex: Sex, rng: np.random.Generator) -> Recording:
        """Draw a recording of somebody of this sex, of whom there is one."""
        return any_of(any_of(self._places[sex].any(rng), rng), rng)


def spread(clips: Sequence[Clip], speakers: int) -> list[Clip]:
    """Choose a clip each of so many speakers, half of either sex, in turn of each corpus and each of its languages."""
    chosen: list[Clip] = []
    for sex in SEXES:
        corpora: dict[str, dict[str, dict[str, Clip]]] = {}
        for clip in clips:
            if clip.label == sex:
                corpora.setdefault(clip.corpus, {}).setdefault(clip.language, {}).setdefault(clip.speaker, clip)
        queues = [list(_in_turn(list(one.values()) for one in languages.values())) for languages in corpora.values()]
        chosen += list(_in_turn(queues))[: speakers // 2]
    return chosen


def _in_turn(queues: Iterable[Sequence[_T]]) -> Iterator[_T]:
    queues = list(queues)
    for turn in range(max((len(queue) for queue in queues), default=0)):
        yield from (queue[turn] for queue in queues if turn < len(queue))


def any_of(items: Sequence[_T], rng: np.random.Generator) -> _T:
    return items[int(rng.integers(len(items)))]


class _Weighted(Generic[_T]):
    def __init__(self, items: Sequence[_T], weights: Sequence[float]) -> None:
        self._items = items
        self._until = np.cumsum(np.array(weights) / np.sum(weights))

    def any(self, rng: np.random.Generator) -> _T:
        return self._items[min(int(np.searchsorted(self._until, rng.random())), len(self._items) - 1)]
