"""The page and the client in Firefox."""

import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.browser.conftest import Server, StartServer
from tests.browser.firefox import FirefoxPage, a_firefox
from tests.browser.test_page import expect_no_sessions


@pytest.fixture
async def firefox(tmp_path: Path) -> AsyncIterator[FirefoxPage]:
    async with a_firefox(tmp_path / "profile") as page:
        yield page


@pytest.fixture
def server(start_server: StartServer) -> Server:
    """Firefox has no candidates on loopback: media goes by an interface of the machine."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Nothing is sent: this asks which address would be.
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("Firefox needs a network interface that is not loopback")
        address = probe.getsockname()[0]
    return start_server("--ice-address", address)


def text(element: str) -> str:
    return f"document.getElementById('{element}').textContent"


async def test_a_call_of_the_page_is_heard_and_summed_up(server: Server, firefox: FirefoxPage) -> None:
    await firefox.goto(server.url)
    await firefox.evaluate("document.getElementById('toggle').click()")
    await firefox.wait_for(f"{text('status')} === 'Live'")
    await firefox.wait_for(f"['Male', 'Female', 'Uncertain', 'No speech'].includes({text('word')})")
    assert len(server.sessions()) == 1
    await firefox.evaluate("document.getElementById('toggle').click()")
    await firefox.wait_for(f"{text('eyebrow')} === 'Summary'")
    await expect_no_sessions(server)


LISTEN = """(async () => {
    const { VoxgenderClient, tap } = await import('/client/index.js');
    const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
    [window.track] = stream.getAudioTracks();
    window.voice = tap(track);
    window.warnings = [];
    window.client = new VoxgenderClient('/whip');
    client.addEventListener('result', ({ detail }) => (window.latest = detail));
    client.addEventListener('warning', ({ detail }) => warnings.push(detail.code));
    await client.start(%s);
})()"""


@pytest.mark.parametrize("given", ["track", "voice.track"])
async def test_a_track_that_its_owner_stops_ends_the_call(server: Server, firefox: FirefoxPage, given: str) -> None:
    """Firefox fires no event at a track that a script has stopped, nor at a clone of it: the call went on for ever."""
    await firefox.goto(f"{server.url}client/index.js")
    await firefox.evaluate(LISTEN % given)
    await firefox.wait_for("window.latest")
    await firefox.evaluate("track.stop()")
    await firefox.wait_for("client.state === 'stopped'")
    await expect_no_sessions(server)


async def test_a_muted_microphone_is_no_warning(server: Server, firefox: FirefoxPage) -> None:
    await firefox.goto(f"{server.url}client/index.js")
    await firefox.evaluate(LISTEN % "track")
    await firefox.wait_for("window.latest")
    await firefox.evaluate("void (track.enabled = false)")
    await firefox.wait_for("latest.label === 'no_speech' && latest.end > 6")
    assert await firefox.evaluate("warnings") == []
    await firefox.evaluate("client.stop()")
    await expect_no_sessions(server)
