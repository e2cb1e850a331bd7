"""Run one phase of a training: steps of gradient descent, with checks and checkpoints. An interrupted phase goes on."""

import math
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from voxgender.errors import ModelError
from voxgender.training.batches import Batches
from voxgender.training.encoder import SIZE
from voxgender.training.network import Student, build
from voxgender.training.scoring import Score, Windows, calibrate, merit, score, without

CHECKPOINT = "checkpoint.pt"
BEST = "best.pt"

_EMBEDDING_LOSS_WEIGHT = 1.0
"""Weight of the distance from the encoder's embedding in the loss."""

State = dict[str, Tensor]
"""Weights of a network by name."""


@dataclass(frozen=True, slots=True)
class Trained:
    """Outcome of a training or of a phase: the step of its best weights, and how good these are."""

    step: int
    merit: float
    scores: list[Score]


@dataclass(frozen=True, slots=True)
class PhaseOptions:
    """Options of a phase.

    Attributes:
        name: name in the progress bar.
        folder: folder for its checkpoint and its best weights; it exists.
        steps: steps at most.
        check_every: steps between two checks.
        learning_rate: highest learning rate.
        batch: windows in a step.
        hidden, layers: size of the network.
        seed: random seed.
        device: processor of torch.
        kept_out: corpus that nothing is chosen by.
    """

    name: str
    folder: Path
    steps: int
    check_every: int
    learning_rate: float
    batch: int
    hidden: int
    layers: int
    seed: int
    device: str
    kept_out: str


@dataclass(frozen=True, slots=True)
class PhaseEnd:
    """End of a phase: its last step, and the running average of its weights there."""

    step: int
    average: State


def phase_end(folder: Path, steps: int) -> PhaseEnd | None:
    """Return the end of the phase in ``folder``; None if it has not begun, or has to go on.

    A phase takes all its steps, whatever its checks say: its last ones, at the lowest rates, gain most.
    """
    file = folder / CHECKPOINT
    if not file.exists():
        return None
    state = _load(file)
    if state["step"] < steps:
        return None
    return PhaseEnd(state["step"], state["average"])


