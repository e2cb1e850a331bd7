"""Real Chromium with a fake microphone, and the real server as a process of its own."""

import json
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
import wave
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.async_api import Browser, Page, async_playwright, expect
from playwright.async_api import Error as PlaywrightError
from scipy.signal import resample_poly

from voxgender.peer.voices import MAN, WOMAN, speak

MICROPHONE_HZ = 48_000
WAIT_MS = 60_000
"""Time after which a test gives up waiting for a word on the screen, long enough for a busy machine."""

expect.set_options(timeout=WAIT_MS)

CHROMIUM_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--allow-loopback-in-peer-connection",
)
FAKE_DEVICE = "--use-fake-device-for-media-stream"
ALWAYS_ALLOWED = "--use-fake-ui-for-media-stream"

StartServer = Callable[..., "Server"]
OpenPage = Callable[..., Awaitable[Page]]
OpenBrowser = Callable[..., Awaitable[Browser]]


class Server:
    """``voxgender serve`` on a port that stays the same from one start to the next."""

    def __init__(self, *options: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/"
        self._options = options
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Returns once calls are taken."""
        command = ["serve", "--host", "127.0.0.1", "--port", str(self.port), "--ice-address", "127.0.0.1"]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "voxgender.cli", *command, *self._options], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert "ready" in line, "The server did not start; its own words are above."

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        if self._process is None:
            return
        with self._process:
            self._process.send_signal(how)
        self._process = None

    def send_signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def sessions(self) -> list[dict[str, Any]]:
        """The calls that the server holds."""
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(f"{self.url}sessions") as response:
            found: list[dict[str, Any]] = json.load(response)["sessions"]
        return found


@pytest.fixture
def start_server() -> Iterator[StartServer]:
    """A function that starts a server of the test's own, with further options."""
    with ExitStack() as stack:

        def start(*options: str) -> Server:
            server = Server(*options)
            stack.callback(server.stop)
            server.start()
            return server

        yield start


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """One server for all tests that leave it as it is; loading the model takes a while."""
    server = Server()
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
async def open_browser() -> AsyncIterator[OpenBrowser]:
    """A function that starts a Chromium whose microphone plays a file, over and over."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    assert chromium is not None, "The browser tests need Chromium; make test installs it."
    async with AsyncExitStack() as stack:
        playwright = await stack.enter_async_context(async_playwright())

        async def start(
            microphone: Path | None = None, flags: Sequence[str] = (FAKE_DEVICE, ALWAYS_ALLOWED)
        ) -> Browser:
            recording = [f"--use-file-for-fake-audio-capture={microphone}"] if microphone else []
            browser = await playwright.chromium.launch(
                executable_path=chromium, args=[*CHROMIUM_FLAGS, *flags, *recording]
            )
            stack.push_async_callback(leave, browser)
            return browser

        yield start


async def leave(browser: Browser) -> None:
    """Leave every page, and close the browser.

    A page that is left ends its call. Of one whose browser is closed, the server waits 15 seconds for a packet, and the
    next test for the server.
    """
    with suppress(PlaywrightError):
        for context in browser.contexts:
            for page in context.pages:
                await page.goto("about:blank")
    await browser.close()


@pytest.fixture
async def open_page(open_browser: OpenBrowser) -> AsyncIterator[OpenPage]:
    """A function that opens a URL in a fresh browser. Any error on a page's console fails the test."""
    errors: list[str] = []

    async def open_page(url: str, microphone: Path | None = None, **options: Any) -> Page:
        browser = await open_browser(microphone, **options)
        page = await browser.new_page()
        page.set_default_timeout(WAIT_MS)
        page.on("pageerror", lambda error: errors.append(str(error)))
        await page.goto(url)
        return page

    yield open_page
    assert not errors


def write_wav(path: Path, samples: "np.ndarray[Any, np.dtype[np.floating[Any]]]", rate_hz: int = 16_000) -> Path:
    """A file as Chromium's fake microphone takes it: 48 kHz, 16 bits, mono."""
    resampled = resample_poly(samples, MICROPHONE_HZ, rate_hz)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(MICROPHONE_HZ)
        file.writeframes((np.clip(resampled, -1, 1) * 32_767).astype("<i2").tobytes())
    return path


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recordings")


@pytest.fixture(scope="session")
def babble(recordings: Path) -> Path:
    """Synthesised speech, for tests that want a voice but not whose."""
    return write_wav(recordings / "babble.wav", np.concatenate([speak(MAN, 4.0), speak(WOMAN, 4.0)]))


@pytest.fixture(scope="session")
def silence(recordings: Path) -> Path:
    """A quiet room."""
    return write_wav(recordings / "silence.wav", np.random.default_rng(0).normal(0, 3e-4, 4 * 16_000))


@pytest.fixture(scope="session")
def voices(recordings: Path) -> dict[str, Path]:
    """Label to a synthetic voice. How real voices are heard is measured elsewhere."""
    return {
        label: write_wav(recordings / f"{label}.wav", speak(speaker, 8.0))
        for label, speaker in (("male", MAN), ("female", WOMAN))
    }


@pytest.fixture(scope="session")
def conversation(recordings: Path) -> Path:
    """A woman, a pause, a man, a pause."""
    pause = np.random.default_rng(0).normal(0, 3e-4, round(1.5 * 16_000))
    turns = [part for speaker in (WOMAN, MAN) for part in (speak(speaker, 6.0), pause)]
    return write_wav(recordings / "conversation.wav", np.concatenate(turns))
