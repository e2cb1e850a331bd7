"""How good a model is on recordings, through the very pipeline that listens to calls: ``voxgender evaluate``."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from voxgender.engine import Engine
from voxgender.engine.files import classify_file
from voxgender.protocol import VERDICTS, Result
from voxgender.training.manifest import Clip, Heard

ALL = "all"
"""Name of the row that takes all corpora together."""


class FileOutcome(NamedTuple):
    """What the pipeline made of one labelled recording."""

    clip: Clip
    label: str | None
    """Of the whole file; None where no speech was found."""
    confidence: float
    windows: int
    """That the model was asked about."""
    windows_right: int
    seconds: float
    """Told of in results: the file, in whole hops."""
    gendered_seconds: float
    """Of these, called male or female."""
    results: tuple[Result, ...] = ()
    """All that was told while it was heard."""

    @property
    def right(self) -> bool:
        return self.label == self.clip.label


@dataclass(frozen=True, slots=True)
class Figures:
    """Recordings of one corpus and label together. Shares between 0 and 1; None where there is nothing to count."""

    corpus: str
    label: str
    """``male``, ``female``, ``voices`` (both), ``noise`` or ``human-sound``."""
    files: int
    file_accuracy: float | None
    """Voices only. A file where no speech is found, or that stays uncertain, is a wrong one."""
    window_accuracy: float | None
    """Voices only: of the windows that the model was asked about, whatever it was sure of."""
    no_speech_files: int
    uncertain_files: int
    windows: int
    seconds: float
    gendered_share: float
    """Share of the time that was called male or female. For noise, all of it is wrong."""

    def to_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


def evaluate(clips: Iterable[Clip], engine: Engine) -> Iterator[FileOutcome]:
    """Run the pipeline over each labelled clip; the others are passed over.

    Raises:
        AudioError: a recording cannot be decoded.
    """
    for clip in clips:
        if clip.label:
            yield _outcome(clip, engine)


def tabulated(outcomes: Iterable[FileOutcome]) -> list[Figures]:
    """Per corpus, then for all corpora: male, female, both, and what is no voice, as far as there is any."""
    outcomes = list(outcomes)
    corpora = defaultdict(list)
    for outcome in outcomes:
        corpora[outcome.clip.corpus].append(outcome)
    rows = [row for corpus in sorted(corpora) for row in _rows(corpus, corpora[corpus])]
    return rows + _rows(ALL, outcomes)


def as_dict(figures: Iterable[Figures]) -> dict[str, Any]:
    """``{"corpora": {corpus: {label: figures}}, "all": {label: figures}}``, as ``--json`` prints it."""
    corpora: dict[str, dict[str, Any]] = {}
    for row in figures:
        corpora.setdefault(row.corpus, {})[row.label] = row.to_dict()
    return {"corpora": corpora, ALL: corpora.pop(ALL, {})}


def as_table(figures: Iterable[Figures]) -> str:
    """A table for people; shares in percent."""
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
    verdict = classify_file(engine, clip.path)
    windows = right = 0
    seconds = gendered_s = 0.0
    for result in verdict.results:
        seconds += result.end - result.start
        if result.label not in VERDICTS:
            gendered_s += result.end - result.start
        if result.scores is not None:
            windows += 1
            right += clip.label == max(result.scores, key=result.scores.__getitem__)
    return FileOutcome(clip, verdict.label, verdict.confidence, windows, right, seconds, gendered_s, verdict.results)


def _rows(corpus: str, outcomes: list[FileOutcome]) -> list[Figures]:
    groups: list[tuple[str, tuple[Heard, ...]]] = [
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
