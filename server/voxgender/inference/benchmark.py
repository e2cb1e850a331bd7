"""Measure a model in each runtime that is installed: speed, memory, and agreement with the exact network in torch.

Each runtime runs in a process of its own, so that its memory is its own, and no runtime's threads disturb another's.
"""

import contextlib
import multiprocessing
import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from voxgender.errors import ModelError
from voxgender.graphs.architecture import Unconvertible
from voxgender.inference import checkpoint
from voxgender.inference.checkpoint import Checkpoint
from voxgender.inference.classifier import Device, Precision, Windows
from voxgender.inference.loading import architecture_of, source_of
from voxgender.inference.probe import Network
from voxgender.system import end_with_parent, resident_bytes, usable_cores

BATCHES: dict[Device, tuple[int, ...]] = {"cpu": (1, 4, 8), "cuda": (1, 4, 8, 16, 32)}
"""Windows in a run. A processor gains little by more; a GPU is given those of many calls together."""
_MIN_RUNS = 3


class Runtime(NamedTuple):
    """One way to run a model."""

    name: str
    precision: Precision
    module: str
    """Package that it needs."""
    device: Device = "cpu"


RUNTIMES = (
    Runtime("torch eager", "fp32", "torch"),
    Runtime("torch eager", "bf16", "torch"),
    Runtime("torch eager", "int8", "torch"),
    Runtime("ONNX Runtime", "fp32", "onnxruntime"),
    Runtime("ONNX Runtime", "int8", "onnxruntime"),
    Runtime("OpenVINO", "fp32", "openvino"),
    Runtime("OpenVINO", "bf16", "openvino"),
    Runtime("torch on the GPU", "fp32", "torch", "cuda"),
    Runtime("torch on the GPU", "fp16", "torch", "cuda"),
    Runtime("torch on the GPU", "bf16", "torch", "cuda"),
)


class Job(NamedTuple):
    """Task of one process."""

    runtime: Runtime
    model: str
    revision: str
    threads: int
    windows: Windows
    """Shape ``(n, samples)``: windows to agree on; those of the measured runs are among them."""
    seconds: float
    """Time for each size of a batch."""


class Cell(NamedTuple):
    """The speed at one size of a batch."""

    batch: int
    window_ms: float
    """Least time of a run, divided by its windows: whatever else the machine does only adds to it."""


class Measured(NamedTuple):
    """Figures of one runtime with one number of threads."""

    runtime: Runtime
    threads: int
    cells: tuple[Cell, ...] = ()
    memory_mb: float = 0.0
    """Resident memory of the process after its runs, 0 where the system does not tell; on a GPU, the most of the GPU's
    memory that they took."""
    verdicts: tuple[int, ...] = ()
    """The likeliest output of each window."""
    failure: str = ""
    """Reason for which there are no figures."""

    def to_dict(self) -> dict[str, Any]:
        """Return the figures for ``--json``, without the verdicts."""
        return {
            "runtime": self.runtime.name,
            "precision": self.runtime.precision,
            "device": self.runtime.device,
            "threads": self.threads,
            "window_ms": {str(cell.batch): round(cell.window_ms, 3) for cell in self.cells},
            "memory_mb": round(self.memory_mb, 1),
            "failure": self.failure,
        }


def jobs(
    model: str, windows: Windows, *, revision: str = "", device: Device = "cpu", seconds: float = 2.0
) -> list[Job]:
    """List what can be measured here: each runtime that is installed, with one thread and with all cores.

    Args:
        model: as :func:`voxgender.inference.loading.load` takes it.
        windows: float32, shape ``(n, samples)``, 16 kHz.
        revision: branch, tag or commit of a repository.
        device: ``cuda`` adds the GPU's formats.
        seconds: time for each size of a batch.

    Raises:
        ModelError: there is no such device.
        ModuleNotFoundError: the device needs torch, which is not installed.
    """
    if device == "cuda":
        # Said now, and not after the minutes that the others take.
        from voxgender.inference import eager

        eager.prepare(device, 1)
    counts = sorted({1, usable_cores()})
    return [
        Job(runtime, model, revision, threads, windows, seconds)
        for runtime in RUNTIMES
        if find_spec(runtime.module) is not None and (runtime.module != "openvino" or find_spec("torch") is not None)
        if runtime.device in ("cpu", device)
        for threads in (counts if runtime.device == "cpu" else [1])
    ]


def measure(some: Sequence[Job]) -> Iterator[Measured]:
    """Run jobs one after the other, each in a process of its own.

    Raises:
        ModelError: the model cannot be found or fetched.
    """
    context = multiprocessing.get_context("spawn")
    for job in some:
        receiving, sending = context.Pipe(duplex=False)
        process = context.Process(target=_work, args=(job, sending), daemon=True)
        process.start()
        sending.close()
        try:
            measured = receiving.recv()
        except EOFError:
            process.join()
            measured = Measured(job.runtime, job.threads, failure=f"its process ended with {process.exitcode}")
        finally:
            receiving.close()
            if process.is_alive():
                process.join(10)
                process.kill()
            process.join()
        if isinstance(measured, ModelError):
            raise measured
        yield measured


def agreement(measured: Measured, reference: Measured) -> float | None:
    """Return the share of windows with the same verdict; None if one of them has none."""
    if not measured.verdicts or len(measured.verdicts) != len(reference.verdicts):
        return None
    return float(np.mean(np.array(measured.verdicts) == np.array(reference.verdicts)))


