"""Train a model from a manifest of recordings: ``voxgender train``.

The first phase of a training begins with random weights. The second goes on from its end, at a lower rate and on more
crops, of which more are of raised voices. The result is the mean of the weights at the end of both,
which are so near each other that it is as good as the mean of what two networks say (M. Wortsman et al., Model soups,
ICML 2022). Last, it is calibrated on the windows that the pipeline asks a model about.
"""

import json
import random
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch
from transformers import Wav2Vec2ForSequenceClassification

from voxgender import received
from voxgender.errors import ManifestError, ModelError, SettingsError
from voxgender.training.batches import Batches, PreparedBatches
from voxgender.training.fresh import DeviceTakes, FreshBatches
from voxgender.training.manifest import KINDS, Clip, read_manifest, with_split
from voxgender.training.network import build
from voxgender.training.options import TrainOptions
from voxgender.training.phase import (
    Phase,
    PhaseEnd,
    PhaseOptions,
    State,
    Trained,
    load_weights,
    phase_end,
    save_weights,
)
from voxgender.training.preparation import Material, Mixture, PreparationOptions, crops_of, prepare
from voxgender.training.processes import kept_processes
from voxgender.training.scoring import Windows, asked_windows, calibrate, merit, score, windows_of, without

RESULT = "result.pt"
TUNING = "tuning"
"""Folder of the second phase, in that of the run."""
OPTIONS = "options.json"
DEV = "dev"
"""Beginning of the names of the splits that networks are checked and calibrated by."""

_TUNING_RATE = 0.3
"""Share of the learning rate that the second phase uses."""
_TUNING_CROPS, _TUNING_RAISED = 1.4, 1.5
"""Factors by which the second phase has more crops, and a larger share of additional crops of resynthesised takes."""

_CHECKPOINTS = "2"
"""Form of the checkpoints; raise it if runs that began before cannot go on."""
_CHANGEABLE = {"out", "cache", "workers", "threads", "device"}
"""Options that may change when an interrupted run is resumed."""


def train(options: TrainOptions) -> Trained:
    """Train, or resume an interrupted run; the weights are kept in ``out`` for ``voxgender export``.

    Learns from the labelled rows of split ``train`` (of rows without a split if there is no such split) and, with a
    teacher, from all rows without a label. Is checked and calibrated by the labelled rows of splits whose names begin
    with ``dev``, or by a tenth of the speakers if there are none.

    Raises:
        ManifestError: the manifest cannot be used, or lacks a sex among the rows to learn from or to choose by.
        AudioError: a recording cannot be decoded.
        SettingsError: ``out`` holds a run with other options, or torch has no such device.
        ModelError: ``out`` holds a damaged run.
    """
    _check_device(options.device)
    start = None
    if options.start:
        if not options.tuning_steps:
            raise SettingsError("--start goes on from a model in the second phase; give --tuning-steps at least 1")
        network = _load_start(options.start)
        options = _with_size_of(network, options)
        start = network.state_dict()
    clips = read_manifest(options.manifest)
    learned, chosen = _split_clips(clips, options.manifest, options.seed)
    if all(clip.kind == "noise" for clip in without(options.kept_out, chosen)):
        raise ManifestError(f"{options.manifest}: without {options.kept_out} there is no recording to choose by")
    unlabelled = [clip for clip in clips if not clip.label]
    _note_options(options)
    if (options.out / RESULT).exists():
        return load_weights(options.out / RESULT)[1]
    torch.set_num_threads(options.threads)
    torch.backends.cudnn.allow_tf32 = False  # 60 dB do not fit into its 10 bits
    run = _Run(options, learned, unlabelled, chosen)
    ends = [run.learn() if start is None else PhaseEnd(0, start)]
    if options.tuning_steps:
        ends.append(run.tune(ends[-1].average))
    return run.finish(ends)


