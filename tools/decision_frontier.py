#!/usr/bin/env python3
"""Decide again about what the pipeline heard, with other constants and windows; write the model card's frontier.

usage: .venv/bin/python -m tools.decision_frontier MANIFEST.csv [--model embedded] [--print]

Listening takes some minutes, each row a second. Of the splits whose names begin with "dev", nEMO is left out:
nothing is chosen by it.
"""

import argparse
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import numpy as np
from tqdm import tqdm

from tools.model_card import ACTED, CARD, LOSSES, READ, VOICES, Changes, Play, after_losses, first_sound_s, plays, write
from voxgender.audio.activity import FRAME, VoiceActivity
from voxgender.audio.files import read_audio
from voxgender.audio.frames import SAMPLE_RATE_HZ, Samples, Wave
from voxgender.audio.windows import WindowSelector
from voxgender.decisions import Decider, Observation, Span, change_point, evidence, open_segment
from voxgender.engine.call_state import CallState
from voxgender.engine.engine import HOP_MS, WINDOW_MS
from voxgender.inference.classifier import Classifier
from voxgender.inference.loading import MIN_WINDOW_MS, load
from voxgender.protocol import Change
from voxgender.training.manifest import Clip, read_manifest
from voxgender.training.train import DEV

KEPT_OUT = "nemo"
WINDOWS_MS = (MIN_WINDOW_MS, 700, WINDOW_MS, 1500)
LONGEST = max(WINDOWS_MS) * SAMPLE_RATE_HZ // 1000
SHORT = MIN_WINDOW_MS * SAMPLE_RATE_HZ // 1000
HOP_FRAMES = HOP_MS * SAMPLE_RATE_HZ // 1000 // FRAME
CONSTANTS = {
    name: module
    for module, names in (
        (change_point, ("MIN_SUM", "MAX_NEW_SHARE", "SURE_WINDOWS")),
        (open_segment, ("MIN_KEPT_PROBABILITY",)),
    )
    for name in names
}


class HeardHop(NamedTuple):
    """One hop, and what the model says of the windows that end with it."""

    start: float
    end: float
    speech: tuple[Span, ...]
    answers: dict[int, tuple[float, float]]
    """Share of male and probability of a voice, by the window's length in milliseconds."""


@dataclass
class Recording:
    """A file or voices in turn, as the pipeline hears it."""

    of: Clip | Play
    loss: float
    hops: list[HeardHop]
    first_sound_s: float = 0.0


class Row(NamedTuple):
    """Another way to decide."""

    name: str
    window_ms: int = WINDOW_MS
    named: float = evidence.MIN_PROBABILITY
    constants: dict[str, float] = {}  # noqa: RUF012 - never changed


ROWS = (
    Row("as it is"),
    *(Row(f"a sum of {least:g}", constants={"MIN_SUM": least}) for least in (0.4, 0.55, 0.85, 1.0)),
    Row("windows before a change are taken to be sure", constants={"SURE_WINDOWS": 1e6}),
    Row("a window counts for all of its new share", constants={"MAX_NEW_SHARE": 1.0}),
    Row("named / kept at 0.86 / 0.80", constants={"MIN_KEPT_PROBABILITY": 0.80}),
    Row("named / kept at 0.84 / 0.70", named=0.84, constants={"MIN_KEPT_PROBABILITY": 0.70}),
    Row("named / kept at 0.90 / 0.80", named=0.90, constants={"MIN_KEPT_PROBABILITY": 0.80}),
    Row("windows of 0.7 s", 700),
    Row("windows of 0.7 s, a sum of 1.0", 700, constants={"MIN_SUM": 1.0}),
    Row("windows of 1.5 s", 1500),
    Row("windows of 1.5 s, a sum of 0.4", 1500, constants={"MIN_SUM": 0.4}),
)


def listen(audio: Samples, model: Classifier, activity: VoiceActivity) -> list[HeardHop]:
    """Hear audio as a call is heard, with a window of each length that the utterance has room for."""
    state = CallState(window=LONGEST, short=SHORT, hop_frames=HOP_FRAMES, is_classified=False)
    selector = WindowSelector(full=LONGEST, short=SHORT, hop=(HOP_FRAMES + 1) * FRAME)
    hops = [*state.place([Wave(audio)]), *state.cut(exact=True), *state.finish()]
    lead = selector.reach + SHORT
    samples = np.concatenate([np.zeros(lead, np.float32), *(hop.samples for hop in hops), np.zeros(FRAME, np.float32)])
    heard: list[HeardHop] = []
    asked: dict[int, list[tuple[HeardHop, Samples]]] = {ms: [] for ms in WINDOWS_MS}
    heard_until = lead
    for hop in hops:
        heard_until += hop.samples.size
        padding = -state.gate.pending % FRAME if hop.last else 0
        (speech,) = activity([state.frames(hop)], [state.gate.state])
        state.find_speech(hop, speech)
        start, end, spans, *_ = hop.observation
        heard.append(HeardHop(start, end, spans, {}))
        if (window := selector.select(state.gate)) is None:
            continue
        last = heard_until - state.gate.pending + padding - window.end
        for ms in WINDOWS_MS:
            size = ms * SAMPLE_RATE_HZ // 1000
            if size == SHORT or (state.gate.speaking and state.gate.utterance >= size):
                asked[ms].append((heard[-1], samples[last - size : last]))
    columns = [model.labels.index(voice) for voice in VOICES]
    for ms, windows in asked.items():
        for first in range(0, len(windows), 16):
            some = windows[first : first + 16]
            rows = np.maximum(model(np.stack([audio for _, audio in some]))[:, columns], 1e-7).astype(float)
            for (one, _), (female, male) in zip(some, rows, strict=True):
                one.answers[ms] = male / (female + male), min(1.0, female + male)
    return heard


