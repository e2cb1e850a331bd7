"""Compare ways of embedding by the same calls and the same clustering, each steered by numbers chosen for it."""

import random
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from tests.benchmarks.speakers.clustering import Rule, Told, began, told_of
from tests.benchmarks.speakers.conversations import CASTS, TWO_TO_FOUR, Conversation
from tests.benchmarks.speakers.embeddings import Projection, Vectors, directions
from tests.benchmarks.speakers.listening import Heard, of_turns
from tests.benchmarks.speakers.scoring import Score, equal_error_rate, score

START = Rule(threshold=0.5, pooled=5, patience=3, evidence=8)
THRESHOLDS = 9
CHOICES = {"pooled": (1, 3, 5, 8), "patience": (1, 2, 4), "evidence": (3, 5, 8, 12, 20)}
ONE_SEX = ("two women", "two men", "three or four of one sex")
_PAIRED = 100
"""Windows of a call, about, of which pairs are made."""


class Call(NamedTuple):
    """A call with the embeddings of its windows."""

    conversation: Conversation
    heard: Heard
    vectors: Mapping[str, Vectors]


class System(NamedTuple):
    """A way of embedding."""

    name: str
    vectors: str
    """Name of the embeddings."""
    projection: Projection | None = None

    def of(self, call: Call) -> Vectors:
        found = call.vectors[self.vectors]
        return directions(found) if self.projection is None else self.projection(found)


class Result(NamedTuple):
    """Figures of one system, or of a floor."""

    name: str
    by_cast: Mapping[str, Score]
    by_corpus: Mapping[str, Score]
    """Of calls of two to four speakers."""
    rule: Rule | None = None
    best: float | None = None
    """Diarisation error rate of two to four speakers by the threshold that is best for these calls themselves."""
    known: float | None = None
    """The same if the mean of each speaker's windows were known beforehand."""

    @property
    def several(self) -> Score:
        """Figures of two to four speakers."""
        total = Score()
        for cast in TWO_TO_FOUR:
            total.add(self.by_cast[cast])
        return total


class Likeness(NamedTuple):
    """How often a system mistakes speakers of one sex for one another: equal error rates of pairs within a call."""

    windows: float
    turns: float
    """Of the means of whole turns."""


_Embedded = Sequence[tuple[Call, Vectors]]


def result_of(system: System, calls: Sequence[Call], choosing: Sequence[Call]) -> Result:
    """Choose a rule by the calls of ``choosing``, and score all calls by it."""
    mine, others = ([(call, system.of(call)) for call in those] for those in (calls, choosing))
    rule = _chosen(others)
    result, known = (
        _scored(system.name, calls, told)
        for told in (
            [told_of(call.heard.windows, vectors, rule) for call, vectors in mine],
            [_told_if_known(call, vectors, rule) for call, vectors in mine],
        )
    )
    flattered = (
        _scored("", calls, [told_of(call.heard.windows, vectors, tried) for call, vectors in mine])
        for tried in (rule, *_thresholds(rule, mine))
    )
    best = min(one.several.error for one in flattered)
    return result._replace(rule=rule, best=best, known=known.several.error)


def likeness_of(system: System, calls: Sequence[Call]) -> Likeness:
    """Compare windows and turns of speakers of one sex."""
    mine = [(call, system.of(call)) for call in calls]
    return Likeness(
        equal_error_rate(*_window_pairs(mine, ONE_SEX)),
        equal_error_rate(*_turn_pairs(mine, ONE_SEX)),
    )


def floors(calls: Sequence[Call]) -> list[Result]:
    """Return the figures of what hears no voices: the truth, which must have no error, and ways to tell little."""
    chance = random.Random(0)
    return [
        _scored("truth", calls, [_truth(call.conversation) for call in calls]),
        _scored("chance", calls, [_by_chance(call.conversation, chance) for call in calls]),
        _scored("all one voice", calls, [[Told(0.0, 0.0, 0)] for _ in calls]),
        _scored("sex alone, as is told", calls, [call.heard.sexes for call in calls]),
    ]


def _chosen(calls: _Embedded) -> Rule:
    """Choose the rule with the least error, the mean over the casts: one number after another, each of them twice."""

    def error(rule: Rule) -> float:
        told = [told_of(call.heard.windows, vectors, rule) for call, vectors in calls]
        by_cast = _scored("", [call for call, _ in calls], told).by_cast
        return float(np.mean([one.error for one in by_cast.values() if one.calls]))

    rule = START
    for _ in range(2):
        rule = min(_thresholds(rule, calls), key=error)
        for name, values in CHOICES.items():
            rule = min((replace(rule, **{name: value}) for value in values), key=error)
    return rule


