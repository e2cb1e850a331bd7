"""Measure whether the voices of one call can be told apart: by the shipped network, and by a speaker encoder beside it.

Nothing of this is part of the server; ``docs/decisions/0060-one-sex-is-one-voice.md`` says why. Calls are joined of
recordings of ``dev`` and ``dev-languages``. All that is learnt or chosen is so from other speakers, of ``train``.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import NamedTuple

import numpy as np

from tests.benchmarks.single_call import CORPUS, clips_of
from tests.benchmarks.speakers import embeddings
from tests.benchmarks.speakers.comparison import Call, Result, System, floors, result_of
from tests.benchmarks.speakers.conversations import ALONE, CASTS, Conversation, conversations
from tests.benchmarks.speakers.embeddings import Embed, Vectors, joined
from tests.benchmarks.speakers.listening import listen
from tests.benchmarks.tables import Measured, markdown
from voxgender.audio.files import read_audio
from voxgender.engine import Engine
from voxgender.errors import SettingsError
from voxgender.inference.loading import EMBEDDED, load
from voxgender.training.encoder import PACKAGE
from voxgender.training.scoring import loud_windows

CHOSEN_BY = ("common-voice-13-en", "librispeech-train-clean-100", "speechocean762")
"""Corpora of ``train`` whose speakers have recordings enough for a call."""
WINDOWS_MS = (1_000, 1_600)
"""Windows as the model is given them, and as the speaker encoder learnt from."""
DIRECTIONS = 64


class Learnt(NamedTuple):
    """Windows of many speakers, to learn projections from."""

    vectors: Mapping[str, Vectors]
    speakers: Sequence[str]


async def measure(brief: bool) -> Measured:
    return await asyncio.to_thread(_measure, brief)


def _measure(brief: bool) -> Measured:
    chosen_by = list(conversations("train", CHOSEN_BY[:1] if brief else CHOSEN_BY, each=1 if brief else 3))
    tested = list(conversations("dev", ("emodb",) if brief else None, each=1 if brief else 4))
    if not brief:
        tested += conversations("dev-languages", each=2)
    if not tested or not chosen_by:
        raise RuntimeError(f"there are no recordings in {CORPUS}")
    used = {speaker for one in chosen_by for speaker in one.speakers}
    rows = [row for row in clips_of("train") if row["label"] in ("male", "female") and row["speaker"] not in used]
    networks = [embeddings.shipped()]
    try:
        networks.append(embeddings.resemblyzer())
    except SettingsError:
        print(f"without the speaker encoder: {PACKAGE} is not installed")
    results: list[Result] = []
    for window_ms in WINDOWS_MS:
        engine = Engine(load(EMBEDDED), window_ms=window_ms)
        calls, choosing = ([_call(engine, networks, one) for one in those] for those in (tested, chosen_by))
        results += floors(calls) if not results else []
        for system in _systems(window_ms, _learnt(rows[:200] if brief else rows, networks, window_ms)):
            results.append(result_of(system, calls, choosing))
            print(f"{system.name}: {100 * results[-1].several.error:.1f} %", flush=True)
    return _measured(results)


def _call(engine: Engine, networks: Sequence[Embed], conversation: Conversation) -> Call:
    heard = listen(engine, conversation)
    vectors = _embedded(networks, heard.audio)
    # The audio of all calls would take gigabytes.
    return Call(conversation, heard._replace(audio=()), vectors)


def _learnt(rows: Sequence[Mapping[str, str]], networks: Sequence[Embed], window_ms: int) -> Learnt:
    found, speakers = [], []
    for row in rows:
        audio = loud_windows(read_audio(CORPUS / row["path"]), window_ms=window_ms, hop_ms=window_ms)
        found.append(_embedded(networks, list(audio.astype(np.float32) / 32767)))
        speakers += [row["speaker"]] * len(audio)
    return Learnt(joined(found), speakers)


def _embedded(networks: Sequence[Embed], windows: Sequence[np.ndarray]) -> dict[str, Vectors]:
    vectors: dict[str, Vectors] = {}
    for embed in networks:
        vectors |= embed(windows)
    return vectors


def _systems(window_ms: int, learnt: Learnt) -> Iterator[System]:
    """Yield what is compared, for windows of one length."""
    seconds = f"{window_ms / 1_000:g} s"
    for name, vectors in learnt.vectors.items():
        if name == PACKAGE:
            yield System(f"speaker encoder, {seconds}", name)
        else:
            yield System(f"shipped, {name}, {seconds}", name, embeddings.centring(vectors))
    for name, vectors in learnt.vectors.items():
        whose = f"{'speaker encoder' if name == PACKAGE else f'shipped, {name}'}, {seconds}"
        yield System(f"{whose}, discriminant", name, embeddings.discriminant(vectors, learnt.speakers, DIRECTIONS))
        if name != PACKAGE in learnt.vectors:
            onto = embeddings.regression(vectors, learnt.vectors[PACKAGE])
            yield System(f"{whose}, onto the encoder", name, onto)


def _measured(results: Sequence[Result]) -> Measured:
    tables = [
        markdown(
            (
                "two to four speakers", "error, %", "without collar", "right number of voices, %", "changes told, %",
                "after, p50 s", "p95 s", "false a minute", "one alone: voices", "false a minute",
                "error, rule chosen by these calls", "error, voices known", "one sex: windows mistaken, %", "turns, %",
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
    ]  # fmt: skip
    return Measured({"systems": [_figures(one) for one in results]}, "\n\n".join(tables))


def _figures(result: Result) -> dict[str, object]:
    return {
        "name": result.name,
        "rule": None if result.rule is None else asdict(result.rule),
        "several": result.several.to_dict(),
        "casts": {cast: of.to_dict() for cast, of in result.by_cast.items()},
        "corpora": {corpus: of.to_dict() for corpus, of in result.by_corpus.items()},
        "best": result.best,
        "known": result.known,
        "mistaken_windows": result.windows,
        "mistaken_turns": result.turns,
    }


def _row(result: Result) -> tuple[object, ...]:
    several, alone = result.several.to_dict(), result.by_cast[ALONE].to_dict()
    return (
        result.name, _percent(several["error"]), _percent(several["whole_error"]),
        _percent(several["counted_share"]), _percent(several["heard"]),
        several["delay_p50_s"], several["delay_p95_s"], several["false_a_minute"], alone["found"],
        alone["false_a_minute"], _percent(result.best), _percent(result.known), _percent(result.windows),
        _percent(result.turns),
    )  # fmt: skip


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{100 * share:.1f}"
