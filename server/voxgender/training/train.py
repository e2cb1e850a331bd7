"""Train a model from a manifest of recordings: ``voxgender train``."""

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
from voxgender.training.network import BANDS, ROW, Student, build, filtered, rows_in
from voxgender.training.options import TrainOptions
from voxgender.training.preparation import PreparationOptions, TrainingData, prepare
from voxgender.training.scoring import Score, Windows, calibrate, merit, score, windows_of

CHECKPOINT = "checkpoint.pt"
BEST = "best.pt"
OPTIONS = "options.json"
DEV = "dev"
"""Beginning of the names of the splits that checkpoints are chosen by."""

_EMBEDDING_LOSS_WEIGHT = 1.0
"""Weight of the distance from the encoder's embedding in the loss."""
_FINE_TUNING_RATE = 0.3
"""Share of the learning rate that is used with ``--start``."""
_START_SHARE = 0.3
"""Share of the weights of ``--start`` in the result, a mean of old and new weights. Fine-tuning loses some of what was
known, and the mean loses less of both (M. Wortsman et al., Robust fine-tuning of zero-shot models, CVPR 2022)."""
_ROUGHNESS_DB, _TILT_DB, _POINTS = 4.0, 6.0, 7
"""Random frequency response: largest deviation at each of so many points, and largest tilt from the middle band."""
_SMOOTHING = 0.02
"""Label smoothing: probability of a target that is spread over all labels."""

_CHANGEABLE = {"out", "cache", "workers", "threads", "device"}
"""Options that may change when an interrupted run is resumed."""


@dataclass(frozen=True, slots=True)
class Trained:
    """Outcome of a run: the step of its best weights, and how good these are."""

    step: int
    merit: float
    scores: list[Score]


def train(options: TrainOptions) -> Trained:
    """Train, or resume an interrupted run; the best weights are kept in ``out`` for ``voxgender export``.

    Learns from the labelled rows of split ``train`` (of rows without a split if there is no such split) and, with a
    teacher, from all rows without a label. Chooses among checkpoints by the labelled rows of splits whose names begin
    with ``dev``, or by a tenth of the speakers if there are none.

    Raises:
        ManifestError: the manifest cannot be used, or lacks a sex among the rows to learn from or to choose by.
        AudioError: a recording cannot be decoded.
        SettingsError: ``out`` holds a run with other options, or torch has no such device.
    """
    _check_device(options.device)
    options = _with_size_of_start(options)
    clips = read_manifest(options.manifest)
    learned, chosen = _split_clips(clips, options.manifest, options.seed)
    if options.kept_out and all(clip.corpus == options.kept_out for clip in chosen if clip.kind != "noise"):
        raise ManifestError(f"{options.manifest}: without {options.kept_out} there is no recording to choose by")
    unlabelled = [clip for clip in clips if not clip.label]
    _note_options(options)
    torch.set_num_threads(options.threads)
    data = prepare(
        learned,
        unlabelled,
        PreparationOptions(
            teacher=options.teacher or "",
            crops=options.crops,
            resynthesised_speakers=options.resynthesised_speakers,
            extra_resynthesised=options.extra_resynthesised,
            cache=options.cache,
            workers=options.workers,
            seed=options.seed,
        ),
    )
    windows = [*windows_of(chosen), *windows_of(chosen, window_ms=500)]
    return _TrainingRun(options, data, windows).run()


def _check_device(device: str) -> None:
    kind, _, number = device.partition(":")
    if kind == "cuda" and int(number or 0) >= (count := torch.cuda.device_count()):
        raise SettingsError(f"--device {device}: torch finds {count} CUDA devices on this machine")


def _load_start(directory: str) -> Wav2Vec2ForSequenceClassification:
    try:
        network = Wav2Vec2ForSequenceClassification.from_pretrained(directory)
    except (OSError, ValueError) as error:
        raise SettingsError(f"--start {directory}: no model that can be loaded ({error})") from None
    assert isinstance(network, Wav2Vec2ForSequenceClassification)
    return network


def _with_size_of_start(options: TrainOptions) -> TrainOptions:
    """Return the options with the size of the model that ``--start`` names, if any."""
    if not options.start:
        return options
    network = _load_start(options.start)
    options = replace(options, hidden=network.config.hidden_size, layers=network.config.num_hidden_layers)
    shapes = {name: value.shape for name, value in network.state_dict().items()}
    if shapes != {name: value.shape for name, value in _build(options).state_dict().items()}:
        raise SettingsError(f"--start {options.start}: not of the kind that voxgender export writes")
    return options


