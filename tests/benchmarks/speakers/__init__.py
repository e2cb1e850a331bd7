"""Measure whether the voices of one call can be told apart: by the shipped network, and by a speaker encoder beside it.

Nothing of this is part of the server: decision 0060 says why. Calls are joined of recordings of ``dev`` and
``dev-languages``. All that is learnt or chosen is so from other speakers, those of ``train``.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import NamedTuple

import numpy as np

from tests.benchmarks.single_call import CORPUS, clips_of
from tests.benchmarks.speakers import embeddings
from tests.benchmarks.speakers.comparison import Call, Likeness, Result, System, floors, likeness_of, result_of
from tests.benchmarks.speakers.conversations import ALONE, CASTS, Conversation, conversations
from tests.benchmarks.speakers.embeddings import Embed, Vectors, centring, discriminant, joined, regression
from tests.benchmarks.speakers.listening import listen
from tests.benchmarks.tables import Measured, markdown
from voxgender.audio.files import read_audio
from voxgender.engine import Engine
from voxgender.inference.loading import EMBEDDED, load
from voxgender.training.encoder import PACKAGE
from voxgender.training.scoring import loud_windows

CHOSEN_BY = ("common-voice-13-en", "librispeech-train-clean-100", "speechocean762")
"""Corpora of ``train`` whose speakers have recordings enough for a call."""
SHIPPED_MS, ENCODER_MS = 1_000, 1_600
"""Windows as the model is given them, and as the speaker encoder learnt from."""
DIRECTIONS = 64
WINDOWS_OF_EACH = 4
"""Windows of a recording of ``train``, at most."""


class Learnt(NamedTuple):
    """Windows of many speakers, to learn projections from."""

    vectors: Mapping[str, Vectors]
    speakers: Sequence[str]


async def measure(brief: bool) -> Measured:
    return await asyncio.to_thread(_measure, brief)


def _measure(brief: bool) -> Measured:
    choosing = list(conversations("train", CHOSEN_BY[:1] if brief else CHOSEN_BY, each=1))
    tested = list(conversations("dev", ("emodb",) if brief else None, each=1 if brief else 2))
    if not brief:
        tested += conversations("dev-languages", each=1)
    if not tested or not choosing:
        raise RuntimeError(f"there are no recordings in {CORPUS}")
    used = {speaker for one in choosing for speaker in one.speakers}
    rows = [row for row in clips_of("train") if row["label"] in ("male", "female") and row["speaker"] not in used]
    shipped, encoder = embeddings.shipped(), embeddings.resemblyzer()
    # Half of the recordings take half the time, which is that of the encoder.
    learnt = learnt_from(rows[:200] if brief else rows[::2], (shipped, encoder))
    calls, others = (calls_of(those, shipped, SHIPPED_MS) for those in (tested, choosing))
    results, likenesses = floors(calls), []
    for systems in shipped_systems(learnt).values():
        likenesses += [(system.name, likeness_of(system, calls)) for system in systems]
        # The layer is chosen as all else is: by other speakers.
        best = min(systems, key=lambda system: likeness_of(system, others).turns)
        results.append(result_of(best, calls, others))
    calls, others = (calls_of(those, encoder, ENCODER_MS) for those in (tested, choosing))
    system = System("speaker encoder", PACKAGE)
    likenesses.append((system.name, likeness_of(system, calls)))
    results.append(result_of(system, calls, others))
    return measured(results, likenesses)


def calls_of(those: Sequence[Conversation], embed: Embed, window_ms: int) -> list[Call]:
    """Hear calls as the server does, and embed the windows."""
    engine = Engine(load(EMBEDDED), window_ms=window_ms)
    calls = []
    for one in those:
        heard = listen(engine, one)
        # The audio of all windows would take gigabytes.
        calls.append(Call(one, heard._replace(audio=()), embed(heard.audio)))
    return calls


def learnt_from(rows: Sequence[Mapping[str, str]], networks: Sequence[Embed]) -> Learnt:
    """Embed windows of recordings by each network."""
    found, speakers = [], []
    for row in rows:
        audio = loud_windows(read_audio(CORPUS / row["path"]), window_ms=SHIPPED_MS, hop_ms=SHIPPED_MS)
        windows = list(audio[:WINDOWS_OF_EACH].astype(np.float32) / 32767)
        vectors: dict[str, Vectors] = {}
        for embed in networks:
            vectors |= embed(windows)
        found.append(vectors)
        speakers += [row["speaker"]] * len(windows)
    return Learnt(joined(found), speakers)


def shipped_systems(learnt: Learnt) -> dict[str, list[System]]:
    """Return what the shipped network gives, by what is made of it, each by layer."""
    layers = {name: vectors for name, vectors in learnt.vectors.items() if name != PACKAGE}
    target = learnt.vectors[PACKAGE]
    return {
        "as it is": [System(f"shipped, {name}", name, centring(vectors)) for name, vectors in layers.items()],
        "discriminant": [
            System(f"shipped, {name}, discriminant", name, discriminant(vectors, learnt.speakers, DIRECTIONS))
            for name, vectors in layers.items()
        ],
        "onto the encoder": [
            System(f"shipped, {name}, onto the encoder", name, regression(vectors, target))
            for name, vectors in layers.items()
        ],
    }


def measured(results: Sequence[Result], likenesses: Sequence[tuple[str, Likeness]]) -> Measured:
    """Put all figures into tables."""
    tables = [
        markdown(
            (
                "two to four speakers", "error, %", "without collar", "right number of voices, %", "changes told, %",
                "after, p50 s", "p95 s", "false a minute", "one alone: voices", "false a minute",
                "error, threshold best for these calls", "error, voices known",
            ),
            [_row(one) for one in results],
        ),
        markdown(
            ("error, %", *CASTS),
            [(one.name, *(_percent(cast.error) for cast in one.by_cast.values())) for one in results],
        ),
        markdown(
            ("right number of voices, %", *CASTS),
            [(one.name, *(_percent(cast.counted_share) for cast in one.by_cast.values())) for one in results],
        ),
        markdown(
            ("two to four speakers: error, %", *results[0].by_corpus),
            [(one.name, *(_percent(corpus.error) for corpus in one.by_corpus.values())) for one in results],
        ),
        markdown(
            ("one sex: mistaken, %", "windows", "turns"),
            [(name, _percent(one.windows), _percent(one.turns)) for name, one in likenesses],
        ),
    ]  # fmt: skip
    figures = {
        "systems": [_figures(one) for one in results],
        "likenesses": {name: one._asdict() for name, one in likenesses},
    }
    return Measured(figures, "\n\n".join(tables))


def _figures(result: Result) -> dict[str, object]:
    return {
        "name": result.name,
        "rule": None if result.rule is None else asdict(result.rule),
        "several": result.several.to_dict(),
        "casts": {cast: of.to_dict() for cast, of in result.by_cast.items()},
        "corpora": {corpus: of.to_dict() for corpus, of in result.by_corpus.items()},
        "best": result.best,
        "known": result.known,
    }


def _row(result: Result) -> tuple[object, ...]:
    several, alone = result.several.to_dict(), result.by_cast[ALONE].to_dict()
    return (
        result.name, _percent(several["error"]), _percent(several["whole_error"]),
        _percent(several["counted_share"]), _percent(several["heard"]),
        several["delay_p50_s"], several["delay_p95_s"], several["false_a_minute"], alone["found"],
        alone["false_a_minute"], _percent(result.best), _percent(result.known),
    )  # fmt: skip


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{100 * share:.1f}"
