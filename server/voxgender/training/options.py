"""Options of ``voxgender train``, ``export`` and ``evaluate``."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from voxgender.options import Display
from voxgender.settings import ModelOptions


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """Options of ``voxgender train``."""

    manifest: Annotated[Path, Display(metavar="MANIFEST.csv", positional=True)]
    """Table with the columns path,label[,split,speaker,corpus,language]."""
    out: Annotated[Path, Display(metavar="DIR")]
    """Folder of the run; a run of the same options that was interrupted goes on."""
    kept_out: Annotated[str, Display(metavar="CORPUS")] = ""
    """Corpus of split dev to report on without choosing a checkpoint by it."""
    teacher: Annotated[Literal["resemblyzer"] | None, Display(unset="labels alone")] = None
    """Speaker encoder to learn from: its embeddings, and its labels for rows without one."""
    start: Annotated[str, Display(metavar="DIR")] = ""
    """Model written by voxgender export, to go on from in the place of a first phase; its size is kept."""
    steps: Annotated[int, Meta(ge=1, le=10_000_000)] = 26_000
    """Steps of the first phase."""
    tuning_steps: Annotated[int, Meta(ge=0, le=10_000_000)] = 4_000
    """Steps of the second phase, at a lower rate and with more raised voices."""
    batch: Annotated[int, Meta(ge=1, le=65_536)] = 48
    """Windows in a step."""
    learning_rate: Annotated[float, Meta(gt=0, le=1), Display(metavar="RATE")] = 2e-3
    """Highest learning rate."""
    hidden: Annotated[int, Meta(ge=8, le=4_096, multiple_of=8)] = 160
    """Width of the transformer's layers."""
    layers: Annotated[int, Meta(ge=1, le=48)] = 3
    """Number of the transformer's layers."""
    crops: Annotated[int, Meta(ge=1, le=10_000_000)] = 40_000
    """Augmented crops of two seconds to cut batches from (13 KB of memory each); on cuda, each step makes its own."""
    resynthesised_speakers: Annotated[int, Meta(ge=0, le=1_000_000)] = 300
    """Labelled speakers of whom a recording is resynthesised."""
    extra_resynthesised: Annotated[float, Meta(ge=0, le=10), Display(metavar="SHARE")] = 0.4
    """Additional crops of resynthesised takes alone, as a share of --crops."""
    check_every: Annotated[int, Meta(ge=1, le=10_000_000)] = 2000
    """Steps between two checkpoints and checks on split dev."""
    cache: Annotated[Path, Display(metavar="DIR")] = Path(".cache/voxgender")
    """Folder for prepared audio."""
    workers: Annotated[int, Meta(ge=1, le=256)] = 2
    """Processes that prepare audio."""
    threads: Annotated[int, Meta(ge=1, le=1_024)] = 1
    """Threads of torch."""
    device: Annotated[str, Meta(pattern=r"^(cpu|cuda(:[0-9]{1,3})?)\Z"), Display(takes="cpu, cuda or cuda:N")] = "cpu"
    """Processor of torch: cpu, cuda or cuda:N."""
    seed: Annotated[int, Meta(ge=0, le=2**31)] = 0
    """Random seed."""


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """Options of ``voxgender export``."""

    training: Annotated[Path, Display(metavar="RUN", positional=True)]
    """Folder given to train --out."""
    out: Annotated[Path, Display(metavar="DIR", positional=True)]
    """Folder to write, for --model DIR."""


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """Options of ``voxgender evaluate``."""

    manifest: Annotated[Path, Display(metavar="MANIFEST.csv", positional=True)]
    """Table with the columns path,label[,corpus,split,...]."""
    split: Annotated[str | None, Display(unset="all rows")] = None
    """Split to evaluate."""
    json: bool = False
    """Print the figures as JSON."""
    model: ModelOptions = field(default_factory=ModelOptions)