def _thresholds(rule: Rule, calls: _Embedded) -> list[Rule]:
    """Return the rule with each threshold that may be worth trying, from where two speakers lie to where one does."""
    alike, different = _window_pairs(calls, CASTS)
    return [replace(rule, threshold=float(one)) for one in np.linspace(different.mean(), alike.mean(), THRESHOLDS)]


def _scored(name: str, calls: Sequence[Call], told: Sequence[Sequence[Told]]) -> Result:
    by_cast = {cast: Score() for cast in CASTS}
    by_corpus: dict[str, Score] = {}
    for call, of_call in zip(calls, told, strict=True):
        found = score(call.conversation.turns, call.heard.speech, of_call)
        by_cast[call.conversation.cast].add(found)
        if call.conversation.cast in TWO_TO_FOUR:
            by_corpus.setdefault(call.conversation.corpus, Score()).add(found)
    return Result(name, by_cast, by_corpus)


def _truth(conversation: Conversation) -> list[Told]:
    names = conversation.speakers
    told = [Told(turn.end, turn.start, names.index(turn.speaker)) for turn in conversation.turns]
    return [told[0], *(one for before, one in pairwise(told) if one.voice != before.voice)]


def _by_chance(conversation: Conversation, chance: random.Random) -> list[Told]:
    """Change to another of as many voices as there are, as often as the speakers do."""
    told, end, voices = [Told(0.0, 0.0, 0)], conversation.turns[-1].end, len(conversation.speakers)
    for at in sorted(chance.uniform(0, end) for _ in conversation.turns[1:]):
        others = [voice for voice in range(voices) if voice != told[-1].voice]
        told += [Told(at, at, chance.choice(others))] if others else []
    return told


def _told_if_known(call: Call, vectors: Vectors, rule: Rule) -> list[Told]:
    """Give each window to the nearest of the speakers' means, in which it has its own part."""
    turns = np.array(of_turns(call.heard.windows, call.conversation))
    means = []
    for speaker in call.conversation.speakers:
        theirs = [index for index, turn in enumerate(call.conversation.turns) if turn.speaker == speaker]
        means.append(vectors[np.isin(turns, theirs)].sum(axis=0))
    centroids = directions(np.stack(means))
    told: list[Told] = []
    first = 0
    for index, window in enumerate(call.heard.windows):
        first = index if window.begins else first
        pooled = vectors[max(first, index + 1 - rule.pooled) : index + 1].sum(axis=0)
        voice = int(np.argmax(centroids @ pooled))
        if not told or told[-1].voice != voice:
            told.append(Told(window.end, began(window), voice))
    return told


def _window_pairs(calls: _Embedded, casts: Collection[str]) -> tuple[Vectors, Vectors]:
    """Return the cosines of windows from two turns of a call: of one speaker, and of two."""
    pairs = []
    for call, vectors in calls:
        if call.conversation.cast in casts:
            turns = np.array(of_turns(call.heard.windows, call.conversation))
            whole = np.flatnonzero(turns >= 0)
            some = whole[:: max(1, len(whole) // _PAIRED)]
            pairs.append(_cosines(vectors[some], turns[some], call.conversation))
    return _joined(pairs)


def _turn_pairs(calls: _Embedded, casts: Collection[str]) -> tuple[Vectors, Vectors]:
    """Return the cosines of the means over two turns of a call: of one speaker, and of two."""
    pairs = []
    for call, vectors in calls:
        if call.conversation.cast in casts:
            turns = np.array(of_turns(call.heard.windows, call.conversation))
            held = np.unique(turns[turns >= 0])
            means = directions(np.stack([vectors[turns == turn].sum(axis=0) for turn in held]))
            pairs.append(_cosines(means, held, call.conversation))
    return _joined(pairs)


def _cosines(vectors: Vectors, turns: Any, conversation: Conversation) -> tuple[Vectors, Vectors]:
    speakers = np.array([conversation.turns[turn].speaker for turn in turns])
    rows, columns = np.triu_indices(len(turns), 1)
    cosines = np.sum(vectors[rows] * vectors[columns], axis=1)
    is_one = speakers[rows] == speakers[columns]
    return cosines[is_one & (turns[rows] != turns[columns])], cosines[~is_one]


def _joined(pairs: Iterable[tuple[Vectors, Vectors]]) -> tuple[Vectors, Vectors]:
    alike, different = zip(*pairs, strict=True)
    return np.concatenate(alike), np.concatenate(different)
