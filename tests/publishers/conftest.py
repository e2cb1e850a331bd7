"""A real server as a process of its own, something to say as a WAV file, and publishers as processes."""

import asyncio
import subprocess
import sys
import wave
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from aiohttp import ClientSession, web

from tests.rtc import LOOPBACK
from voxgender.peer.vocaltract import SAMPLE_RATE_HZ
from voxgender.peer.voices import dialogue

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def voices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A man, a pause, a woman."""
    path = tmp_path_factory.mktemp("voices") / "voices.wav"
    samples, _ = dialogue(turn_s=3.0, pause_s=0.8)
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(SAMPLE_RATE_HZ)
        out.writeframes((samples * 32_767).astype(np.dtype("<i2")).tobytes())
    return path


class ServerProcess:
    """``voxgender serve`` with its own model; ``log`` is what it wrote so far."""

    def __init__(self, url: str, log: Path) -> None:
        self.url = url
        self._log = log

    @property
    def log(self) -> str:
        return self._log.read_text()


@pytest.fixture(scope="session")
def server_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    log = tmp_path_factory.mktemp("server") / "log"
    command = [sys.executable, "-m", "voxgender.cli", "serve", "--host", LOOPBACK, "--port", "0"]
    with ExitStack() as stack:
        written = stack.enter_context(log.open("w"))
        process = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=written, text=True))
        stack.callback(process.terminate)
        assert process.stdout is not None
        line = process.stdout.readline()
        assert "ready" in line, log.read_text()
        yield ServerProcess(line.split()[-1].rstrip("/"), log)


class Relay:
    """Passes WHIP on to the server and keeps the path of the session that it made: FFmpeg tells it to nobody."""

    def __init__(self, server: str) -> None:
        self.url = ""
        self.session: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._server = server

    async def handle(self, request: web.Request) -> web.Response:
        headers = {
            name: value
            for name, value in request.headers.items()
            if name.lower() in ("content-type", "if-match", "authorization")
        }
        async with (
            ClientSession() as http,
            http.request(
                request.method, self._server + request.path, data=await request.read(), headers=headers
            ) as answer,
        ):
            if "Location" in answer.headers and not self.session.done():
                self.session.set_result(answer.headers["Location"])
            passed = {
                name: value
                for name, value in answer.headers.items()
                if name in ("Location", "ETag", "Link", "Content-Type")
            }
            return web.Response(status=answer.status, body=await answer.read(), headers=passed)


@pytest.fixture
async def relay(server_process: ServerProcess) -> AsyncIterator[Relay]:
    relay = Relay(server_process.url)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", relay.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, LOOPBACK, 0).start()
        relay.url = f"http://{LOOPBACK}:{runner.addresses[0][1]}/whip"
        yield relay
    finally:
        await runner.cleanup()


Publish = Callable[..., Awaitable[asyncio.subprocess.Process]]


@asynccontextmanager
async def publishing() -> AsyncIterator[Publish]:
    """Start publishers; they are killed at the end."""
    async with AsyncExitStack() as stack:

        async def start(*command: str | Path, **environment: str) -> asyncio.subprocess.Process:
            words = [str(word) for word in command]
            if environment:
                words = ["env", *(f"{name}={value}" for name, value in environment.items()), *words]
            process = await asyncio.create_subprocess_exec(
                *words, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
            )

            async def stop() -> None:
                if process.returncode is None:
                    process.kill()
                await process.communicate()

            stack.push_async_callback(stop)
            return process

        yield start


@pytest.fixture
async def publish() -> AsyncIterator[Publish]:
    """A function that starts a publisher; it is killed at the test's end."""
    async with publishing() as start:
        yield start


@pytest.fixture(scope="session")
def without_upnp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory whose libgupnp-igd does nothing."""
    directory = tmp_path_factory.mktemp("without-upnp")
    name = "libgupnp-igd-1.0.so.4"
    command = ["cc", "-shared", "-nostdlib", "-fPIC", f"-Wl,-soname,{name}", "-o", str(directory / name)]
    subprocess.run([*command, str(HERE / "upnp.c")], check=True)
    return directory


@pytest.fixture(scope="session")
def p256(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate and its key, by the command in docs/publishers.md."""
    directory = tmp_path_factory.mktemp("certificate")
    certificate, key = directory / "cert.pem", directory / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-subj", "/CN=whip", "-days", "30", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key
