"""From a manifest to weights: ``voxgender train``."""

import json
import math
import random
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm
from transformers import Wav2Vec2ForSequenceClassification

from voxgender.errors import ManifestError, SettingsError
from voxgender.training import guesses
from voxgender.training.crops import Crops, crops
from voxgender.training.manifest import KINDS, Clip, read_manifest, with_split
from voxgender.training.network import BANDS, ROW, Pupil, build, rows_in
from voxgender.training.options import TrainOptions
from voxgender.training.scoring import Score, Windows, calibrate, merit, score, windows_of
from voxgender.training.voices import Recording, recordings

CHECKPOINT = "checkpoint.pt"
BEST = "best.pt"
OPTIONS = "options.json"
FIRST = "first"
TEACHER = "teacher"
GUESSES = "guesses.csv"

_TAUGHT = 0.7
"""How much of what is learned is the teachers' word, which tells how doubtful a window is; the rest is its label."""

_FREE = {"out", "cache", "workers", "threads", "device"}
"""Options that a run may be gone on with another value of."""


@dataclass(frozen=True, slots=True)
class Trained:
    """How a run ended."""

    step: int
    """At which the best weights were reached."""
    merit: float
    scores: list[Score]


def train(options: TrainOptions) -> Trained:
    """Train, or go on where an interrupted run stopped; the best weights stay in ``out`` for ``voxgender export``.

    Learns from the rows of split ``train``, or of none where the manifest has no splits; chooses among its
    checkpoints on the rows of split ``dev``, or on every tenth speaker of the others where there are none.

    Raises:
        ManifestError: the manifest cannot be used, or holds no two sexes to learn from or to choose by.
        AudioError: a recording cannot be decoded.
        SettingsError: ``out`` holds a run with other options, or torch has no such device.
    """
    _check_device(options.device)
    clips = read_manifest(options.manifest)
    learned, chosen = _divided(clips, options.manifest, options.seed)
    if options.kept_out and all(clip.corpus == options.kept_out for clip in chosen if clip.kind != "noise"):
        raise ManifestError(f"{options.manifest}: without {options.kept_out} there is no recording to choose by")
    unlabelled = [clip for clip in clips if not clip.label]
    _claim(options)
    torch.set_num_threads(options.threads)
    known = _recordings(learned, options)
    windows = windows_of(chosen)
    if unlabelled and options.first_steps:
        known += _guessed(unlabelled, known, windows, options)
    material = _crops(known, options)
    return _Run(options, material, windows, _teachers(material, windows, options)).go()


def _check_device(device: str) -> None:
    kind, _, number = device.partition(":")
    if kind == "cuda" and int(number or 0) >= (count := torch.cuda.device_count()):
        raise SettingsError(f"--device {device}: torch finds {count} CUDA devices on this machine")


def _recordings(clips: Sequence[Clip], options: TrainOptions) -> list[Recording]:
    return recordings(
        clips,
        options.cache / "voices",
        variants=options.variants,
        seconds=options.seconds,
        workers=options.workers,
    )


def _crops(known: Sequence[Recording], options: TrainOptions) -> Crops:
    return crops(
        known,
        options.cache / "crops",
        count=options.crops,
        resynthesised=options.resynthesised,
        seed=options.seed,
        workers=options.workers,
    )


def _teachers(material: Crops, chosen: Sequence[Windows], options: TrainOptions) -> list[Pupil]:
    found = []
    for number in range(1, options.teachers + 1):
        alike = replace(options, out=options.out / f"{TEACHER}-{number}", seed=options.seed + number, teachers=0)
        _claim(alike)
        run = _Run(alike, material, chosen)
        run.go()
        found.append(Pupil(run.network))
    return found


