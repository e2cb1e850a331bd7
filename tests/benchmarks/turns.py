"""Voices in turn, through real Opus over WebRTC, with packets lost: how soon a change is told, how often a false one.

A man and a woman by turns, three recordings each, and six recordings of one speaker, with no pause added. Acted
corpora make it hard: one speaker's anger is followed by the same one's boredom.
"""

import asyncio
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from av.audio.frame import AudioFrame

from tests.benchmarks.processes import a_server, voxgender_server
from tests.benchmarks.single_call import CORPUS, clips_of
from tests.benchmarks.tables import Measured, markdown
from voxgender.audio.files import read_audio
from voxgender.audio.frames import SAMPLE_RATE_HZ, Samples
from voxgender.peer import speech
from voxgender.peer.caller import Caller
from voxgender.peer.faults import Faults, FaultyLink
from voxgender.peer.report import Latency, Report
from voxgender.peer.speech import Speech
from voxgender.peer.voices import SpeakerTurn
from voxgender.protocol import AnyMessage, Change, VoiceLabel

LOSSES_PERCENT = (0.0, 2.0, 5.0)
READ = "librispeech-test-other"
DIALOGUES, SPEAKERS = 5, 5
"""Calls of read and of acted speech each; all are up at once."""
RECORDINGS = 6
_LONGEST_S = 5.0
_LEAD_S = 1.2
"""Silence at first: faults begin when the call has settled."""


class Play(NamedTuple):
    """One call."""

    kind: str
    speech: Speech
    steady: bool
    """One speaker alone: any change but the first is a false one."""


async def measure(brief: bool) -> Measured:
    plays = list(_plays(1 if brief else DIALOGUES, 1 if brief else SPEAKERS))
    rows: list[tuple[object, ...]] = []
    async with a_server(voxgender_server()) as url:
        for loss in LOSSES_PERCENT[:1] if brief else LOSSES_PERCENT:
            told = await asyncio.gather(*(_call(url, play, loss, number) for number, play in enumerate(plays)))
            calls = list(zip(plays, told, strict=True))
            rows += [
                _row(kind, loss, [call for call in calls if call[0].kind == kind])
                for kind in sorted({play.kind for play in plays}, reverse=True)
            ]
    table = markdown(
        (
            "speech",
            "packets lost, %",
            "changes",
            "heard",
            "after, p50 ms",
            "p95 ms",
            "false changes a minute of one voice",
        ),
        rows,
    )
    return Measured({"rows": rows}, table)


async def _call(url: str, play: Play, loss: float, number: int) -> tuple[Report, int]:
    """The call's report, and how many changes were told."""
    changes: list[Change] = []

    def note(message: AnyMessage) -> None:
        if isinstance(message, Change):
            changes.append(message)

    link = FaultyLink(Faults(loss=loss), number) if loss else None
    report = await Caller(url, Speech(list(play.speech.packets), play.speech.turns), link=link).run(note)
    return report, len(changes)


def _row(kind: str, loss: float, calls: Sequence[tuple[Play, tuple[Report, int]]]) -> tuple[object, ...]:
    delays: list[float | None] = []
    false, seconds = 0, 0.0
    for play, (report, changes) in calls:
        if play.steady:
            false += max(0, changes - 1)
            seconds += play.speech.turns[-1].end - play.speech.turns[0].start
        else:
            delays += [turn.delay_ms for turn in report.turns[1:]]
    heard = [delay for delay in delays if delay is not None]
    latency = Latency.of(heard)
    p50, p95 = (None, None) if latency is None else (latency.p50, latency.p95)
    share = f"{100 * len(heard) / len(delays):.0f} %" if delays else None
    return kind, loss, len(delays), share, p50, p95, 60 * false / seconds if seconds else None


def _plays(dialogues: int, speakers: int) -> Iterator[Play]:
    chance = random.Random(0)
    people: dict[str, dict[tuple[str, str], list[dict[str, str]]]] = defaultdict(lambda: defaultdict(list))
    for row in clips_of("dev"):
        if row["label"] in ("male", "female"):
            people[row["corpus"]][row["label"], row["speaker"]].append(row)
    for kind, corpora in (
        ("read", [READ] if READ in people else []),
        ("acted", sorted(set(people) - {READ})),
    ):
        for number in range(dialogues if corpora else 0):
            those = people[corpora[number % len(corpora)]]
            pair = [chance.choice(sorted(who for who in those if who[0] == sex)) for sex in ("male", "female")]
            yield Play(kind, _spoken([chance.choice(those[pair[turn % 2]]) for turn in range(RECORDINGS)]), False)
        for number in range(speakers if corpora else 0):
            those = people[corpora[number % len(corpora)]]
            theirs = those[chance.choice(sorted(those))]
            yield Play(kind, _spoken([chance.choice(theirs) for _ in range(RECORDINGS)]), True)


def _spoken(rows: Sequence[dict[str, str]]) -> Speech:
    silence = np.zeros(round(_LEAD_S * SAMPLE_RATE_HZ), dtype=np.float32)
    pieces, turns, at_s = [silence], [], _LEAD_S
    for row in rows:
        samples = trimmed(read_audio(CORPUS / row["path"])[: round(_LONGEST_S * SAMPLE_RATE_HZ)])
        end_s = at_s + samples.size / SAMPLE_RATE_HZ
        label: VoiceLabel = "male" if row["label"] == "male" else "female"
        turns.append(SpeakerTurn(at_s, end_s + 0.5, label))
        pieces.append(samples * np.float32(0.7 / max(1e-6, float(np.abs(samples).max()))))
        at_s = end_s
    frame = AudioFrame.from_ndarray(np.concatenate([*pieces, silence])[None], format="flt", layout="mono")
    frame.sample_rate = SAMPLE_RATE_HZ
    return Speech(list(speech.encode([frame])), tuple(turns))


def trimmed(audio: Samples) -> Samples:
    """Without the silence before and after the voice: what is 35 dB below its loudest 20 ms."""
    frames = audio[: audio.size // 320 * 320].reshape(-1, 320)
    power = (frames**2).mean(axis=1)
    loud = np.flatnonzero(power > power.max() / 3000)
    return audio[loud[0] * 320 : (loud[-1] + 1) * 320]
