#!/usr/bin/env python3
"""Measure a model on labelled recordings; write its tables into docs/model-card.md and its plots into docs/images.

usage: .venv/bin/python tools/model_card.py MANIFEST.csv [--model embedded] [--print] [--others]

Of the manifest, the splits whose names begin with "dev" are heard. --others measures only what simpler means reach.

--print writes nothing but the tables, to standard output. Takes some minutes.
"""

import argparse
import re
import tempfile
import warnings
import wave
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

import matplotlib
import numpy as np
from av.audio.frame import AudioFrame
from scipy.signal import butter, sosfilt
from tqdm import tqdm
from transformers import Wav2Vec2ForSequenceClassification

from voxgender.audio.files import read_audio
from voxgender.audio.frames import SAMPLE_RATE_HZ
from voxgender.engine import Engine
from voxgender.engine.files import analyze_file
from voxgender.inference.loading import EMBEDDED_DIRECTORY, load
from voxgender.media.opus import Buffer, OpusDecoder
from voxgender.peer.speech import encode
from voxgender.protocol import Change, Message, Result
from voxgender.training import augmentation
from voxgender.training.evaluate import FileOutcome, evaluate, tabulated
from voxgender.training.manifest import Clip, read_manifest
from voxgender.training.scoring import Windows, score, windows_of
from voxgender.training.train import DEV

matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "voxgender"  # the same figures, the same file
import matplotlib.pyplot as plt  # noqa: E402

DOCS = Path(__file__).resolve().parents[1] / "docs"
CARD, IMAGES = DOCS / "model-card.md", DOCS / "images"
VOICES: Final = ("female", "male")
ACTED = {"emodb", "nemo", "ravdess"}
READ = "librispeech-test-other"
LARGE = {READ, *ACTED}
"""Corpora with speakers enough for twelve pairs."""
LOSSES = (0.0, 0.02, 0.05)
"""Shares of packets that do not arrive."""
Samples = augmentation.Samples


class Asked(NamedTuple):
    """One result about a voice: what the window says and what was told."""

    male: bool
    window: float
    """Probability of male by the window alone."""
    label: str
    confidence: float
    heard_s: float
    """Time since the file's first speech."""


def asked(outcomes: Iterable[FileOutcome]) -> Iterator[list[Asked]]:
    """Results with speech, by voice."""
    for outcome in outcomes:
        if outcome.clip.label not in VOICES:
            continue
        began = next((result.start for result in outcome.results if result.label != "no_speech"), 0.0)
        yield [
            Asked(
                outcome.clip.label == "male",
                result.scores["male"],
                result.label,
                result.confidence,
                result.end - began,
            )
            for result in outcome.results
            if result.scores is not None and result.label != "no_speech"
        ]


def percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def pipeline_table(outcomes: Sequence[FileOutcome]) -> str:
    lines = [
        "| corpus | heard as | files | files right | no speech found | uncertain "
        "| windows right | time given a gender |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.corpus} | {row.label} | {row.files} | {percent(row.file_accuracy)} | {row.no_speech_files} | "
        f"{row.uncertain_files} | {percent(row.window_accuracy)} | {percent(row.gendered_share)} |"
        for row in tabulated(outcomes)
    ]
    return "\n".join(lines)


def bare_table(network: Wav2Vec2ForSequenceClassification, windows: Sequence[Windows]) -> str:
    lines = ["| corpus | voice | files | files right | windows right |", "|---|---|---|---|---|"]
    lines += [
        f"| {one.corpus} | {one.kind} | {one.count} | {percent(one.files)} | {percent(one.windows)} |"
        for one in score(network, windows)
    ]
    return "\n".join(lines)


def loudest(audio: Samples, ms: int) -> Samples:
    size = ms * SAMPLE_RATE_HZ // 1000
    audio = np.pad(audio, (0, max(0, size - audio.size)))
    power = np.concatenate([[0.0], np.cumsum(audio.astype(np.float64) ** 2)])
    start = int(np.argmax(power[size:] - power[:-size]))
    return audio[start : start + size]


def telephone(audio: Samples, rng: np.random.Generator, ratio_db: float) -> Samples:
    heard = augmentation.through_g711(augmentation.band_limited(audio, rng, telephone=True), rng)
    return augmentation.mixed(heard, augmentation.coloured_noise(heard.size, rng), ratio_db)