def recordings(clips: Sequence[Clip], model: Classifier) -> Iterator[Recording]:
    """Hear single files, and voices in turn at each loss."""
    activity = VoiceActivity()
    for clip in tqdm(clips, "files"):
        if clip.corpus != KEPT_OUT:
            audio = read_audio(clip.path)
            yield Recording(clip, 0.0, listen(audio, model, activity), first_sound_s(audio))
    staged = list(plays(clips))
    for loss in LOSSES:
        for number, play in enumerate(tqdm(staged, f"turns, {loss:.0%} lost")):
            if play.corpus != KEPT_OUT:
                audio = after_losses(play.audio, loss, np.random.default_rng(number))
                yield Recording(play, loss, listen(audio, model, activity))


def observations(hops: Sequence[HeardHop], window_ms: int) -> Iterator[Observation]:
    """Yield what the decisions are told, if full windows have this length."""
    for hop in hops:
        answer = hop.answers.get(window_ms) or hop.answers.get(MIN_WINDOW_MS)
        if answer is None:
            yield Observation(hop.start, hop.end, hop.speech, None)
        else:
            male, p_voice = answer
            yield Observation(hop.start, hop.end, hop.speech, {"female": 1 - male, "male": male}, p_voice)


@dataclass
class Tally:
    """Counts and times of one way to decide."""

    results: int = 0
    told: int = 0
    right: int = 0
    first_s: list[float] = field(default_factory=list)
    turns: dict[tuple[str, float], Changes] = field(default_factory=dict)
    files: dict[str, Changes] = field(default_factory=dict)

    def take(self, recording: Recording, window_ms: int) -> None:
        decider, of = Decider(window_s=window_ms / 1000), recording.of
        changes: list[tuple[float, str]] = []
        labels: list[tuple[float, str]] = []
        for observation in observations(recording.hops, window_ms):
            decision = decider.observe(observation)
            changes += [(observation.end, str(one.to)) for one in decision.events if isinstance(one, Change)]
            if decision.label != "no_speech" and observation.scores:
                labels.append((observation.end, decision.label))
        changes += [
            (observation.end, str(one.to)) for one in decider.finish(observation.end) if isinstance(one, Change)
        ]
        spoken = "acted" if of.corpus in ACTED else "read"
        if isinstance(of, Play):
            for name in (spoken, of.corpus):
                self.turns.setdefault((name, recording.loss), Changes()).take(of, changes)
            return
        of_files = self.files.setdefault(spoken, Changes())
        of_files.false += max(0, len(changes) - 1)
        of_files.minutes += observation.end / 60
        told = [(end, label) for end, label in labels if label in VOICES]
        self.results += len(labels)
        self.told += len(told)
        self.right += sum(label == of.kind for _, label in told)
        self.first_s += [end - recording.first_sound_s for end, _ in told[:1]]

    def row(self, name: str) -> str:
        def waits(spoken: str, loss: float) -> str:
            found = self.turns[spoken, loss]
            p50, p95 = (1000 * np.quantile(found.waits_s, share) for share in (0.5, 0.95))
            return f"{100 * len(found.waits_s) / (len(found.waits_s) + found.missed):.0f} %, {p50:,.0f}, {p95:,.0f} ms"

        def false(spoken: str) -> str:
            some = [self.turns[spoken, loss] for loss in LOSSES]
            return f"{sum(one.false for one in some) / sum(one.minutes for one in some):.2f}"

        in_files = ", ".join(f"{one.false / one.minutes:.2f}" for one in (self.files["read"], self.files["acted"]))
        return (
            f"| {name} | {100 * self.told / self.results:.1f} % | {100 * self.right / self.told:.1f} % "
            f"| {1000 * np.median(self.first_s):.0f} ms | {waits(READ, 0.02)} | {waits('read', 0.02)} "
            f"| {waits('acted', 0.0)} | {false('read')} | {false('acted')} | {in_files} |"
        )


HEAD = """\
| way | told | right | first verdict, p50 | changes, LibriSpeech, 2 % loss: heard, p50, p95 | all read, 2 % loss \
| acted, 0 % | false a minute, read | acted | false a minute in single files, read, acted |
|---|---|---|---|---|---|---|---|---|---|"""


def decide(row: Row, heard: Sequence[Recording]) -> Tally:
    tally = Tally()
    with ExitStack() as changed:
        changed.enter_context(patch.object(evidence.Evidence.decide, "__defaults__", (row.named,)))
        for name, value in row.constants.items():
            changed.enter_context(patch.object(CONSTANTS[name], name, value))
        for recording in heard:
            tally.take(recording, row.window_ms)
    return tally


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--print", action="store_true")
    options = parser.parse_args()
    clips = [one for one in read_manifest(options.manifest) if one.label in VOICES and one.split.startswith(DEV)]
    heard = list(recordings(clips, load(options.model)))
    table = "\n".join([HEAD, *(decide(row, heard).row(row.name) for row in ROWS)])
    if options.print:
        print(table)
    else:
        CARD.write_text(write(CARD.read_text(encoding="utf-8"), "frontier", table), encoding="utf-8")


if __name__ == "__main__":
    main()
