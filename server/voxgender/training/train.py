"""From a manifest to weights: ``voxgender train``."""

import json
import math
import random
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm
from transformers import Wav2Vec2ForSequenceClassification

from voxgender.errors import ManifestError, SettingsError
from voxgender.training.encoder import SIZE
from voxgender.training.manifest import KINDS, Clip, read_manifest, with_split
from voxgender.training.material import Material, Preparation, prepare
from voxgender.training.network import BANDS, ROW, Pupil, build, coloured, rows_in
from voxgender.training.options import TrainOptions
from voxgender.training.scoring import Score, Windows, calibrate, merit, score, windows_of

CHECKPOINT = "checkpoint.pt"
BEST = "best.pt"
OPTIONS = "options.json"
DEV = "dev"
"""How the names of splits begin whose recordings are for choosing."""

_LIKENESS = 1.0
"""Weight of the loss that is the distance from the teacher's embedding."""
_GENTLY = 0.3
"""Share of the learning rate with which weights are gone on from that know something."""
_KEPT = 0.3
"""Share of the weights gone on from in the result, which is their mean with the new ones: what is new is learned at the
cost of what was known, and the mean loses less of either (M. Wortsman et al., Robust fine-tuning of zero-shot models,
CVPR 2022)."""
_ROUGHNESS_DB, _TILT_DB, _KNOTS = 4.0, 6.0, 7
"""Of microphones: how far a frequency response strays at so many places, and how far it leans from low to high."""
_SMOOTHING = 0.02
"""Probability that a target leaves to the other labels."""

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

    Learns from the labelled rows of split ``train``, or of no split where there is none of that name, and, with a
    teacher, from all rows without a label. Chooses among its checkpoints on labelled rows of splits whose names begin
    with ``dev``, or on every tenth speaker of the others where there are none.

    Raises:
        ManifestError: the manifest cannot be used, or holds no two sexes to learn from or to choose by.
        AudioError: a recording cannot be decoded.
        SettingsError: ``out`` holds a run with other options, or torch has no such device.
    """
    _check_device(options.device)
    options = _sized(options)
    clips = read_manifest(options.manifest)
    learned, chosen = _divided(clips, options.manifest, options.seed)
    if options.kept_out and all(clip.corpus == options.kept_out for clip in chosen if clip.kind != "noise"):
        raise ManifestError(f"{options.manifest}: without {options.kept_out} there is no recording to choose by")
    unlabelled = [clip for clip in clips if not clip.label]
    _claim(options)
    torch.set_num_threads(options.threads)
    material = prepare(
        learned,
        unlabelled,
        Preparation(
            teacher=options.teacher or "",
            crops=options.crops,
            resynthesised_speakers=options.resynthesised_speakers,
            cache=options.cache,
            workers=options.workers,
            seed=options.seed,
        ),
    )
    windows = [*windows_of(chosen), *windows_of(chosen, window_ms=500)]
    return _Run(options, material, windows).go()


def _check_device(device: str) -> None:
    kind, _, number = device.partition(":")
    if kind == "cuda" and int(number or 0) >= (count := torch.cuda.device_count()):
        raise SettingsError(f"--device {device}: torch finds {count} CUDA devices on this machine")


def _started(directory: str) -> Wav2Vec2ForSequenceClassification:
    try:
        network = Wav2Vec2ForSequenceClassification.from_pretrained(directory)
    except (OSError, ValueError) as error:
        raise SettingsError(f"--start {directory}: no model that can be loaded ({error})") from None
    assert isinstance(network, Wav2Vec2ForSequenceClassification)
    return network


def _sized(options: TrainOptions) -> TrainOptions:
    """Take the size from the model that is to be gone on from."""
    if not options.start:
        return options
    network = _started(options.start)
    options = replace(options, hidden=network.config.hidden_size, layers=network.config.num_hidden_layers)
    shapes = {name: value.shape for name, value in network.state_dict().items()}
    if shapes != {name: value.shape for name, value in _build(options).state_dict().items()}:
        raise SettingsError(f"--start {options.start}: not of the kind that voxgender export writes")
    return options


def _build(options: TrainOptions) -> Wav2Vec2ForSequenceClassification:
    return build(hidden=options.hidden, layers=options.layers)


def _divided(clips: Sequence[Clip], manifest: Path, seed: int) -> tuple[list[Clip], list[Clip]]:
    labelled = [clip for clip in clips if clip.label]
    splits = {clip.split for clip in labelled}
    learned = with_split(labelled, "train" if "train" in splits else "")
    chosen = [clip for clip in labelled if clip.split.startswith(DEV)]
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
    def __init__(self, options: TrainOptions, material: Material, chosen: Sequence[Windows]) -> None:
        self._options = options
        self._chosen = chosen
        torch.manual_seed(options.seed)
        network = _build(options)
        self._started = _started(options.start).state_dict() if options.start else None
        if self._started:
            network.load_state_dict(self._started)
        self._pupil = Pupil(network).to(options.device)
        self._likeness = nn.Linear(options.hidden, SIZE).to(options.device) if material.vectors is not None else None
        self._average = AveragedModel(self._pupil.network, avg_fn=_averaged)
        learning = [*self._pupil.parameters(), *(self._likeness.parameters() if self._likeness else ())]
        matrices = [p for p in learning if p.requires_grad and p.ndim > 1]
        vectors = [p for p in learning if p.requires_grad and p.ndim <= 1]
        self._optimiser = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0.0}],
            lr=options.learning_rate * (_GENTLY if options.start else 1),
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

    def _learn(self) -> dict[str, float]:
        batch = self._batches.at(self._step)
        logits, pooled = self._pupil(batch.heard.to(self._options.device))
        loss = nn.functional.cross_entropy(logits, batch.kinds.to(self._options.device))
        shown = {"loss": loss.item()}
        if self._likeness is not None and batch.vectors is not None:
            alike = nn.functional.cosine_similarity(self._likeness(pooled), batch.vectors.to(self._options.device))
            distance = 1 - alike[batch.voices.to(self._options.device)].mean()
            shown["distance"] = distance.item()
            loss = loss + _LIKENESS * distance
        self._optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._pupil.parameters(), 1.0)
        self._optimiser.step()
        self._schedule.step()
        self._average.update_parameters(self._pupil.network)
        return shown

    def _rate(self, step: int) -> float:
        warm = min(300, self._options.steps // 10 + 1)
        if step < warm:
            return (step + 1) / warm
        return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warm) / (self._options.steps - warm + 1))))

    def _check(self, progress: "tqdm[Any]") -> None:
        by = [clip for clip in self._chosen if clip.corpus != self._options.kept_out]
        network = deepcopy(self._averaged())
        if self._started:
            learned = network.state_dict()
            network.load_state_dict({name: torch.lerp(learned[name], self._started[name], _KEPT) for name in learned})
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
            "likeness": self._likeness.state_dict() if self._likeness else {},
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
        if self._likeness:
            self._likeness.load_state_dict(state["likeness"])
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


class _Batch(NamedTuple):
    """Windows of one length.

    Attributes:
        heard: envelopes, ``(batch, rows, BANDS)``.
        kinds: probabilities to learn, ``(batch, len(KINDS))``.
        voices: bool ``(batch,)``: whether it is a voice.
        vectors: embeddings to learn, ``(batch, 256)``; zeros where there is no voice. None without a teacher.
    """

    heard: Tensor
    kinds: Tensor
    voices: Tensor
    vectors: Tensor | None


class _Batches:
    """Cuts windows of 0.5 to 1.5 s out of crops; a step's batch depends on the seed and the step alone."""

    _LENGTHS_MS = (500, 700, 1000, 1500)
    _CHANCES = (0.36, 0.2, 0.36, 0.08)
    _LOUD = 0.4
    """Share of a window that has to be loud, where a crop has that much."""

    def __init__(self, material: Material, size: int, seed: int) -> None:
        self._crops, self._size, self._seed = material.crops, size, seed
        # Noise is the last source, as which -1 finds it.
        targets = np.zeros((len(material.male) + 1, len(KINDS)), np.float32)
        targets[:-1, KINDS.index("female")] = 1 - material.male
        targets[:-1, KINDS.index("male")] = material.male
        targets[-1, KINDS.index("noise")] = 1
        self._targets = targets * (1 - _SMOOTHING) + _SMOOTHING / len(KINDS)
        self._vectors = None
        if material.vectors is not None:
            self._vectors = np.concatenate([material.vectors, np.zeros_like(material.vectors[:1])])

    def at(self, step: int) -> _Batch:
        rng = np.random.default_rng((self._seed, step))
        rows = int(rng.choice(self._LENGTHS_MS, p=self._CHANCES)) * 16 // ROW
        chosen = rng.integers(len(self._crops.sources), size=self._size)
        heard = np.empty((self._size, rows_in(rows * ROW), BANDS), np.float32)
        for index, crop in enumerate(chosen):
            heard[index] = self._crops.window(crop, self._start(self._crops.loud[crop], rows, rng), rows)
        sources = self._crops.sources[chosen]
        return _Batch(
            coloured(torch.from_numpy(heard), torch.from_numpy(self._colours(rng))),
            torch.from_numpy(self._targets[sources]),
            torch.from_numpy(sources >= 0),
            None if self._vectors is None else torch.from_numpy(self._vectors[sources]),
        )

    def _colours(self, rng: np.random.Generator) -> np.ndarray[Any, Any]:
        """Gains in dB, ``(batch, BANDS)``: a smooth random curve and a tilt for half of the windows, 0 for the others.

        A crop comes up many times, each time through another microphone.
        """
        knots = rng.uniform(-_ROUGHNESS_DB, _ROUGHNESS_DB, (self._size, _KNOTS))
        knots += rng.uniform(-_TILT_DB, _TILT_DB, (self._size, 1)) * np.linspace(-1, 1, _KNOTS)
        knots *= rng.random((self._size, 1)) < 0.5
        at = np.linspace(0, _KNOTS - 1, BANDS)
        return np.stack([np.interp(at, np.arange(_KNOTS), curve) for curve in knots]).astype(np.float32)

    def _start(self, frames: np.ndarray[Any, Any], rows: int, rng: np.random.Generator) -> int:
        loud = np.concatenate([[0], np.cumsum(frames)])
        within = loud[rows:] - loud[:-rows]
        allowed = np.flatnonzero(within >= min(self._LOUD * rows, within.max()))
        return int(rng.choice(allowed))


def _save(state: dict[str, Any], file: Path) -> None:
    unfinished = file.with_suffix(".tmp")
    torch.save(state, unfinished)
    unfinished.replace(file)
