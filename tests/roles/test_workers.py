"""Workers share the machine and the limits, and one that hangs is replaced."""

import asyncio
import signal
from pathlib import Path

import msgspec
import pytest

from tests.options import given
from tests.waits import until
from voxgender.errors import SettingsError
from voxgender.fleet.directory import Directory
from voxgender.fleet.secret import Secret
from voxgender.fleet.sources import StaticNodes
from voxgender.roles.workermessages import WorkerConfig
from voxgender.roles.workers import Worker, worker_configs
from voxgender.settings import ServeSettings

FOLDER = Path("/run/voxgender")


def configs(**options: object) -> list[WorkerConfig]:
    return worker_configs(given(ServeSettings, **options), "key", FOLDER)


def test_calls_and_ports_are_divided_and_nothing_is_lost() -> None:
    made = configs(workers=3, max_sessions=100, udp_ports="40000-40099")
    assert [config.settings.media.max_sessions for config in made] == [33, 33, 34]
    assert [config.settings.media.udp_ports for config in made] == ["40000-40032", "40033-40065", "40066-40099"]
    assert len({config.socket for config in made}) == 3


def test_threads_are_as_told_or_the_cores_divided() -> None:
    assert all(config.settings.model.inference_threads >= 1 for config in configs(workers=64))
    assert configs(workers=2, inference_threads=3)[0].settings.model.inference_threads == 3


def test_workers_are_told_nothing_that_only_the_front_needs() -> None:
    (config, _) = configs(workers=2, token="hunter2", ice_server=("turn:ann:hunter3@t",), log_level="debug")
    told = msgspec.json.encode(config)
    assert b"hunter" not in told
    assert msgspec.json.decode(told, type=WorkerConfig) == config
    assert config.settings.log.log_level == "debug"


@pytest.mark.parametrize("options", [{"max_sessions": 3}, {"udp_ports": "1-3"}])
def test_more_workers_than_there_is_to_divide_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(SettingsError, match="--workers 4"):
        configs(workers=4, **options)


async def test_a_worker_that_hangs_is_killed_and_replaced(tmp_path: Path) -> None:
    source = StaticNodes([])
    directory = Directory(source, Secret("key"), refresh_s=0.05, lease_s=1.0)
    await directory.start()
    (config,) = worker_configs(given(ServeSettings, model="off"), "key", tmp_path)
    worker = Worker(config, source, directory, hung_s=0.5, watch_s=0.05)
    supervision = asyncio.create_task(worker.supervise())
    try:
        await worker.ready
        (before,) = directory.members()
        process = worker._process
        assert process is not None
        process.send_signal(signal.SIGSTOP)
        assert await process.wait() == -signal.SIGKILL
        (after,) = await until(directory.members, within_s=60)
        assert after.record.id != before.record.id
    finally:
        worker.stop()
        await supervision
        await directory.close()
