import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from voxgender.training.processes import in_processes, kept_processes


def double_and_pid(number: int) -> tuple[int, int]:
    return 2 * number, os.getpid()


def test_results_come_in_order_whatever_the_workers() -> None:
    for workers in (1, 2):
        found = list(in_processes(double_and_pid, range(20), workers))
        assert [number for number, _ in found] == list(range(0, 40, 2))
        assert (os.getpid() in {pid for _, pid in found}) == (workers == 1)


def test_kept_processes_are_started_once_for_all_maps() -> None:
    """A training of many short steps once spent most of its preparation on starting processes that import torch."""
    with kept_processes(2):
        pids = {pid for _ in range(3) for _, pid in in_processes(double_and_pid, range(8), 2)}
    assert len(pids) <= 2
    assert not pids & {pid for _, pid in in_processes(double_and_pid, range(4), 2)}


_TRAINING = """
from tests.training.test_processes import say_and_wait
from voxgender.training.processes import in_processes
if __name__ == "__main__":
    list(in_processes(say_and_wait, [0, 600], 2))
"""


def say_and_wait(seconds: float) -> None:
    print("at work", flush=True)
    time.sleep(seconds)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_processes_end_with_a_training_that_is_killed(number: int, tmp_path: Path) -> None:
    """A training that was ended by SIGTERM left its processes behind for good: they waited for more work."""
    program = tmp_path / "training.py"
    program.write_text(_TRAINING, encoding="utf-8")
    training = subprocess.Popen(
        [sys.executable, program],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, sys.path))},
        start_new_session=True,
    )
    with training:
        assert training.stdout is not None
        try:
            for _ in range(2):
                assert training.stdout.readline() == b"at work\n"
            training.send_signal(number)
            # The pipe ends with the last process that could write to it.
            training.communicate(timeout=20)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(training.pid, signal.SIGKILL)
