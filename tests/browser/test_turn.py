"""A browser behind a firewall that lets nothing out but the way to a TURN server."""

import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from tests.browser.conftest import ALLOWED, INTERFACE, OpenPage, StartServer, Surroundings
from tests.browser.test_page import expect_no_sessions
from tests.turn import SECRET, Coturn, a_turn_server
from voxgender.http.iceservers import IceServers

# The test's TURN server has signed its certificate itself.
TRUSTING = Surroundings((*ALLOWED.chromium, "--ignore-certificate-errors"))

KEEP_CONNECTIONS = """
    window.connections = [];
    window.RTCPeerConnection = class extends RTCPeerConnection {
        constructor(...configuration) { super(...configuration); window.connections.push(this); }
    };
"""
PATHS_IN_USE = """async () => {
    const paths = [];
    for (const connection of window.connections) {
        const stats = await connection.getStats();
        const all = [...stats.values()];
        for (const { id, type, selected, localCandidateId } of all) {
            // Firefox tells nothing of transports, and marks the pair itself.
            const isInUse = selected || all.some(({ selectedCandidatePairId }) => selectedCandidatePairId === id);
            if (type !== 'candidate-pair' || !isInUse) continue;
            const { candidateType, relayProtocol } = stats.get(localCandidateId);
            paths.push([candidateType, relayProtocol]);
        }
    }
    return paths;
}"""

OTHER_LINK = """
    const ask = window.fetch;
    window.fetch = async (...request) => {
        const response = await ask(...request);
        const { status } = response;
        const headers = new Headers(response.headers);
        if (headers.has('Link')) headers.set('Link', link);
        return new Response(response.body, { status, headers });
    };
"""


@pytest_asyncio.fixture(loop_scope="session")
async def coturn(tmp_path: Path) -> AsyncIterator[Coturn]:
    async with a_turn_server(tmp_path, INTERFACE) as coturn:
        yield coturn


async def start(page: Page, url: str) -> None:
    await page.add_init_script(KEEP_CONNECTIONS)
    await page.goto(f"{url}#relay=only")
    await page.get_by_role("button", name="Start").click()


@pytest.mark.parametrize(
    "transport",
    [
        pytest.param("udp", marks=pytest.mark.firefox),
        "tcp",
        pytest.param(
            "tls", marks=pytest.mark.chromium_only("Firefox has no flag to trust a TURN server that signed itself.")
        ),
    ],
)
async def test_a_call_goes_by_the_relay_alone(
    coturn: Coturn, start_server: StartServer, open_page: OpenPage, babble: Path, transport: str
) -> None:
    server = start_server("--model", "off", "--ice-server", coturn.uri(transport), "--turn-secret", SECRET)
    page = await open_page("about:blank", babble, surroundings=TRUSTING)
    await start(page, server.url)
    await expect(page.locator("#status")).to_have_text("Live")
    await expect(page.locator("#word")).to_have_text("Uncertain")
    assert await page.evaluate(PATHS_IN_USE) == [["relay", transport]]
    await page.get_by_role("button", name="Stop").click()
    await expect(page.locator("#eyebrow")).to_have_text("Summary")


@pytest.mark.parametrize("fault", ["another secret", "expired"])
async def test_a_login_that_the_turn_server_does_not_take_is_told_in_plain_words(
    coturn: Coturn, start_server: StartServer, open_page: OpenPage, babble: Path, fault: str
) -> None:
    secret = SECRET if fault == "expired" else "south"
    server = start_server("--model", "off", "--ice-server", coturn.uri("udp"), "--turn-secret", secret)
    page = await open_page("about:blank", babble, surroundings=TRUSTING)
    if fault == "expired":
        # No server gives one that is over already, so it is put into the answer.
        an_hour_ago = IceServers(
            [coturn.uri("udp")], turn_secret=SECRET, turn_ttl_s=0, clock=lambda: time.time() - 3_600
        )
        (link,) = an_hour_ago.links(subject=None)
        await page.add_init_script(f"const link = {json.dumps(link)};{OTHER_LINK}")
    await start(page, server.url)
    await expect(page.get_by_role("alert")).to_contain_text("No way through the relay")
    await expect(page.get_by_role("alert")).to_contain_text("did not take the login")
    await page.get_by_role("button", name="Stop").click()
    await expect_no_sessions(server)


async def test_no_turn_server_at_all_is_told_as_soon(
    start_server: StartServer, open_page: OpenPage, babble: Path
) -> None:
    page = await open_page("about:blank", babble)
    await start(page, start_server("--model", "off").url)
    await expect(page.get_by_role("alert")).to_contain_text("No way through the relay")
