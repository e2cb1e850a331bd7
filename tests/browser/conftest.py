"""Real browsers, Chromium and Firefox, with a fake microphone, and the real server as a process of its own.

A test that opens a browser runs in Chromium, and with ``--all-browsers`` in Firefox too: with the mark ``firefox``
always, with ``chromium_only("why")`` never, and with ``firefox_only("why")`` there alone. Tests share browsers that run
already, and one event loop.
"""

import asyncio
import json
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
import wave
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterable, Iterator
from contextlib import AsyncExitStack, ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, Playwright, async_playwright, expect
from playwright.async_api import Error as PlaywrightError
from pytest_asyncio import is_async_test
from scipy.signal import resample_poly

from tests.browser.firefox import PREFERENCES, microphone_script, write_program
from voxgender.peer.voices import MAN, WOMAN, speak

MICROPHONE_HZ = 48_000
WAIT_MS = 60_000
"""Time after which a test gives up waiting for a word on the screen, long enough for a busy machine."""
LEAVE_MS = 5_000
CLOSE_S = 20

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
MOST_BROWSERS = 4
"""Browsers that run at once; one more ends the one that was not used for longest."""


@dataclass(frozen=True)
class Surroundings:
    """The microphone and the network that a browser finds, told to each kind of browser in its own way."""

    chromium: tuple[str, ...] = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
    """Flags of Chromium's command line."""
    firefox: tuple[tuple[str, str | int | bool], ...] = ()
    """Preferences of Firefox, where they differ from those of ``firefox.PREFERENCES``."""


ALLOWED = Surroundings()
"""A fake microphone, which pages may use without asking."""
BLOCKED = Surroundings(
    ("--use-fake-device-for-media-stream", "--deny-permission-prompts"),
    (("media.navigator.permission.disabled", False), ("permissions.default.microphone", 2)),
)
"""A fake microphone, which pages are refused."""
NO_MICROPHONE = Surroundings(
    ("--use-fake-ui-for-media-stream",),
    # The loudspeaker that stands in for a missing one has a microphone as well.
    (("media.navigator.streams.fake", False), ("media.cubeb.force_mock_context", False)),
)
SOUND_UNASKED = Surroundings(("--autoplay-policy=no-user-gesture-required",))
"""Pages may play sound before they are clicked."""
SOUND_ASKED = Surroundings(firefox=(("media.autoplay.default", 1),))
"""Pages may play sound once they are clicked, as browsers have it by default."""
INSECURE_HOST = "voice.test"
INSECURE = Surroundings(
    (*ALLOWED.chromium, f"--host-resolver-rules=MAP {INSECURE_HOST} 127.0.0.1", "--no-proxy-server"),
    (("network.dns.localDomains", INSECURE_HOST),),
)
"""The machine has a name that browsers do not trust as they trust localhost."""


