"""One call at a time on an idle server: how late results are, how soon a voice is told, how soon a call is up."""

import asyncio
import csv
import math
import os
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from av.audio.frame import AudioFrame

from tests.benchmarks.processes import a_server, voxgender_server
from tests.benchmarks.tables import Measured, markdown
from voxgender.audio.files import read_frames
from voxgender.audio.frames import SAMPLE_RATE_HZ
from voxgender.audio.resampler import Resampler
from voxgender.peer import speech
from voxgender.peer.caller import Caller
from voxgender.peer.report import Latency, Report
from voxgender.peer.speech import Speech
from voxgender.peer.voices import SpeakerTurn
from voxgender.protocol import AnyMessage, Result, VoiceLabel

SEEDS = 4
PAIRS = 12
PAIRS_AT_ONCE = 4
"""Pairs of recordings that are sent at once: only decisions are timed, and one pair after another takes minutes."""
CONNECTS = 12

Milliseconds = npt.NDArray[np.float64]

_PAUSE_S = 1.0
CORPUS = Path(os.environ.get("VOXGENDER_SPEECH", Path(__file__).parents[3] / "shared" / "speech"))


async def measure(brief: bool) -> Measured:
    async with a_server(voxgender_server()) as url:
        connects = [await _connect(url) for _ in range(2 if brief else CONNECTS)]
        rows = [_row("connect: offer to first packet", "synthesised", connects)]
        seen, told, reports = [], [], []
        for seed in range(1 if brief else SEEDS):
            by_caller, by_server, report = await _call(url, speech.synthesised(seed))
            seen.append(by_caller)
            told.append(by_server)
            reports.append(report)
        rows += [
            _row("result: window's last packet sent to result received", "synthesised", np.concatenate(seen)),
            _row("of that in the server", "synthesised", np.concatenate(told)),
            *_decisions(reports, "synthesised"),
        ]
        pairs = list(_pairs(1 if brief else PAIRS))
        heard: list[Report] = []
        for start in range(0, len(pairs), PAIRS_AT_ONCE):
            calls = (_call(url, words) for words in pairs[start : start + PAIRS_AT_ONCE])
            heard += [report for _, _, report in await asyncio.gather(*calls)]
        if heard:
            rows += _decisions(heard, "recorded")
    table = markdown(("what", "voices", "number", "p50 ms", "p95 ms", "max ms", "never came"), rows)
    lost = sum(report.lost_results for report in (*reports, *heard))
    return Measured({"lost_results": lost, "pairs_at_once": PAIRS_AT_ONCE, "rows": rows}, table)


async def _connect(url: str) -> float:
    caller = Caller(url, speech.synthesised(), duration_s=0.4)
    return (await caller.run()).connect_ms


async def _call(url: str, words: Speech) -> tuple[Milliseconds, Milliseconds, Report]:
    """Place a call; latencies of its results with a verdict, by the caller's clock and by the server's, and its report.

    Silence, which no model hears, is told sooner, and left out.
    """
    judged: list[bool] = []
    # Encoded before the call: the encoder's time is none of the server's.
    caller = Caller(url, Speech(list(words.packets), words.turns))
    report = await caller.run(lambda message: _note(message, judged))
    by_caller, by_server = caller.recorder.between(-math.inf, math.inf)
    scored = np.array(judged, dtype=bool) & ~np.isnan(by_caller)
    return by_caller[scored], by_server[scored], report


def _note(message: AnyMessage, judged: list[bool]) -> None:
    if isinstance(message, Result):
        judged.append(message.scores is not None)


def _row(what: str, kind: str, values: Sequence[float] | Milliseconds, missing: int = 0) -> tuple[object, ...]:
    latency = Latency.of(values)
    shown = (0, None, None, None) if latency is None else (latency.count, latency.p50, latency.p95, latency.max)
    return (what, kind, *shown, missing)


def _decisions(reports: Sequence[Report], voices: str) -> list[tuple[object, ...]]:
    return [
        _row("first decision, after the call's first voice begins", voices, *_delays(reports, 0)),
        _row("change heard, after the other voice begins", voices, *_delays(reports, 1)),
    ]


def _delays(reports: Sequence[Report], turn: int) -> tuple[list[float], int]:
    """Return how long after a turn's first packet its voice's label came, and for how many turns it never did."""
    delays = [report.turns[turn].delay_ms for report in reports]
    heard = [delay for delay in delays if delay is not None]
    return heard, len(delays) - len(heard)


def _pairs(number: int) -> Iterator[Speech]:
    """Two recordings after one another, of a man and a woman; speech begins where the speech gate hears it."""
    clips = [row for row in clips_of("dev") if 2.5 <= float(row["seconds"]) <= 5.0]
    if not clips:
        return
    chance = random.Random(0)
    men, women = ([row for row in clips if row["label"] == label] for label in ("male", "female"))
    for index in range(number):
        pair = [chance.choice(men), chance.choice(women)]
        yield _one_after_another(pair if index % 2 else pair[::-1])


def clips_of(split: str) -> list[dict[str, str]]:
    """Rows of the recordings' manifest; none where there is no such."""
    manifest = CORPUS / "manifest.csv"
    if not manifest.is_file():
        print(f"no recorded speech in {CORPUS}: point VOXGENDER_SPEECH at a directory with a manifest.csv")
        return []
    with manifest.open() as lines:
        return [row for row in csv.DictReader(lines) if row["split"] == split]


def _one_after_another(rows: Sequence[dict[str, str]]) -> Speech:
    pause = np.zeros(round(_PAUSE_S * SAMPLE_RATE_HZ), dtype=np.float32)
    pieces, turns = [pause], []
    at_s = _PAUSE_S
    for row in rows:
        path = CORPUS / row["path"]
        samples = Resampler().convert(list(read_frames(path)))
        (turn,) = speech.from_file(path).turns
        end_s = at_s + samples.size / SAMPLE_RATE_HZ
        label: VoiceLabel = "male" if row["label"] == "male" else "female"
        turns.append(SpeakerTurn(at_s + turn.start, end_s + _PAUSE_S / 2, label))
        pieces += [samples, pause]
        at_s = end_s + _PAUSE_S
    frame = AudioFrame.from_ndarray(np.concatenate(pieces)[None], format="flt", layout="mono")
    frame.sample_rate = SAMPLE_RATE_HZ
    return Speech(list(speech.encode([frame])), tuple(turns))
