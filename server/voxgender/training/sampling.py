"""Draw speakers so that both sexes, and each language within either sex, come up equally often."""

from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Generic, TypeVar

import numpy as np

from voxgender.training.manifest import Clip, Kind
from voxgender.training.recordings import Recording

Sex = Kind
SEXES: tuple[Sex, ...] = ("female", "male")

_T = TypeVar("_T")


class SpeakerSampler:
    """Draws recordings at random.

    A corpus in one language is a group. A group has the same probability for both sexes: it grows with the square root
    of the number of speakers of the sex with fewer. Otherwise a network would learn that a language that it hears from
    men alone is male. Within a group, all speakers are equally probable.
    """

    def __init__(self, recordings: Iterable[Recording]) -> None:
        self._groups: dict[Sex, _Weighted[list[list[Recording]]]] = {}
        groups: dict[Hashable, dict[Sex, dict[str, list[Recording]]]] = {}
        for one in recordings:
            sexes = groups.setdefault((one.clip.corpus, one.clip.language), {})
            sexes.setdefault(one.clip.kind, {}).setdefault(one.clip.speaker, []).append(one)
        for sex in SEXES:
            present = [sexes for sexes in groups.values() if sex in sexes]
            if present:
                weights = [min(len(sexes.get(one, ())) + 1 for one in SEXES) ** 0.5 for sexes in present]
                self._groups[sex] = _Weighted([list(sexes[sex].values()) for sexes in present], weights)

    def __contains__(self, sex: Sex) -> bool:
        return sex in self._groups

    def chances(self, sex: Sex) -> dict[Recording, float]:
        """Return the probability of each recording of a sex to be drawn; there must be one."""
        return {
            one: share / len(speakers) / len(theirs)
            for speakers, share in self._groups[sex].shares()
            for theirs in speakers
            for one in theirs
        }

    def draw(self, sex: Sex, rng: np.random.Generator) -> Recording:
        """Draw a recording of a speaker of this sex; there must be one."""
        return choose(choose(self._groups[sex].draw(rng), rng), rng)


def spread(clips: Sequence[Clip], speakers: int) -> list[Clip]:
    """Choose a clip each of so many speakers, half of either sex, from all corpora and their languages in rotation."""
    chosen: list[Clip] = []
    for sex in SEXES:
        corpora: dict[str, dict[str, dict[str, Clip]]] = {}
        for clip in clips:
            if clip.label == sex:
                corpora.setdefault(clip.corpus, {}).setdefault(clip.language, {}).setdefault(clip.speaker, clip)
        queues = [
            list(_round_robin(list(one.values()) for one in languages.values())) for languages in corpora.values()
        ]
        chosen += list(_round_robin(queues))[: speakers // 2]
    return chosen


def _round_robin(queues: Iterable[Sequence[_T]]) -> Iterator[_T]:
    queues = list(queues)
    for place in range(max((len(queue) for queue in queues), default=0)):
        yield from (queue[place] for queue in queues if place < len(queue))


def choose(items: Sequence[_T], rng: np.random.Generator) -> _T:
    """Return one of the items, all equally probable."""
    return items[int(rng.integers(len(items)))]


class _Weighted(Generic[_T]):
    def __init__(self, items: Sequence[_T], weights: Sequence[float]) -> None:
        self._items = items
        self._until = np.cumsum(np.array(weights) / np.sum(weights))

    def shares(self) -> Iterator[tuple[_T, float]]:
        return zip(self._items, np.diff(self._until, prepend=0.0).tolist(), strict=True)

    def draw(self, rng: np.random.Generator) -> _T:
        return self._items[min(int(np.searchsorted(self._until, rng.random())), len(self._items) - 1)]