WAYS: dict[str, Callable[[Samples, np.random.Generator], Samples]] = {
    "as it is": lambda audio, _: audio,
    "telephone (G.711), noise 15 dB below": lambda audio, rng: telephone(audio, rng, 15),
    "telephone (G.711), noise 5 dB below": lambda audio, rng: telephone(audio, rng, 5),
    "noise 10 dB below": lambda audio, rng: augmentation.mixed(audio, augmentation.coloured_noise(audio.size, rng), 10),
    "a room": augmentation.reverberated,
    "Opus, 8 kbit/s": lambda audio, _: augmentation.through_opus(audio, bit_rate=8_000),
}


def words_table(network: Wav2Vec2ForSequenceClassification, clips: Sequence[Clip]) -> str:
    """The loudest half second and second of each file, each a file of its own, on several ways."""
    corpora = sorted({clip.corpus for clip in clips})
    lines = ["| what reaches it | " + " | ".join(corpora) + " |", "|---" * (len(corpora) + 1) + "|"]
    for ms in (500, 1000):
        words = [loudest(read_audio(clip.path), ms) for clip in clips]
        for way, reach in WAYS.items():
            windows = []
            for index, (clip, word) in enumerate(zip(clips, words, strict=True)):
                audio = reach(word, np.random.default_rng(index))
                peak = max(1e-6, float(np.abs(audio).max()))
                windows.append(Windows(clip.corpus, clip.kind, (audio[None] / peak * 32767).astype(np.int16)))
            found = {(one.corpus, one.kind): one.files for one in score(network, windows)}
            cells = " | ".join(" / ".join(f"{100 * found[corpus, kind]:.0f}" for kind in VOICES) for corpus in corpora)
            lines.append(f"| {ms / 1000:g} s, {way} | {cells} |")
    return "\n".join(lines)


MIDDLE_HZ = 165.0


def median_hz(audio: Samples) -> float:
    """Median pitch by DIO; the middle where there is none."""
    with warnings.catch_warnings():  # pyworld asks the old pkg_resources for its own version
        warnings.simplefilter("ignore")
        import pyworld

    quiet = sosfilt(butter(2, 70, "high", fs=SAMPLE_RATE_HZ, output="sos"), audio.astype(np.float64))
    pitch, times = pyworld.dio(quiet, SAMPLE_RATE_HZ, f0_floor=60.0, f0_ceil=700.0)
    pitch = pyworld.stonemask(quiet, pitch, times, SAMPLE_RATE_HZ)
    return float(np.median(pitch[pitch > 0])) if np.any(pitch) else MIDDLE_HZ


def by_pitch(audio: Samples) -> bool:
    return median_hz(audio) < MIDDLE_HZ


def by_voice2gender(audio: Samples) -> bool:
    from voice2gender import predict

    pcm = (np.clip(audio, -1, 1) * 32767).astype("<i2").tobytes()
    try:
        return float(predict([pcm], SAMPLE_RATE_HZ)["male_probability"]) > 0.5
    except ValueError:  # no pitch was found: the likelier one in its training
        return True


def others_table(clips: Sequence[Clip]) -> str:
    """Evaluate simpler means on the same files; voice2gender if it is installed."""
    ways: dict[str, Callable[[Samples], bool]] = {f"median pitch below {MIDDLE_HZ:g} Hz": by_pitch}
    if find_spec("voice2gender"):
        ways["voice2gender (PyPI)"] = by_voice2gender
    corpora = sorted({clip.corpus for clip in clips})
    lines = ["| files right, women / men, per cent | " + " | ".join(corpora) + " |", "|---" * (len(corpora) + 1) + "|"]
    for name, is_male in ways.items():
        right = defaultdict(list)
        for clip in tqdm(clips, name):
            right[clip.corpus, clip.kind].append(is_male(read_audio(clip.path)) == (clip.kind == "male"))
        cells = (" / ".join(f"{100 * np.mean(right[corpus, kind]):.0f}" for kind in VOICES) for corpus in corpora)
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def calibration_error(sure: np.ndarray[Any, Any], right: np.ndarray[Any, Any]) -> float:
    """Expected calibration error over ten bins from 0.5 to 1."""
    bins = np.minimum(((sure - 0.5) * 20).astype(int), 9)
    return float(
        sum(
            abs(sure[bins == b].mean() - right[bins == b].mean()) * (bins == b).mean()
            for b in range(10)
            if (bins == b).any()
        )
    )


