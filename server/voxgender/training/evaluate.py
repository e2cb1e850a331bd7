"""Evaluate a model on labelled recordings, by the same pipeline as live calls: ``voxgender evaluate``."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from voxgender.engine import Engine
from voxgender.engine.files import classify_file
from voxgender.protocol import NO_VOICE, Result
from voxgender.training.manifest import Clip, ClipLabel

ALL = "all"
"""Name of the row for all corpora together."""


class FileOutcome(NamedTuple):
    """Outcome of the pipeline for one labelled recording."""

    clip: Clip
    label: str | None
    """Label of the whole file; None if no speech was found."""
    confidence: float
    windows: int
    """Windows that the model classified."""
    windows_right: int
    seconds: float
    """Length of all results: the file, in whole hops."""
    gendered_seconds: float
    """Length of the results labelled male or female."""
    results: tuple[Result, ...] = ()
    """All results, in order."""

    @property
    def right(self) -> bool:
        return self.label == self.clip.label


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures for the recordings of one corpus and label. Shares are 0 to 1, or None without anything to count."""

    corpus: str
    label: str
    """``male``, ``female``, ``voices`` (both), ``noise`` or ``human-sound``."""
    files: int
    file_accuracy: float | None
    """For voices only. A file without speech, or one that stays uncertain, counts as wrong."""
    window_accuracy: float | None
    """For voices only: share of the classified windows whose likelier label is right."""
    no_speech_files: int
    uncertain_files: int
    windows: int
    seconds: float
    gendered_share: float
    """Share of the time labelled male or female; for noise, all of that is wrong."""

    def to_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


def evaluate(clips: Iterable[Clip], engine: Engine) -> Iterator[FileOutcome]:
    """Run the pipeline over each labelled clip; others are skipped.

    Raises:
        AudioError: a recording cannot be decoded.
    """
    for clip in clips:
        if clip.label:
            yield _outcome(clip, engine)


def tabulated(outcomes: Iterable[FileOutcome]) -> list[Figures]:
    """Return figures for each corpus, then for all: male, female, both, and sounds without a voice."""
    outcomes = list(outcomes)
    corpora = defaultdict(list)
    for outcome in outcomes:
        corpora[outcome.clip.corpus].append(outcome)
    rows = [row for corpus in sorted(corpora) for row in _rows(corpus, corpora[corpus])]
    return rows + _rows(ALL, outcomes)


def as_dict(figures: Iterable[Figures]) -> dict[str, Any]:
    """Return ``{"corpora": {corpus: {label: figures}}, "all": {label: figures}}``, as ``--json`` prints it."""
    corpora: dict[str, dict[str, Any]] = {}
    for row in figures:
        corpora.setdefault(row.corpus, {})[row.label] = row.to_dict()
    return {"corpora": corpora, ALL: corpora.pop(ALL, {})}


def as_table(figures: Iterable[Figures]) -> str:
    """Format a table with shares in percent."""
    lines = [f"{'corpus':<32}{'heard as':<12}{'files':>6}{'right':>9}{'windows':>9}{'right':>9}{'gendered':>10}"]
    lines += [
        f"{row.corpus:<32}{row.label:<12}{row.files:>6}{_percent(row.file_accuracy):>9}"
        f"{row.windows:>9}{_percent(row.window_accuracy):>9}{_percent(row.gendered_share):>10}"
        for row in figures
    ]
    return "\n".join(lines)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _outcome(clip: Clip, engine: Engine) -> FileOutcome:
    whole = classify_file(engine, clip.path)
    windows = right = 0
    seconds = gendered_s = 0.0
    for result in whole.results:
        seconds += result.end - result.start
        if result.label not in NO_VOICE:
            gendered_s += result.end - result.start
        if result.scores is not None:
            windows += 1
            right += clip.label == max(result.scores, key=result.scores.__getitem__)
    label, confidence, *_ = whole
    return FileOutcome(clip, label, confidence, windows, right, seconds, gendered_s, whole.results)


def _rows(corpus: str, outcomes: list[FileOutcome]) -> list[Figures]:
    groups: list[tuple[str, tuple[ClipLabel, ...]]] = [
        ("male", ("male",)),
        ("female", ("female",)),
        ("voices", ("male", "female")),
        ("noise", ("noise",)),
        ("human-sound", ("human-sound",)),
    ]
    rows = []
    for name, labels in groups:
        chosen = [outcome for outcome in outcomes if outcome.clip.label in labels]
        if chosen:
            rows.append(_figures(corpus, name, chosen, voices="male" in labels or "female" in labels))
    return rows


def _figures(corpus: str, label: str, outcomes: list[FileOutcome], *, voices: bool) -> Figures:
    windows = sum(outcome.windows for outcome in outcomes)
    seconds = sum(outcome.seconds for outcome in outcomes)
    return Figures(
        corpus=corpus,
        label=label,
        files=len(outcomes),
        file_accuracy=sum(outcome.right for outcome in outcomes) / len(outcomes) if voices else None,
        window_accuracy=sum(outcome.windows_right for outcome in outcomes) / windows if voices and windows else None,
        no_speech_files=sum(outcome.label is None for outcome in outcomes),
        uncertain_files=sum(outcome.label == "uncertain" for outcome in outcomes),
        windows=windows,
        seconds=round(seconds, 3),
        gendered_share=sum(outcome.gendered_seconds for outcome in outcomes) / seconds if seconds else 0.0,
    )