def as_table(all_measured: Sequence[Measured], windows: int) -> str:
    """Return a table in Markdown, one line for each runtime and number of threads."""
    reference = next((one for one in all_measured if one.runtime.precision == "fp32" and one.verdicts), None)
    sizes = sorted({cell.batch for one in all_measured for cell in one.cells})
    head = ["runtime", "precision", "threads", *(f"ms a window, {size} together" for size in sizes), "memory MB"]
    head.append(f"agrees on {windows} windows")
    lines = [head, ["---"] * len(head)]
    for one in all_measured:
        start = [one.runtime.name, one.runtime.precision, str(one.threads)]
        if one.failure:
            lines.append([*start, one.failure, *[""] * (len(head) - len(start) - 1)])
            continue
        agrees = None if reference is None else agreement(one, reference)
        told = {
            cell.batch: f"{cell.window_ms:.1f}" if cell.window_ms >= 1 else f"{cell.window_ms:.2f}"
            for cell in one.cells
        }
        speeds = [told.get(size, "") for size in sizes]
        lines.append([*start, *speeds, f"{one.memory_mb:.0f}", "" if agrees is None else f"{agrees:.1%}"])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _work(job: Job, sending: Connection) -> None:
    end_with_parent()
    result: Measured | ModelError
    # Libraries would print between the lines of the table.
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere), warnings.catch_warnings():  # noqa: PTH123
        warnings.simplefilter("ignore")
        try:
            result = _measured(job)
        except ModelError as error:
            result = error
        except Exception as error:  # noqa: BLE001 - whatever a runtime raises is that runtime's line
            first = next(iter(str(error).strip().splitlines()), type(error).__name__)
            result = Measured(job.runtime, job.threads, failure=first[:120])
    sending.send(result)
    sending.close()


def _measured(job: Job) -> Measured:
    _, source = source_of(job.model, job.revision)
    try:
        found = checkpoint.read(source, job.revision)
        network = _network(job, found)
    except checkpoint.Unreadable as reason:
        raise ModelError(f"model {job.model}: {reason}") from reason
    except Unconvertible as reason:
        return Measured(job.runtime, job.threads, failure=f"no graph: {reason}")
    cells = tuple(_cell(network, job, batch) for batch in BATCHES[job.runtime.device])
    verdicts = np.concatenate([network(job.windows[at : at + 8]) for at in range(0, len(job.windows), 8)]).argmax(
        axis=1
    )
    return Measured(job.runtime, job.threads, cells, _memory_mb(job.runtime.device), tuple(verdicts.tolist()))


def _cell(network: Network, job: Job, batch: int) -> Cell:
    windows = np.resize(job.windows, (batch, job.windows.shape[1]))
    network(windows)
    least_s, runs, end = float("inf"), 0, time.perf_counter() + job.seconds
    while runs < _MIN_RUNS or time.perf_counter() < end:
        began = time.perf_counter()
        network(windows)
        least_s = min(least_s, time.perf_counter() - began)
        runs += 1
    return Cell(batch, least_s * 1_000 / batch)


def _network(job: Job, found: Checkpoint) -> Network:
    make: dict[str, Callable[[Job, Checkpoint], Network]] = {
        "torch": _in_torch,
        "onnxruntime": _in_onnxruntime,
        "openvino": _in_openvino,
    }
    return make[job.runtime.module](job, found)


def _in_onnxruntime(job: Job, found: Checkpoint) -> Network:
    from voxgender.inference.conversion import open_network

    return open_network(
        found.config,
        found.weights,
        normalise=found.normalise,
        fingerprint=found.fingerprint(),
        precision=job.runtime.precision,
        threads=job.threads,
        always_threads=True,
    )


def _in_torch(job: Job, found: Checkpoint) -> Network:
    import torch

    from voxgender.inference import eager

    network = _torch_network(job, found)
    if job.runtime.precision == "int8":
        quantise: Any = torch.ao.quantization.quantize_dynamic
        network = quantise(network, {torch.nn.Linear}, dtype=torch.qint8)
    return eager.EagerNetwork(
        network,
        normalise=found.normalise,
        device=job.runtime.device,
        precision="fp32" if job.runtime.precision == "int8" else job.runtime.precision,
        extractor=eager.read_extractor(job.model, found.preprocessing),
    )


def _in_openvino(job: Job, found: Checkpoint) -> Network:
    import openvino
    import torch

    from voxgender.inference import eager

    if eager.read_extractor(job.model, found.preprocessing) is not None:
        raise ValueError("features other than samples are not measured")
    network = _torch_network(job, found).train(False).requires_grad_(False)

    class Probabilities(torch.nn.Module):
        def forward(self, audio: torch.Tensor) -> torch.Tensor:
            heard = eager.normalised(audio) if found.normalise else audio
            probabilities: torch.Tensor = network(heard).logits.softmax(dim=1)
            return probabilities

    converted = openvino.convert_model(Probabilities(), example_input=torch.from_numpy(job.windows[:2]))
    options = {
        "INFERENCE_NUM_THREADS": job.threads,
        "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[job.runtime.precision],
        "PERFORMANCE_HINT": "LATENCY",
    }
    compiled: Any = openvino.compile_model(converted, "CPU", options)

    def run(windows: Windows) -> npt.NDArray[np.float32]:
        found: npt.NDArray[np.float32] = compiled(np.ascontiguousarray(windows))[0]
        return found

    return run


def _torch_network(job: Job, found: Checkpoint) -> Any:
    from voxgender.inference import eager

    eager.prepare(job.runtime.device, job.threads)
    architecture = architecture_of(job.model, found.config)
    return eager.read_network(job.model, found.directory, architecture, list(found.weights()))


def _memory_mb(device: Device) -> float:
    if device == "cuda":
        import torch

        return torch.cuda.max_memory_reserved() / 1e6
    return resident_bytes() / 1e6