def _guessed(
    unlabelled: Sequence[Clip], known: Sequence[Recording], chosen: Sequence[Windows], options: TrainOptions
) -> list[Recording]:
    """Recordings whose speaker a first network can name. Two of each known speaker are resynthesised, too."""
    file = options.out / GUESSES
    if file.exists():
        clips = guesses.restore(unlabelled, file)
    else:
        first = replace(
            options, out=options.out / FIRST, steps=options.first_steps, crops=max(1, options.crops // 4), teachers=0
        )
        _claim(first)
        run = _Run(first, _crops(known, first), chosen)
        run.go()
        clips = guesses.guessed(unlabelled, run.network)
        guesses.save(clips, file)
    speakers: dict[tuple[str, str], list[Clip]] = {}
    for clip in clips:
        speakers.setdefault((clip.corpus, clip.speaker), []).append(clip)
    resung = [clip for theirs in speakers.values() if len(theirs) > 1 for clip in theirs[:2]]
    plain = [clip for theirs in speakers.values() for clip in (theirs[2:] if len(theirs) > 1 else theirs)]
    cache, workers = options.cache / "voices", options.workers
    return [
        *recordings(resung, cache, variants=min(3, options.variants), seconds=8.0, workers=workers, told=False),
        *recordings(plain, cache, variants=0, seconds=options.seconds, workers=workers, told=False),
    ]


def _divided(clips: Sequence[Clip], manifest: Path, seed: int) -> tuple[list[Clip], list[Clip]]:
    labelled = [clip for clip in clips if clip.label]
    splits = {clip.split for clip in labelled}
    learned = with_split(labelled, "train" if "train" in splits else "")
    chosen = with_split(labelled, "dev")
    if not chosen:
        speakers = sorted({(clip.kind, clip.speaker) for clip in learned})
        random.Random(seed).shuffle(speakers)  # noqa: S311 - not a secret
        kept = {pair for kind in KINDS for pair in _tenth([pair for pair in speakers if pair[0] == kind])}
        chosen = [clip for clip in learned if (clip.kind, clip.speaker) in kept]
        learned = [clip for clip in learned if (clip.kind, clip.speaker) not in kept]
    for purpose, rows in (("learn from", learned), ("choose by", chosen)):
        for kind in ("female", "male"):
            if not any(clip.kind == kind for clip in rows):
                raise ManifestError(f"{manifest}: no recording labelled {kind} to {purpose}")
    return learned, chosen


def _tenth(speakers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return speakers[: max(1, len(speakers) // 10)] if len(speakers) > 1 else []


def _claim(options: TrainOptions) -> None:
    """Note in ``out`` what the run is, so that no other goes on with its checkpoint."""
    facts = {name: str(value) for name, value in asdict(options).items() if name not in _FREE}
    file = options.out / OPTIONS
    if file.exists():
        if noted_options(options.out) != facts:
            raise SettingsError(f"{options.out} holds a run with other options; remove it, or choose another folder")
        return
    options.out.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


class _Run:
    def __init__(
        self, options: TrainOptions, material: Crops, chosen: Sequence[Windows], teachers: Sequence[Pupil] = ()
    ) -> None:
        self._options = options
        self._chosen = chosen
        self._teachers = [teacher.to(options.device).train(False) for teacher in teachers]
        torch.manual_seed(options.seed)
        self._pupil = Pupil(build(hidden=options.hidden, layers=options.layers)).to(options.device)
        self._average = AveragedModel(self._pupil.network, avg_fn=_averaged)
        matrices = [p for p in self._pupil.parameters() if p.requires_grad and p.ndim > 1]
        vectors = [p for p in self._pupil.parameters() if p.requires_grad and p.ndim <= 1]
        self._optimiser = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0.0}],
            lr=options.learning_rate,
        )
        self._schedule = torch.optim.lr_scheduler.LambdaLR(self._optimiser, self._rate)
        self._batches = _Batches(material, options.batch, options.seed)
        self._step = 0
        self._best: Trained | None = None

    def go(self) -> Trained:
        options = self._options
        self._resume()
        self._pupil.train()
        shown: dict[str, float] = {}
        with tqdm(total=options.steps, initial=self._step, desc="train", unit="step") as progress:
            while self._step < options.steps:
                for name, loss in self._learn().items():
                    shown[name] = 0.98 * shown.get(name, loss) + 0.02 * loss
                self._step += 1
                progress.update()
                if self._step % 20 == 0:
                    progress.set_postfix({name: f"{loss:.3f}" for name, loss in shown.items()}, refresh=False)
                if self._step % options.check_every == 0 or self._step == options.steps:
                    self._check(progress)
        if self._best is None:
            raise SettingsError(f"steps={options.steps}: there is nothing to do")
        return self._best

    @property
    def network(self) -> Wav2Vec2ForSequenceClassification:
        """The average of the last steps."""
        return self._averaged()

    def _learn(self) -> dict[str, float]:
        options = self._options
        heard, kinds = (part.to(options.device) for part in self._batches.at(self._step))
        logits = self._pupil(heard)
        loss = nn.functional.cross_entropy(logits, kinds, label_smoothing=0.02)
        if self._teachers:
            loss = (1 - _TAUGHT) * loss + _TAUGHT * nn.functional.cross_entropy(logits, self._taught(heard))
        self._optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._pupil.parameters(), 1.0)
        self._optimiser.step()
        self._schedule.step()
        self._average.update_parameters(self._pupil.network)
        return {"loss": loss.item()}

    @torch.no_grad()
    def _taught(self, heard: Tensor) -> Tensor:
        """What the teachers make of it: their probabilities' mean."""
        return torch.stack([teacher(heard).softmax(dim=1) for teacher in self._teachers]).mean(dim=0)

    def _rate(self, step: int) -> float:
        warm = min(300, self._options.steps // 10 + 1)
        if step < warm:
            return (step + 1) / warm
        return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warm) / (self._options.steps - warm + 1))))

    def _check(self, progress: "tqdm[Any]") -> None:
        by = [clip for clip in self._chosen if clip.corpus != self._options.kept_out]
        network = deepcopy(self._averaged())
        calibrate(network, by)
        scores = score(network, self._chosen)
        found = Trained(self._step, merit(one for one in scores if one.corpus != self._options.kept_out), scores)
        told = "  ".join(f"{s.corpus} {s.kind} {100 * s.files:.0f}/{100 * s.windows:.0f}" for s in scores)
        progress.write(f"step {found.step}: {100 * found.merit:.1f}  files/windows: {told}")
        if self._best is None or found.merit >= self._best.merit:
            self._best = found
            _save({"best": asdict(found), "weights": network.state_dict()}, self._options.out / BEST)
        state = {
            "step": self._step,
            "pupil": self._pupil.state_dict(),
            "average": self._average.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "schedule": self._schedule.state_dict(),
            "best": asdict(self._best),
        }
        _save(state, self._options.out / CHECKPOINT)

    def _averaged(self) -> Wav2Vec2ForSequenceClassification:
        network = self._average.module
        assert isinstance(network, Wav2Vec2ForSequenceClassification)
        return network

    def _resume(self) -> None:
        file = self._options.out / CHECKPOINT
        if not file.exists():
            return
        state = torch.load(file, map_location=self._options.device, weights_only=True)
        self._pupil.load_state_dict(state["pupil"])
        self._average.load_state_dict(state["average"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._schedule.load_state_dict(state["schedule"])
        self._step = state["step"]
        self._best = trained(state["best"])


def trained(plain: dict[str, Any]) -> Trained:
    """Read back what a checkpoint notes."""
    return Trained(plain["step"], plain["merit"], [Score(**one) for one in plain["scores"]])


def noted_options(run: Path) -> dict[str, str]:
    """The options that a run was started with, as text."""
    noted: dict[str, str] = json.loads((run / OPTIONS).read_text(encoding="utf-8"))
    return noted


def _averaged(average: Tensor, now: Tensor, steps: Tensor | int) -> Tensor:
    """Over the last five hundred steps; at the start over fewer, or it would be of what knew nothing."""
    return average + (now - average) * max(0.002, 9 / (10 + int(steps)))


class _Batches:
    """Cuts windows of 0.5 to 1.5 s out of crops; a step's batch depends on the seed and the step alone."""

    _LENGTHS_MS = (500, 700, 1000, 1500)
    _CHANCES = (0.3, 0.25, 0.35, 0.1)
    _VOICED = 0.2
    """Share of a window that has to be voiced, where a crop has that much."""

    def __init__(self, material: Crops, size: int, seed: int) -> None:
        self._crops, self._size, self._seed = material, size, seed

    def at(self, step: int) -> tuple[Tensor, Tensor]:
        """Envelopes ``(batch, rows, BANDS)``, kinds ``(batch,)``."""
        rng = np.random.default_rng((self._seed, step))
        rows = int(rng.choice(self._LENGTHS_MS, p=self._CHANCES)) * 16 // ROW
        chosen = rng.integers(len(self._crops.kinds), size=self._size)
        heard = np.empty((self._size, rows_in(rows * ROW), BANDS), np.float32)
        for index, crop in enumerate(chosen):
            heard[index] = self._crops.window(crop, self._start(self._crops.voiced[crop], rows, rng), rows)
        return torch.from_numpy(heard), torch.from_numpy(self._crops.kinds[chosen])

    def _start(self, frames: np.ndarray[Any, Any], rows: int, rng: np.random.Generator) -> int:
        voiced = np.concatenate([[0], np.cumsum(frames)])
        within = voiced[rows:] - voiced[:-rows]
        allowed = np.flatnonzero(within >= min(self._VOICED * rows, within.max()))
        return int(rng.choice(allowed))


def _save(state: dict[str, Any], file: Path) -> None:
    unfinished = file.with_suffix(".tmp")
    torch.save(state, unfinished)
    unfinished.replace(file)
