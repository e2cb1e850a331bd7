"""What each worker is given of the whole."""

from pathlib import Path

import pytest

from voxgender.errors import SettingsError
from voxgender.settings import Settings
from voxgender.workers import tasks

FOLDER = Path("/run/voxgender")


def test_calls_and_ports_are_divided_and_nothing_is_lost() -> None:
    made = tasks(Settings(workers=3, max_sessions=100, udp_ports="40000-40099"), "key", FOLDER)
    assert [task.settings["max_sessions"] for task in made] == [33, 33, 34]
    assert [task.settings["udp_ports"] for task in made] == ["40000-40032", "40033-40065", "40066-40099"]
    assert len({task.socket for task in made}) == 3


def test_threads_are_as_told_or_the_cores_divided() -> None:
    assert all(task.settings["inference_threads"] >= 1 for task in tasks(Settings(workers=64), "key", FOLDER))
    assert tasks(Settings(workers=2, inference_threads=3), "key", FOLDER)[0].settings["inference_threads"] == 3


def test_workers_are_told_nothing_that_only_the_front_needs() -> None:
    (task, _) = tasks(Settings(workers=2, token="hunter2", ice_server=("turn:ann:hunter3@t",)), "key", FOLDER)
    assert "hunter" not in repr(task)
    assert task.settings["model"] == "embedded"
    assert task.settings["log_level"] == "info"


@pytest.mark.parametrize("options", [{"max_sessions": 3}, {"udp_ports": "1-3"}])
def test_more_workers_than_there_is_to_divide_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(SettingsError, match="--workers 4"):
        tasks(Settings(workers=4, **options), "key", FOLDER)  # type: ignore[arg-type]