class Phase:
    """Network, optimiser and checkpoints of a phase.

    Args:
        options: options.
        batches: windows to learn from.
        chosen: windows to choose by.
        start: weights to begin with; None for random ones.
    """

    def __init__(
        self, options: PhaseOptions, batches: Batches, chosen: Sequence[Windows], start: State | None = None
    ) -> None:
        self._options = options
        self._chosen = chosen
        torch.manual_seed(options.seed)
        network = build(hidden=options.hidden, layers=options.layers)
        if start:
            network.load_state_dict(start)
        self._student = Student(network).to(options.device)
        taught = batches.batch(0).vectors is not None
        self._embedding = nn.Linear(options.hidden, SIZE).to(options.device) if taught else None
        self._average = deepcopy(self._student.network)
        learning = [*self._student.parameters(), *(self._embedding.parameters() if self._embedding else ())]
        matrices = [p for p in learning if p.requires_grad and p.ndim > 1]
        vectors = [p for p in learning if p.requires_grad and p.ndim <= 1]
        self._optimiser = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0.0}],
            lr=options.learning_rate,
            fused=options.device != "cpu",
        )
        self._schedule = torch.optim.lr_scheduler.LambdaLR(self._optimiser, self._rate)
        self._batches = batches
        self._step = 0
        self._best: Trained | None = None

    def run(self) -> PhaseEnd:
        """Train to the phase's end, from its checkpoint if there is one."""
        options = self._options
        self._resume()
        self._student.train()
        shown: dict[str, Tensor] = {}
        with tqdm(total=options.steps, initial=self._step, desc=options.name, unit="step") as progress:
            while (end := phase_end(options.folder, options.steps)) is None:
                for _ in range(min(options.check_every, options.steps - self._step)):
                    for name, loss in self._train_step().items():
                        shown[name] = 0.98 * shown.get(name, loss) + 0.02 * loss
                    self._step += 1
                    progress.update()
                    if self._step % 20 == 0:
                        # Not at each step: a GPU would be waited for.
                        progress.set_postfix({name: f"{loss:.3f}" for name, loss in shown.items()}, refresh=False)
                self._check(progress)
        return end

    def _train_step(self) -> dict[str, Tensor]:
        batch = self._batches.batch(self._step)
        logits, pooled = self._student(batch.envelopes.to(self._options.device))
        loss = nn.functional.cross_entropy(logits, batch.kinds.to(self._options.device))
        shown = {"loss": loss.detach()}
        if self._embedding is not None and batch.vectors is not None:
            alike = nn.functional.cosine_similarity(self._embedding(pooled), batch.vectors.to(self._options.device))
            voices = batch.voices.to(self._options.device)
            distance = 1 - (alike * voices).sum() / voices.sum().clamp_min(1)
            shown["distance"] = distance.detach()
            loss = loss + _EMBEDDING_LOSS_WEIGHT * distance
        self._optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._student.parameters(), 1.0)
        self._optimiser.step()
        self._schedule.step()
        self._follow()
        return shown

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the average towards the weights as they are now.

        It is that of the last five hundred steps; of fewer at the start, when the network knows nothing yet.
        """
        averages, now = (list(one.state_dict().values()) for one in (self._average, self._student.network))
        torch._foreach_lerp_(averages, now, 1.0 if self._step == 0 else max(0.002, 9 / (10 + self._step)))

    def _rate(self, step: int) -> float:
        warm = min(300, self._options.steps // 10 + 1)
        if step < warm:
            return (step + 1) / warm
        return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warm) / (self._options.steps - warm + 1))))

    def _check(self, progress: "tqdm[Any]") -> None:
        network = deepcopy(self._average)
        calibrate(network, without(self._options.kept_out, self._chosen))
        scores = score(network, self._chosen)
        found = Trained(self._step, merit(without(self._options.kept_out, scores)), scores)
        told = "  ".join(f"{s.corpus} {s.kind} {100 * s.files:.0f}/{100 * s.windows:.0f}" for s in scores)
        progress.write(f"step {found.step}: {100 * found.merit:.1f}  files/windows: {told}")
        if self._best is None or found.merit >= self._best.merit:
            self._best = found
            save_weights(self._options.folder / BEST, network.state_dict(), found)
        state = {
            "step": self._step,
            "pupil": self._student.state_dict(),
            "likeness": self._embedding.state_dict() if self._embedding else {},
            "average": self._average.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "schedule": self._schedule.state_dict(),
            "best": asdict(self._best),
        }
        _save(state, self._options.folder / CHECKPOINT)

    def _resume(self) -> None:
        file = self._options.folder / CHECKPOINT
        if not file.exists():
            return
        state = _load(file)
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


def save_weights(file: Path, weights: State, outcome: Trained) -> None:
    """Write weights and how good they are."""
    _save({"best": asdict(outcome), "weights": weights}, file)


def load_weights(file: Path) -> tuple[State, Trained]:
    """Read what :func:`save_weights` wrote. Raises ``ModelError`` if it is damaged."""
    state = _load(file)
    return state["weights"], trained(state["best"])


def _load(file: Path) -> dict[str, Any]:
    """Read what :func:`_save` wrote.

    Raises:
        ModelError: it is damaged, or was written by something else.
    """
    try:
        state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        # Every file of a run has it.
        trained(state["best"])
    except OSError:
        raise
    except Exception:  # noqa: BLE001 - the errors of damaged files have no class in common
        raise ModelError(f"{file}: is damaged, or no file of voxgender train; remove it, or the run's folder") from None
    return state


def _save(state: dict[str, Any], file: Path) -> None:
    unfinished = file.with_suffix(".tmp")
    try:
        torch.save(state, unfinished)
    except RuntimeError:
        # torch's word for whatever the system refuses.
        unfinished.unlink(missing_ok=True)
        raise ModelError(f"{file}: cannot be written; is the disk full?") from None
    unfinished.replace(file)
