"""A media node that is taken down under calls from a real browser."""

import asyncio
import re
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.browser.conftest import ICE_ADDRESSES, OpenPage
from tests.browser.test_page import expect_live, press
from tests.hosts.conftest import free_ports
from tests.hosts.processes import Process

LISTEN = """async () => {
    const { VoxgenderClient } = await import('/client/index.js');
    window.told = { states: [], sessions: [], results: [] };
    window.client = new VoxgenderClient('/whip');
    client.addEventListener('state', ({ detail }) => told.states.push(detail.state));
    client.addEventListener('session', ({ detail }) => told.sessions.push(detail));
    client.addEventListener('result', ({ detail: { seq, start } }) => {
        told.results.push([told.sessions.length, seq, start]);
    });
    await client.start();
    window.since_ms = performance.now();
}"""
STOP = "async () => [(performance.now() - since_ms) / 1000, (await client.stop()).duration]"
WATCH_THE_SCREEN = """() => {
    window.shown = [];
    const look = () => {
        const notice = document.getElementById('notice');
        shown.push(document.getElementById('status').textContent);
        if (!notice.hidden) shown.push(notice.textContent);
    };
    new MutationObserver(look).observe(document.body, { subtree: true, childList: true, attributes: true });
}"""


SECRET = {"VOXGENDER_SECRET": "the secret of two nodes under test"}
LOOPBACK = "127.0.0.1"


class Server(Process):
    """A command of ``voxgender`` on loopback."""

    def __init__(self, role: str, *options: str) -> None:
        (port,) = free_ports(LOOPBACK, 1)
        self.url = f"http://{LOOPBACK}:{port}"
        command = [sys.executable, "-m", "voxgender.cli", role, "--host", LOOPBACK, "--port", str(port), *options]
        super().__init__(role, command, SECRET)

    def calls(self) -> int:
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(f"{self.url}/metrics") as response:
            found = re.search(rb"^voxgender_sessions (\S+)$", response.read(), re.MULTILINE)
        return round(float(found[1])) if found else 0


@pytest.fixture
def nodes() -> Iterator[tuple[Server, Server]]:
    """Two media nodes. The second one is not started yet."""
    with ExitStack() as stack:
        first, second = (Server("media", *ICE_ADDRESSES, "--model", "off") for _ in range(2))
        for node in (first, second):
            stack.callback(node.kill)
        first.start()
        yield first, second


@pytest.fixture
def signaling(nodes: tuple[Server, Server]) -> Iterator[Server]:
    server = Server("signaling", *(f"--nodes={node.url}" for node in nodes))
    server.start()
    yield server
    server.stop()


async def test_a_node_that_is_taken_down_is_left_without_anybody_noticing(
    nodes: tuple[Server, Server], signaling: Server, open_page: OpenPage, babble: Path
) -> None:
    """The page, and beside it a client that is looked at more closely."""
    first, second = nodes
    page = await open_page(f"{signaling.url}/", babble)
    await press(page, "Start")
    await expect_live(page)
    await page.evaluate(LISTEN)
    await page.wait_for_function("told.results.length >= 5")
    await page.evaluate(WATCH_THE_SCREEN)
    assert first.calls() == 2
    await second.restart()
    first.ask_to_stop()
    assert await asyncio.to_thread(first.wait) == 0, "it ends by itself once its callers have gone"
    assert second.calls() == 2
    await page.wait_for_function("told.results.filter(([call]) => call === 2).length >= 5")
    elapsed_s, heard_s = await page.evaluate(STOP)
    told = await page.evaluate("told")
    assert told["states"] == ["requesting-microphone", "connecting", "live", "stopped"]
    assert told["results"] == sorted(told["results"]), "one call after the other"
    assert len({tuple(result) for result in told["results"]}) == len(told["results"]), "nothing is told twice"
    fresh, taken_over = told["sessions"]
    assert fresh["resumedAt"] == 0
    first_start_s = next(start for call, _, start in told["results"] if call == 2)
    # Not equal in any case: a result that comes before its data channel is open is lost.
    assert first_start_s >= taken_over["resumedAt"], "nothing of the new call is told that the old one has told"
    assert not any("from" in session["hello"] for session in told["sessions"]), "a message of the server stays its own"
    assert heard_s == pytest.approx(elapsed_s, abs=1.0), "no stretch of the voice is left out or counted twice"
    assert set(await page.evaluate("shown")) == {"Live"}
    await press(page, "Stop")
    await expect(page.locator("#eyebrow")).to_have_text("Summary")
