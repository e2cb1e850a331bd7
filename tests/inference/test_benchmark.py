from pathlib import Path

import numpy as np
import pytest

from tests.inference.checkpoints import Make
from voxgender.cli import main
from voxgender.errors import ModelError
from voxgender.inference.benchmark import BATCHES, RUNTIMES, Cell, Job, Measured, agreement, as_table, jobs, measure
from voxgender.inference.probe import trial

TORCH, ORT = RUNTIMES[0], RUNTIMES[3]


def test_each_runtime_that_is_installed_is_measured_with_one_thread_and_all() -> None:
    some = jobs("embedded", trial(1_000))
    assert {job.runtime.name for job in some} >= {"torch eager", "ONNX Runtime"}
    assert {job.threads for job in some} >= {1}


def test_a_runtime_is_measured_in_a_process_of_its_own(make: Make) -> None:
    directory = str(make())
    (found,) = measure([Job(ORT, directory, "", 1, trial(1_000), 0.01)])
    assert found.failure == ""
    assert [cell.batch for cell in found.cells] == [1, 4, 8]
    assert all(0 < cell.window_ms < 10_000 for cell in found.cells)
    assert found.memory_mb > 20
    assert len(found.verdicts) == 3


def test_a_model_that_is_not_there_is_said_so(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ModelError, match="no such directory"):
        next(measure([Job(ORT, "./no-model", "", 1, trial(1_000), 0.01)]))


def test_a_runtime_that_fails_has_its_line(make: Make) -> None:
    directory = str(make(hidden_act="silu"))
    (found,) = measure([Job(ORT, directory, "", 1, trial(1_000), 0.01)])
    assert "hidden_act" in found.failure
    assert f"| {found.failure} |" in as_table([found], 3)


def test_the_table_tells_speed_memory_and_agreement() -> None:
    cells = tuple(Cell(batch, 2.5) for batch in (1, 4, 8))
    exact = Measured(TORCH, 1, cells, 400.0, (0, 1, 1, 0))
    other = Measured(ORT, 2, cells, 90.0, (0, 1, 0, 0))
    *_, first, second = as_table([exact, other], 4).splitlines()
    assert first == "| torch eager | fp32 | 1 | 2.5 | 2.5 | 2.5 | 400 | 100.0% |"
    assert second == "| ONNX Runtime | fp32 | 2 | 2.5 | 2.5 | 2.5 | 90 | 75.0% |"
    assert agreement(exact, Measured(ORT, 1)) is None


def test_the_table_has_the_sizes_of_each_device_and_small_times_to_a_hundredth() -> None:
    gpu = Measured(RUNTIMES[-1], 1, tuple(Cell(batch, 0.25) for batch in BATCHES["cuda"]), 2_000.0, (0, 1, 1, 0))
    exact = Measured(TORCH, 1, tuple(Cell(batch, 2.5) for batch in BATCHES["cpu"]), 400.0, (0, 1, 1, 0))
    *_, first, second = as_table([exact, gpu], 4).splitlines()
    assert first == "| torch eager | fp32 | 1 | 2.5 | 2.5 | 2.5 |  |  | 400 | 100.0% |"
    assert second == "| torch on the GPU | bf16 | 1 | 0.25 | 0.25 | 0.25 | 0.25 | 0.25 | 2000 | 100.0% |"


def test_a_recording_without_speech_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tests.engine.test_files import write

    silent = write(tmp_path / "silent.wav", np.zeros(32_000, dtype=np.float32))
    assert main(["bench-model", "embedded", str(silent)]) == 1
    assert capsys.readouterr().err == "voxgender: there is no second of speech in the recordings\n"
