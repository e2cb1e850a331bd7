"""A stop ends every role in any state, within its time; what cannot be used is said at the start, in one line."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Sequence

import pytest
from aiohttp import ClientSession

from tests.redisserver import LOOPBACK, a_free_port, a_redis
from tests.roles.processes import a_process, a_role
from tests.roles.test_roles import LOADING_FOR_EVER, call, media, serve
from tests.rtc import ToneTrack, a_peer
from tests.waits import until
from voxgender.protocol import Warning

SIGNALS = [signal.SIGTERM, signal.SIGINT]
SIGNALING = ("signaling",)
NODE = media()


@pytest.mark.parametrize(
    ("role", "registry"),
    [
        (SIGNALING, "redis://h?wrong_opt=1"),
        (NODE, "redis://h?ssl_cert_reqs=none"),
    ],
)
async def test_a_wrong_registry_is_said_at_the_start(role: Sequence[str], registry: str) -> None:
    """It was a traceback with each look at the registry, 503 for ever, and neither signal ended it."""
    async with a_process(*role, "--registry", registry) as server:
        out, errors = await asyncio.wait_for(server.process.communicate(), 20)
    assert server.process.returncode == 2
    assert out == b""
    assert errors.startswith(b"voxgender: --registry (VOXGENDER_REGISTRY)")
    assert errors.count(b"\n") == 1


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("role", [SIGNALING, NODE], ids=["signaling", "media"])
async def test_a_registry_that_cannot_be_reached_keeps_no_role_from_ending(role: Sequence[str], number: int) -> None:
    async with a_role(*role, "--registry", f"redis://{LOOPBACK}:{a_free_port()}") as server:
        assert server.url
        assert await server.stop(number) == 0


@pytest.mark.parametrize(("role", "number"), [(SIGNALING, signal.SIGINT), (NODE, signal.SIGTERM)])
async def test_a_frozen_registry_keeps_no_role_from_ending_before_it_is_ready(role: Sequence[str], number: int) -> None:
    async with a_redis() as redis:
        redis.freeze()
        async with a_process(*role, "--registry", redis.url) as server:
            # The kernel takes the connection; the answer never comes.
            assert server.process.stderr is not None
            listening = asyncio.create_task(server.process.stderr.readline())
            await asyncio.wait((listening,), timeout=1.5)
            server.process.send_signal(number)
            assert await asyncio.wait_for(server.process.wait(), 10) in (0, -number, 130)
            await listening


@pytest.mark.parametrize(
    ("role", "number"), [(serve(), signal.SIGINT), (NODE, signal.SIGINT), (serve("--workers", "2"), signal.SIGTERM)]
)
async def test_a_model_that_is_being_loaded_keeps_no_role_from_ending(role: Sequence[str], number: int) -> None:
    program = ("-c", LOADING_FOR_EVER)
    async with a_process(*role, program=program) as server:
        if "--workers" in role:
            await until(lambda: len(server.children) == 2)
        else:
            assert server.process.stdout is not None
            assert await server.process.stdout.readline() == b"loading\n"
        assert await server.stop(number) == 0


async def test_a_worker_that_hangs_as_it_starts_is_killed_by_the_front_before_that_ends() -> None:
    """The front had less time than its workers: it ended with status 1, and left them behind."""
    async with a_process(*serve("--workers", "2")) as server:
        await until(lambda: len(server.children) == 2)
        workers = server.children
        workers[0].suspend()
        assert await server.stop(signal.SIGTERM) == 0
        assert not any(worker.is_running() for worker in workers)


@pytest.mark.parametrize(("options", "number"), [((), signal.SIGINT), (("--workers", "2"), signal.SIGTERM)])
async def test_a_second_signal_ends_a_server_that_drains(options: Sequence[str], number: int) -> None:
    async with (
        a_role(*serve("--drain-timeout-s", "1000", *options)) as server,
        ClientSession(server.url) as http,
        a_peer(ToneTrack()) as peer,
    ):
        await call(http, peer)
        server.process.send_signal(signal.SIGTERM)
        warning = await peer.until(Warning)
        assert isinstance(warning, Warning)
        assert warning.code == "draining"
        assert await server.stop(number) == 0


ENDING_NEVER = (
    "import asyncio, sys, threading, concurrent.futures as f; from voxgender import cli; "
    "from voxgender.roles import hosting, signaling; hosting.ENDING_S = 0.5; "
    "signaling.Directory.close = lambda self: asyncio.get_running_loop().run_in_executor(None, threading.Event().wait);"
    "sys.exit(cli.main(sys.argv[1:]))"
)


@pytest.mark.parametrize("number", SIGNALS)
async def test_what_never_ends_is_ended_all_the_same_and_said(number: int) -> None:
    """A look-up in a DNS that does not answer occupies a thread that Python's end waits for."""
    async with a_process("signaling", "--nodes", "http://127.0.0.1:9", program=("-c", ENDING_NEVER)) as server:
        assert server.process.stdout is not None
        await server.process.stdout.readline()
        server.process.send_signal(number)
        _, errors = await asyncio.wait_for(server.process.communicate(), 10)
    assert server.process.returncode == 1
    assert b"stopping took longer than 0.5 s" in errors
    assert b"Traceback" not in errors


@pytest.mark.parametrize(
    ("command", "module"),
    [
        (("serve", "--model", "off", "--port", "0"), b"argparse"),
        (("serve", "--model", "off", "--port", "0"), b"aiortc.rtcdtlstransport"),
        (("signaling", "--port", "0"), b"voxgender.settings"),
        (("classify", "/no/such"), b"voxgender.settings"),
        # A native module: an exception within it becomes an error of another kind.
        (("call", "http://127.0.0.1:9"), b"onnxruntime.capi._ld_preload"),
    ],
)
async def test_sigint_while_modules_are_loaded_ends_the_process_without_a_word(
    command: Sequence[str], module: bytes
) -> None:
    """A user who pressed Ctrl-C right after the start got a traceback from the middle of an import."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-X", "importtime", "-m", "voxgender", *command), stdout=DEVNULL, stderr=PIPE
    )
    assert process.stderr is not None
    try:
        while (line := await asyncio.wait_for(process.stderr.readline(), 20)).split()[-1] != module:
            assert line.startswith(b"import time:"), line
        process.send_signal(signal.SIGINT)
        _, rest = await asyncio.wait_for(process.communicate(), 20)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert [line for line in rest.splitlines() if not line.startswith(b"import time:")] == []
    assert process.returncode == -signal.SIGINT


async def test_ctrl_c_does_not_reach_the_workers_that_are_loading() -> None:
    """A terminal sends SIGINT to all processes of a command, and each worker printed a traceback of its own."""
    async with a_process(*serve("--workers", "2"), program=("-c", LOADING_FOR_EVER)) as server:
        await until(lambda: len(server.children) == 2)
        groups = {os.getpgid(child.pid) for child in server.children}
        assert os.getpgid(server.process.pid) not in groups
        server.process.send_signal(signal.SIGINT)
        _, errors = await asyncio.wait_for(server.process.communicate(), 20)
    assert b"Traceback" not in errors