def _interface_address() -> str:
    """Return this machine's address on an interface, or that of loopback where it has no other."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, suppress(OSError):
        # Nothing is sent: this asks which address would be.
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])
    return "127.0.0.1"


INTERFACE = _interface_address()
"""Firefox has no candidates on loopback: its media goes by an interface of the machine."""
ICE_ADDRESSES = [f"--ice-address={address}" for address in sorted({"127.0.0.1", INTERFACE})]

FIREFOX_LINES = ("ICE failed", "The Same Origin Policy disallows", "The page’s settings blocked", "favicon.ico")
"""Firefox writes lines with these as errors: three repeat what a page is told, one is its own request."""

StartServer = Callable[..., "Server"]
OpenPage = Callable[..., Awaitable[Page]]
OpenBrowser = Callable[..., Awaitable["Windows"]]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all-browsers", action="store_true", help="run every browser test in Firefox too, where it can")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "browser_name" in metafunc.fixturenames:
        metafunc.parametrize("browser_name", ["chromium", "firefox"])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    share_loop(item for item in items if Path(__file__).parent in item.path.parents)
    every = config.getoption("--all-browsers", default=False)
    left_out = [item for item in items if not runs(item, every=every)]
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=left_out)


def runs(item: pytest.Item, *, every: bool) -> bool:
    """Return whether a test runs in the browser that it was given, where in all of them or only as its marks say."""
    if not isinstance(item, pytest.Function) or getattr(item, "callspec", None) is None:
        return True
    marks = {mark.name for mark in item.iter_markers()}
    match item.callspec.params.get("browser_name"):
        case "chromium":
            return "firefox_only" not in marks
        case "firefox":
            return "chromium_only" not in marks and (every or bool(marks & {"firefox", "firefox_only"}))
    return True


def share_loop(items: Iterable[pytest.Item]) -> None:
    """Have tests run in the event loop that the browsers are driven in."""
    for item in items:
        if is_async_test(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


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
        command = ["serve", "--host", "127.0.0.1", "--port", str(self.port), *ICE_ADDRESSES]
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


class Windows:
    """A browser as one test has it: what it opens there is its own, and is closed after it."""

    def __init__(self, browser: Browser, init_script: str = "") -> None:
        self._browser = browser
        self._init_script = init_script
        self._contexts: list[BrowserContext] = []

    async def new_context(self, **options: Any) -> BrowserContext:
        """Open a profile of its own."""
        context = await self._browser.new_context(**options)
        self._contexts.append(context)
        context.set_default_timeout(WAIT_MS)
        if self._init_script:
            await context.add_init_script(self._init_script)
        return context

    async def new_page(self, **options: Any) -> Page:
        """Open a page with a profile of its own."""
        return await (await self.new_context(**options)).new_page()

    async def close(self) -> None:
        """Leave every page, and close it.

        A page that is left ends its call. Of one that is closed, the server waits 15 seconds for a packet, and the next
        test for the server.
        """
        for context in self._contexts:
            leaving = (page.goto("about:blank", timeout=LEAVE_MS) for page in context.pages)
            await asyncio.gather(*leaving, return_exceptions=True)
            # A profile with a page that has crashed may never say that it is closed.
            with suppress(PlaywrightError, TimeoutError):
                async with asyncio.timeout(CLOSE_S):
                    await context.close()


class Browsers:
    """Browsers that are running: to start one takes longer than many a test."""

    def __init__(self, playwright: Playwright, folder: Path) -> None:
        self._playwright = playwright
        self._folder = folder
        self._running: dict[Hashable, Browser] = {}
        """By all in which they differ, the one that was used last at the end."""

    async def find(self, name: str, microphone: Path | None, surroundings: Surroundings) -> Windows:
        """Return a browser of this kind, started if none runs yet, whose microphone plays a file."""
        if name == "firefox":
            if INTERFACE == "127.0.0.1":
                pytest.skip("Firefox needs a network interface that is not loopback")
            browser = await self._running_or(surroundings.firefox, lambda: self._start_firefox(surroundings))
            # Each page is told what its microphone plays.
            return Windows(browser, microphone_script(microphone) if microphone else "")
        key = (microphone, *surroundings.chromium)
        return Windows(await self._running_or(key, lambda: self._start_chromium(microphone, surroundings)))

    async def _running_or(self, key: Hashable, start: Callable[[], Awaitable[Browser]]) -> Browser:
        browser = self._running.pop(key, None)
        if browser is None or not browser.is_connected():
            browser = await start()
        self._running[key] = browser
        while len(self._running) > MOST_BROWSERS:
            await self._running.pop(next(iter(self._running))).close()
        return browser

    async def close(self) -> None:
        for browser in self._running.values():
            with suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_S):
                    await browser.close()

    async def _start_chromium(self, microphone: Path | None, surroundings: Surroundings) -> Browser:
        program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
        assert program is not None, "The browser tests need Chromium; make test installs it."
        recording = [f"--use-file-for-fake-audio-capture={microphone}"] if microphone else []
        return await self._playwright.chromium.launch(
            executable_path=program, args=[*CHROMIUM_FLAGS, *surroundings.chromium, *recording]
        )

    async def _start_firefox(self, surroundings: Surroundings) -> Browser:
        assert shutil.which("firefox-esr") or shutil.which("firefox"), (
            "The browser tests need Firefox; make test installs it."
        )
        # The channel says that this is Mozilla's own Firefox, and not Playwright's.
        return await self._playwright.firefox.launch(
            channel="moz-firefox",
            executable_path=write_program(self._folder),
            firefox_user_prefs={**PREFERENCES, **dict(surroundings.firefox)},
        )


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browsers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browsers]:
    async with async_playwright() as playwright:
        browsers = Browsers(playwright, tmp_path_factory.mktemp("browsers"))
        yield browsers
        await browsers.close()


@pytest.fixture
def browser_name() -> str:
    """The kind of browser that a test runs in: ``chromium`` or ``firefox``."""
    return "chromium"


@pytest_asyncio.fixture(loop_scope="session")
async def open_browser(browsers: Browsers, browser_name: str) -> AsyncIterator[OpenBrowser]:
    """A function that finds a browser whose microphone plays a file, over and over."""
    async with AsyncExitStack() as stack:

        async def find(microphone: Path | None = None, surroundings: Surroundings = ALLOWED) -> Windows:
            windows = await browsers.find(browser_name, microphone, surroundings)
            stack.push_async_callback(windows.close)
            return windows

        yield find


@pytest_asyncio.fixture(loop_scope="session")
async def open_page(open_browser: OpenBrowser) -> AsyncIterator[OpenPage]:
    """A function that opens a URL in a fresh profile. Any error on a page's console fails the test."""
    errors: list[str] = []

    def note(error: PlaywrightError) -> None:
        if not any(text in str(error) for text in FIREFOX_LINES):
            errors.append(str(error))

    async def open_page(url: str, microphone: Path | None = None, **options: Any) -> Page:
        browser = await open_browser(microphone, **options)
        page = await browser.new_page()
        page.on("pageerror", note)
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