def _build(options: TrainOptions) -> Wav2Vec2ForSequenceClassification:
    return build(hidden=options.hidden, layers=options.layers)


def _split_clips(clips: Sequence[Clip], manifest: Path, seed: int) -> tuple[list[Clip], list[Clip]]:
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


def _note_options(options: TrainOptions) -> None:
    """Write the options into ``out``, so that no run with other options resumes from its checkpoint."""
    facts = {name: str(value) for name, value in asdict(options).items() if name not in _CHANGEABLE}
    file = options.out / OPTIONS
    if file.exists():
        if noted_options(options.out) != facts:
            raise SettingsError(f"{options.out} holds a run with other options; remove it, or choose another folder")
        return
    options.out.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


class _TrainingRun:
    """A training run: network, optimiser and checkpoints."""

    def __init__(self, options: TrainOptions, data: TrainingData, chosen: Sequence[Windows]) -> None:
        self._options = options
        self._chosen = chosen
        torch.manual_seed(options.seed)
        network = _build(options)
        self._start = _load_start(options.start).state_dict() if options.start else None
        if self._start:
            network.load_state_dict(self._start)
        self._student = Student(network).to(options.device)
        self._embedding = nn.Linear(options.hidden, SIZE).to(options.device) if data.vectors is not None else None
        self._average = AveragedModel(self._student.network, avg_fn=_averaged)
        learning = [*self._student.parameters(), *(self._embedding.parameters() if self._embedding else ())]
        matrices = [p for p in learning if p.requires_grad and p.ndim > 1]
        vectors = [p for p in learning if p.requires_grad and p.ndim <= 1]
        self._optimiser = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0.0}],
            lr=options.learning_rate * (_FINE_TUNING_RATE if options.start else 1),
        )
        self._schedule = torch.optim.lr_scheduler.LambdaLR(self._optimiser, self._rate)
        self._batches = _Batches(data, options.batch, options.seed)
        self._step = 0
        self._best: Trained | None = None

    def run(self) -> Trained:
        options = self._options
        self._resume()
        self._student.train()
        shown: dict[str, float] = {}
        with tqdm(total=options.steps, initial=self._step, desc="train", unit="step") as progress:
            while self._step < options.steps:
                for name, loss in self._train_step().items():
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

    def _train_step(self) -> dict[str, float]:
        batch = self._batches.batch(self._step)
        logits, pooled = self._student(batch.envelopes.to(self._options.device))
        loss = nn.functional.cross_entropy(logits, batch.kinds.to(self._options.device))
        shown = {"loss": loss.item()}
        if self._embedding is not None and batch.vectors is not None:
            alike = nn.functional.cosine_similarity(self._embedding(pooled), batch.vectors.to(self._options.device))
            distance = 1 - alike[batch.voices.to(self._options.device)].mean()
            shown["distance"] = distance.item()
            loss = loss + _EMBEDDING_LOSS_WEIGHT * distance
        self._optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._student.parameters(), 1.0)
        self._optimiser.step()
        self._schedule.step()
        self._average.update_parameters(self._student.network)
        return shown

    def _rate(self, step: int) -> float:
        warm = min(300, self._options.steps // 10 + 1)
        if step < warm:
            return (step + 1) / warm
        return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warm) / (self._options.steps - warm + 1))))

    def _is_kept_out(self, corpus: str) -> bool:
        # Manifests may name no corpus at all.
        return bool(self._options.kept_out) and corpus == self._options.kept_out

    def _check(self, progress: "tqdm[Any]") -> None:
        by = [clip for clip in self._chosen if not self._is_kept_out(clip.corpus)]
        network = deepcopy(self._averaged())
        if self._start:
            learned = network.state_dict()
            network.load_state_dict(
                {name: torch.lerp(learned[name], self._start[name], _START_SHARE) for name in learned}
            )
        calibrate(network, by)
        scores = score(network, self._chosen)
        found = Trained(self._step, merit(one for one in scores if not self._is_kept_out(one.corpus)), scores)
        told = "  ".join(f"{s.corpus} {s.kind} {100 * s.files:.0f}/{100 * s.windows:.0f}" for s in scores)
        progress.write(f"step {found.step}: {100 * found.merit:.1f}  files/windows: {told}")
        if self._best is None or found.merit >= self._best.merit:
            self._best = found
            _save({"best": asdict(found), "weights": network.state_dict()}, self._options.out / BEST)
        state = {
            "step": self._step,
            "pupil": self._student.state_dict(),
            "likeness": self._embedding.state_dict() if self._embedding else {},
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
        self._student.load_state_dict(state["pupil"])
        if self._embedding:
            self._embedding.load_state_dict(state["likeness"])
        self._average.load_state_dict(state["average"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._schedule.load_state_dict(state["schedule"])
        self._step = state["step"]
        self._best = trained(state["best"])


def trained(plain: dict[str, Any]) -> Trained:
    """Return the outcome that a checkpoint holds as plain values."""
    return Trained(plain["step"], plain["merit"], [Score(**one) for one in plain["scores"]])


def noted_options(run: Path) -> dict[str, str]:
    """Return the options that a run was started with, as text."""
    noted: dict[str, str] = json.loads((run / OPTIONS).read_text(encoding="utf-8"))
    return noted


def _averaged(average: Tensor, now: Tensor, steps: Tensor | int) -> Tensor:
    """Return the mean of the last five hundred steps; of fewer at the start, when the network knows nothing yet."""
    return average + (now - average) * max(0.002, 9 / (10 + int(steps)))


class _Batch(NamedTuple):
    """Windows of one length.

    Attributes:
        envelopes: inputs, ``(batch, rows, BANDS)``.
        kinds: probabilities to learn, ``(batch, len(KINDS))``.
        voices: bool ``(batch,)``: True for a voice.
        vectors: embeddings to learn, ``(batch, 256)``, zero for noise; None without a teacher.
    """

    envelopes: Tensor
    kinds: Tensor
    voices: Tensor
    vectors: Tensor | None


class _Batches:
    """Cuts windows of 0.5 to 1.5 s out of crops. The batch of a step depends on the seed and the step alone."""

    _LENGTHS_MS = (500, 700, 1000, 1500)
    _PROBABILITIES = (0.36, 0.2, 0.36, 0.08)
    _MIN_LOUD_SHARE = 0.4
    """Share of a window that has to be loud, if the crop allows it."""

    def __init__(self, data: TrainingData, size: int, seed: int) -> None:
        self._crops, self._size, self._seed = data.crops, size, seed
        # Noise is the last source, so that the index -1 finds it.
        targets = np.zeros((len(data.male) + 1, len(KINDS)), np.float32)
        targets[:-1, KINDS.index("female")] = 1 - data.male
        targets[:-1, KINDS.index("male")] = data.male
        targets[-1, KINDS.index("noise")] = 1
        self._targets = targets * (1 - _SMOOTHING) + _SMOOTHING / len(KINDS)
        self._vectors = None
        if data.vectors is not None:
            self._vectors = np.concatenate([data.vectors, np.zeros_like(data.vectors[:1])])

    def batch(self, step: int) -> _Batch:
        rng = np.random.default_rng((self._seed, step))
        rows = int(rng.choice(self._LENGTHS_MS, p=self._PROBABILITIES)) * 16 // ROW
        chosen = rng.integers(len(self._crops.sources), size=self._size)
        inputs = np.empty((self._size, rows_in(rows * ROW), BANDS), np.float32)
        for index, crop in enumerate(chosen):
            inputs[index] = self._crops.window(crop, self._start(self._crops.loud[crop], rows, rng), rows)
        sources = self._crops.sources[chosen]
        return _Batch(
            filtered(torch.from_numpy(inputs), torch.from_numpy(self._gains_db(rng))),
            torch.from_numpy(self._targets[sources]),
            torch.from_numpy(sources >= 0),
            None if self._vectors is None else torch.from_numpy(self._vectors[sources]),
        )

    def _gains_db(self, rng: np.random.Generator) -> np.ndarray[Any, Any]:
        """Draw frequency responses of microphones, ``(batch, BANDS)``: 0 dB for half of the windows.

        A crop is used many times, each time with another microphone.
        """
        points = rng.uniform(-_ROUGHNESS_DB, _ROUGHNESS_DB, (self._size, _POINTS))
        points += rng.uniform(-_TILT_DB, _TILT_DB, (self._size, 1)) * np.linspace(-1, 1, _POINTS)
        points *= rng.random((self._size, 1)) < 0.5
        at = np.linspace(0, _POINTS - 1, BANDS)
        return np.stack([np.interp(at, np.arange(_POINTS), curve) for curve in points]).astype(np.float32)

    def _start(self, frames: np.ndarray[Any, Any], rows: int, rng: np.random.Generator) -> int:
        loud = np.concatenate([[0], np.cumsum(frames)])
        within = loud[rows:] - loud[:-rows]
        allowed = np.flatnonzero(within >= min(self._MIN_LOUD_SHARE * rows, within.max()))
        return int(rng.choice(allowed))


def _save(state: dict[str, Any], file: Path) -> None:
    unfinished = file.with_suffix(".tmp")
    torch.save(state, unfinished)
    unfinished.replace(file)
