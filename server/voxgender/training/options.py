"""Options of ``voxgender train``, ``export`` and ``evaluate``."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from voxgender.options import Display
from voxgender.settings import ModelOptions


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """Options of ``voxgender train``."""

    manifest: Annotated[Path, Display(metavar="MANIFEST.csv", positional=True)]
    """Table with the columns path,label[,split,speaker,corpus]."""
    out: Annotated[Path, Display(metavar="DIR")]
    """Folder of the run; a run of the same options that was interrupted goes on."""
    kept_out: Annotated[str, Display(metavar="CORPUS")] = ""
    """Corpus of split dev to report on without choosing a checkpoint by it."""
    first_steps: Annotated[int, Meta(ge=0, le=10_000_000)] = 800
    """Steps of the first network, which labels speakers that have no label; 0 leaves those aside."""
    teachers: Annotated[int, Meta(ge=0, le=100)] = 2
    """Networks trained from other seeds, whose mean the last one learns from; 0 for labels alone."""
    steps: Annotated[int, Meta(ge=1, le=10_000_000)] = 6000
    """Steps of each network."""
    batch: Annotated[int, Meta(ge=1, le=65_536)] = 48
    """Windows in a step."""
    learning_rate: Annotated[float, Meta(gt=0, le=1), Display(metavar="RATE")] = 2e-3
    """Highest learning rate."""
    hidden: Annotated[int, Meta(ge=8, le=4_096, multiple_of=8)] = 128
    """Width of the transformer's layers."""
    layers: Annotated[int, Meta(ge=1, le=48)] = 3
    """Number of the transformer's layers."""
    crops: Annotated[int, Meta(ge=1, le=10_000_000)] = 40_000
    """Augmented crops of two seconds to cut batches from (13 KB of memory each)."""
    variants: Annotated[int, Meta(ge=0, le=1_000)] = 6
    """Resynthesised takes of each recording."""
    resynthesised: Annotated[float, Meta(ge=0, le=1), Display(metavar="SHARE")] = 0.5
    """Share of crops taken from a resynthesised take, where a recording has one, from 0 to 1."""
    seconds: Annotated[float, Meta(gt=0, le=3_600), Display(metavar="S")] = 14.0
    """Length of each recording's start to use, in seconds."""
    check_every: Annotated[int, Meta(ge=1, le=10_000_000)] = 1500
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