def told_table(outcomes: Sequence[FileOutcome]) -> str:
    corpora: dict[str, list[FileOutcome]] = defaultdict(list)
    for outcome in outcomes:
        if outcome.clip.label in VOICES:
            corpora[outcome.clip.corpus].append(outcome)
    lines = [
        "| corpus | calibration error, windows | calibration error, files | results told a gender | of these right |",
        "|---|---|---|---|---|",
    ]
    for name, some in [*sorted(corpora.items()), ("all", [one for group in corpora.values() for one in group])]:
        results = [one for file in asked(some) for one in file]
        male = np.array([one.male for one in results])
        window = np.array([one.window for one in results])
        told = np.array([one.label in VOICES for one in results])
        right = np.array([(one.label == "male") == one.male for one in results])
        files = [one for one in some if one.label in VOICES]
        file_error = calibration_error(
            np.array([one.confidence for one in files]), np.array([one.right for one in files], float)
        )
        window_error = calibration_error(np.maximum(window, 1 - window), ((window > 0.5) == male).astype(float))
        shares = f"{percent(told.mean())} | {percent(right[told].mean())}"
        lines.append(f"| {name} | {window_error:.3f} | {file_error:.3f} | {shares} |")
    return "\n".join(lines)


class Play(NamedTuple):
    """Recordings of one corpus after one another."""

    corpus: str
    audio: Samples
    turns: list[tuple[float, str]]
    """When each begins in seconds, and whether a man or a woman speaks."""

    @property
    def steady(self) -> bool:
        return len({kind for _, kind in self.turns}) == 1


def plays(clips: Sequence[Clip]) -> Iterator[Play]:
    """A man and a woman by turns, six or twelve pairs a corpus; and each speaker of three recordings or more alone."""
    rng = np.random.default_rng(0)
    for corpus in sorted({clip.corpus for clip in clips}):
        people: dict[str, dict[str, list[Clip]]] = {kind: defaultdict(list) for kind in VOICES}
        for clip in clips:
            if clip.corpus == corpus:
                people[clip.kind][clip.speaker].append(clip)
        casts = []
        for _ in range(12 if corpus in LARGE else 6):
            pair = [(kind, str(rng.choice(sorted(people[kind])))) for kind in rng.permutation(VOICES)]
            casts.append(pair * 3)
        casts += [
            [(kind, speaker)] * 6
            for kind in VOICES
            for speaker in sorted(people[kind])
            if len(people[kind][speaker]) >= 3
        ]
        for cast in casts:
            said, turns, samples = [], [], 0
            for kind, speaker in cast:
                theirs = people[kind][speaker]
                audio = trimmed(read_audio(theirs[int(rng.integers(len(theirs)))].path)[: 5 * SAMPLE_RATE_HZ])
                said.append(audio / max(1e-6, float(np.abs(audio).max())) * np.float32(0.7))
                turns.append((samples / SAMPLE_RATE_HZ, kind))
                samples += audio.size
            yield Play(corpus, np.concatenate(said), turns)