class _Run:
    """The phases of a training, and its end. What is done already is not done again."""

    def __init__(
        self, options: TrainOptions, learned: Sequence[Clip], unlabelled: Sequence[Clip], chosen: Sequence[Clip]
    ) -> None:
        self._options = options
        self._learned, self._unlabelled, self._chosen = learned, unlabelled, chosen
        self._windows: list[Windows] = []
        self._material: Material | None = None
        self._takes: DeviceTakes | None = None

    def learn(self) -> PhaseEnd:
        """Run the first phase."""
        options = self._options
        return self._phase(self._phase_options("train", options.out, options.steps, options.check_every), 1.0, 1.0)

    def tune(self, start: State) -> PhaseEnd:
        """Run the second phase."""
        options = self._options
        folder = options.out / TUNING
        folder.mkdir(exist_ok=True)
        phase = self._phase_options("tune", folder, options.tuning_steps, max(1, options.check_every // 2))
        phase = replace(phase, learning_rate=_TUNING_RATE * options.learning_rate)
        return self._phase(phase, _TUNING_CROPS, _TUNING_RAISED, start)

    def finish(self, ends: Sequence[PhaseEnd]) -> Trained:
        """Keep the mean of the weights, calibrated on the windows that the pipeline asks about."""
        options = self._options
        network = build(hidden=options.hidden, layers=options.layers)
        network.load_state_dict(mean_weights([end.average for end in ends]))
        network.to(torch.device(options.device))  # type: ignore[arg-type]  # the stub of transformers
        by = [clip for clip in without(options.kept_out, self._chosen) if clip.kind != "noise"]
        asked = asked_windows(by, workers=options.workers)
        if {clip.kind for clip in asked} != {"female", "male"}:  # the speech gate found no voice of a sex
            asked = without(options.kept_out, self._choosing_windows())
        calibrate(network, asked)
        scores = score(network, self._choosing_windows())
        found = Trained(sum(end.step for end in ends), merit(without(options.kept_out, scores)), scores)
        save_weights(options.out / RESULT, network.state_dict(), found)
        return found

    def _phase(self, phase: PhaseOptions, crops: float, raised: float, start: State | None = None) -> PhaseEnd:
        if (end := phase_end(phase.folder, phase.steps)) is not None:
            return end
        with kept_processes(self._options.workers):
            batches, chosen = self._batches(crops, raised), self._choosing_windows()
        return Phase(phase, batches, chosen, start).run()

    def _phase_options(self, name: str, folder: Path, steps: int, check_every: int) -> PhaseOptions:
        options = self._options
        return PhaseOptions(
            name=name,
            folder=folder,
            steps=steps,
            check_every=check_every,
            learning_rate=options.learning_rate,
            batch=options.batch,
            hidden=options.hidden,
            layers=options.layers,
            seed=options.seed,
            device=options.device,
            kept_out=options.kept_out,
        )

    def _batches(self, crops: float, raised: float) -> Batches:
        options, material = self._options, self._prepared()
        mixture = Mixture(extra_resynthesised=raised * options.extra_resynthesised)
        if options.device != "cpu":
            self._takes = self._takes or DeviceTakes(material, options.device, workers=options.workers)
            return FreshBatches(self._takes, mixture, options.batch, options.seed)
        data = crops_of(
            material,
            mixture,
            options.cache / "crops",
            count=round(crops * options.crops),
            seed=options.seed,
            workers=options.workers,
        )
        return PreparedBatches(data, options.batch, options.seed)

    def _prepared(self) -> Material:
        options = self._options
        if self._material is None:
            preparation = PreparationOptions(
                teacher=options.teacher or "",
                resynthesised_speakers=options.resynthesised_speakers,
                cache=options.cache,
                workers=options.workers,
                device=options.device,
            )
            self._material = prepare(self._learned, self._unlabelled, preparation)
        return self._material

    def _choosing_windows(self) -> list[Windows]:
        if not self._windows:
            workers = self._options.workers
            for window_ms in (1000, 500):
                self._windows += windows_of(self._chosen, window_ms=window_ms, workers=workers)
        return self._windows


def mean_weights(of: Sequence[State]) -> State:
    """Return the mean of several networks' weights."""
    return {name: torch.stack([weights[name] for weights in of]).mean(dim=0) for name in of[0]}


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


def _with_size_of(network: Wav2Vec2ForSequenceClassification, options: TrainOptions) -> TrainOptions:
    """Return the options with the size of the model that ``--start`` names."""
    options = replace(options, hidden=network.config.hidden_size, layers=network.config.num_hidden_layers)
    fresh = build(hidden=options.hidden, layers=options.layers).state_dict()
    shapes = {name: value.shape for name, value in network.state_dict().items()}
    if shapes != {name: value.shape for name, value in fresh.items()}:
        raise SettingsError(f"--start {options.start}: not of the kind that voxgender export writes")
    return options


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
    facts["checkpoints"] = _CHECKPOINTS
    file = options.out / OPTIONS
    if file.exists():
        if noted_options(options.out) != facts:
            raise SettingsError(f"{options.out} holds a run with other options; remove it, or choose another folder")
        return
    options.out.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def noted_options(run: Path) -> dict[str, str]:
    """Return the options that a run was started with, as text.

    Raises:
        ModelError: the file that holds them is damaged.
    """
    try:
        noted: dict[str, str] = received.decode((run / OPTIONS).read_bytes(), dict[str, str])
    except ValueError:
        raise ModelError(f"{run / OPTIONS}: is damaged; remove {run}, or choose another folder") from None
    return noted
