import os

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