def after_losses(audio: Samples, share: float, rng: np.random.Generator) -> Samples:
    """Send audio through Opus, drop a share of its packets, and conceal the loss as the server does."""
    frame = AudioFrame.from_ndarray(audio[None], format="flt", layout="mono")
    frame.sample_rate = SAMPLE_RATE_HZ
    decoder, pcm, lost = OpusDecoder(), Buffer(), 0
    for packet in encode([frame], loss=100 * share):
        if rng.random() < share and lost < 6:  # 120 ms, as much as one packet makes up for
            lost += 1
            continue
        if lost:
            decoder.recover(packet, lost * SAMPLE_RATE_HZ // 50, pcm)
        decoder.decode(packet, pcm)
        lost = 0
    return np.clip(pcm.pop(), -1, 1)


def messages_of(engine: Engine, audio: Samples) -> list[Message]:
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        with wave.open(file.name, "wb") as out:
            out.setnchannels(1)
            out.setsampwidth(2)
            out.setframerate(SAMPLE_RATE_HZ)
            out.writeframes((audio * 32767).astype("<i2").tobytes())
        return list(analyze_file(engine, file.name))


@dataclass
class Changes:
    """Figures of changes of voice."""

    waits_s: list[float] = field(default_factory=list)
    missed: int = 0
    false: int = 0
    minutes: float = 0.0

    def take(self, play: Play, told: Sequence[tuple[float, str]]) -> None:
        """``told``: when each change was told, and to which voice."""
        end_s = play.audio.size / SAMPLE_RATE_HZ
        if play.steady:
            self.false += max(0, len(told) - 1)
            self.minutes += end_s / 60
            return
        ends = [start for start, _ in play.turns[2:]] + [end_s + 1]
        for (start, kind), end in zip(play.turns[1:], ends, strict=True):
            waits = [when - start for when, to in told if to == kind and start < when <= end + 0.5]
            self.waits_s += waits[:1]
            self.missed += not waits

    def row(self, name: str) -> str:
        count = len(self.waits_s) + self.missed
        p50, p95 = (1000 * np.quantile(self.waits_s, share) for share in (0.5, 0.95))
        false = f"{self.false / self.minutes:.2f}" if self.minutes else "-"
        return f"| {name} | {count} | {percent(len(self.waits_s) / count)} | {p50:.0f} ms | {p95:.0f} ms | {false} |"


def told_of(engine: Engine, audio: Samples) -> list[tuple[float, str]]:
    """Return when each change was told, and to which voice."""
    told, now_s = [], 0.0
    for message in messages_of(engine, audio):
        if isinstance(message, Result):
            now_s = message.end
        elif isinstance(message, Change):
            told.append((now_s, str(message.to)))
    return told


def changes_table(engine: Engine, clips: Sequence[Clip]) -> str:
    found: dict[tuple[float, str], Changes] = {}
    staged = list(plays(clips))
    for loss in LOSSES:
        for number, play in enumerate(tqdm(staged, f"turns, {loss:.0%} lost")):
            audio = after_losses(play.audio, loss, np.random.default_rng(number))
            told = told_of(engine, audio)
            spoken = "acted" if play.corpus in ACTED else "read"
            for name in (play.corpus, spoken) if loss == 0 or play.corpus == READ else (spoken,):
                found.setdefault((loss, name), Changes()).take(play, told)
    order = sorted(found, key=lambda row: (row[1] not in ("read", "acted"), row[1], row[0]))
    return "\n".join(
        [
            "| speech | packets lost | changes | heard | after, p50 | p95 | false changes a minute of one voice |",
            "|---|---|---|---|---|---|---|",
            *(found[row].row(f"{row[1]} | {row[0]:.0%}") for row in order),
        ]
    )


def first_table(outcomes: Sequence[FileOutcome]) -> str:
    """Measure the time from a recording's first sound, its silence cut off, to its first label."""
    waits: dict[str, list[float]] = defaultdict(list)
    for outcome in outcomes:
        if outcome.clip.label not in VOICES:
            continue
        began_s = first_sound_s(read_audio(outcome.clip.path))
        told = [one.end for one in outcome.results if one.label in VOICES]
        if told:
            for name in (outcome.clip.corpus, "all"):
                waits[name].append(told[0] - began_s)
    lines = ["| corpus | first verdict after, p50 | p95 |", "|---|---|---|"]
    for name, some in sorted(waits.items(), key=lambda row: (row[0] == "all", row[0])):
        p50, p95 = (1000 * np.quantile(some, share) for share in (0.5, 0.95))
        lines.append(f"| {name} | {p50:.0f} ms | {p95:.0f} ms |")
    return "\n".join(lines)


def first_sound_s(audio: Samples) -> float:
    return float(loud(audio)[0] * 320 / SAMPLE_RATE_HZ)


def trimmed(audio: Samples) -> Samples:
    """Without the silence before and after the voice."""
    frames = loud(audio)
    return audio[frames[0] * 320 : (frames[-1] + 1) * 320]


def loud(audio: Samples) -> np.ndarray[Any, Any]:
    """Mark the pieces of 20 ms that are less than 35 dB below the loudest."""
    power = (audio[: audio.size // 320 * 320].reshape(-1, 320) ** 2).mean(axis=1)
    return np.flatnonzero(power > power.max() / 3000)


def plot(name: str, draw: Callable[[Any], None]) -> None:
    figure, axes = plt.subplots(figsize=(5.5, 4))
    draw(axes)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(IMAGES / f"{name}.svg", metadata={"Date": None})
    plt.close(figure)


def draw_calibration(outcomes: Sequence[FileOutcome]) -> Callable[[Any], None]:
    def draw(axes: Any) -> None:
        results = [one for file in asked(outcomes) for one in file]
        male = np.array([one.male for one in results], float)
        window = np.array([one.window for one in results])
        edges = np.linspace(0, 1, 11)
        bins = [(window >= low) & (window < high if high < 1 else window <= 1) for low, high in pairwise(edges)]
        axes.plot([0, 1], [0, 1], color="#999", linewidth=1, label="as sure as right")
        axes.plot(
            [window[b].mean() for b in bins if b.any()],
            [male[b].mean() for b in bins if b.any()],
            "o-",
            color="#2a6",
            label="windows of the dev corpora",
        )
        axes.set_xlabel("probability of male that the model gives")
        axes.set_ylabel("share that are men")
        axes.legend(frameon=False)

    return draw


def draw_latency(outcomes: Sequence[FileOutcome]) -> Callable[[Any], None]:
    def draw(axes: Any) -> None:
        files = list(asked(outcomes))
        at = np.arange(0.4, 3.01, 0.2)
        answered, right = [], []
        for now in at:
            latest = [
                [one for one in file if one.heard_s <= now][-1:]
                for file in files
                if file and file[-1].heard_s >= now - 0.2
            ]
            told = [one[0] for one in latest if one and one[0].label in VOICES]
            answered.append(100 * len(told) / max(1, len(latest)))
            right.append(100 * np.mean([(one.label == "male") == one.male for one in told]) if told else np.nan)
        axes.plot(at, right, "o-", color="#2a6", label="of these, right")
        axes.plot(at, answered, "s--", color="#26a", label="told a gender")
        axes.set_ylim(0, 101)
        axes.set_xlabel("seconds since the voice began")
        axes.set_ylabel("files, %")
        axes.legend(frameon=False, loc="lower right")

    return draw


def draw_confusion(outcomes: Sequence[FileOutcome]) -> Callable[[Any], None]:
    def draw(axes: Any) -> None:
        rows = ("female", "male", "noise", "human-sound")
        columns = ("female", "male", "uncertain", None)
        counts = np.array(
            [[sum(o.clip.label == row and o.label == column for o in outcomes) for column in columns] for row in rows]
        )
        shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
        axes.imshow(shares, cmap="Greens", vmin=0, vmax=1)
        for (row, column), count in np.ndenumerate(counts):
            axes.text(
                column, row, str(count), ha="center", va="center", color="w" if shares[row, column] > 0.6 else "k"
            )
        axes.set_xticks(range(4), ["female", "male", "uncertain", "no speech"])
        axes.set_yticks(range(4), rows)
        axes.set_xlabel("told")
        axes.set_ylabel("is")

    return draw


def write(card: str, name: str, table: str) -> str:
    """Replace what follows the marker ``name`` up to the next empty line."""
    marker = f"<!-- {name} -->\n"
    if marker not in card:
        raise SystemExit(f"{CARD}: no marker {marker.strip()}")
    return re.sub(rf"({re.escape(marker)}).*?(?=\n\n|\Z)", lambda found: found[1] + table, card, flags=re.DOTALL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--print", action="store_true")
    parser.add_argument("--others", action="store_true")
    options = parser.parse_args()
    outcomes: list[FileOutcome] = []
    clips = [clip for clip in read_manifest(options.manifest) if clip.label and clip.split.startswith(DEV)]
    voices = [clip for clip in clips if clip.kind != "noise"]
    if options.others:
        tables = {"others": others_table(voices)}
    else:
        tables, outcomes = measured(options.model, clips, voices)
    if options.print:
        for name, table in tables.items():
            print(f"{name}\n{table}\n")
        return
    card = CARD.read_text(encoding="utf-8")
    for name, table in tables.items():
        card = write(card, name, table)
    CARD.write_text(card, encoding="utf-8")
    if not options.others:
        plot("calibration", draw_calibration(outcomes))
        plot("latency-accuracy", draw_latency(outcomes))
        plot("confusion", draw_confusion(outcomes))


def measured(model: str, clips: Sequence[Clip], voices: Sequence[Clip]) -> tuple[dict[str, str], list[FileOutcome]]:
    directory = EMBEDDED_DIRECTORY if model == "embedded" else model
    network = Wav2Vec2ForSequenceClassification.from_pretrained(directory)
    engine = Engine(load(model))
    try:
        outcomes = list(tqdm(evaluate(clips, engine), total=len(clips), unit="file"))
        tables = {
            "pipeline": pipeline_table(outcomes),
            "told": told_table(outcomes),
            "first verdicts": first_table(outcomes),
            "changes": changes_table(engine, voices),
            "bare windows": bare_table(network, windows_of(clips)),
            "half windows": bare_table(network, windows_of(clips, window_ms=500)),
            "words": words_table(network, [clip for clip in voices if clip.split == DEV]),
        }
    finally:
        engine.close()
    return tables, outcomes


if __name__ == "__main__":
    main()
