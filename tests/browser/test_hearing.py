"""A client in a real browser that looks after what it sends and what it hears."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Page

from tests.browser.conftest import INTERFACE, OpenPage, Server
from tests.browser.test_page import expect_no_sessions
from tests.nat import Nat

LISTEN = """async () => {
    const { VoxgenderClient, tap } = await import('/client/index.js');
    window.told = [];
    window.client = new VoxgenderClient('/whip');
    const Plain = RTCPeerConnection;
    window.connections = [];
    window.RTCPeerConnection = class extends Plain {
        constructor(...args) { super(...args); connections.push(this); }
    };
    for (const type of ['state', 'warning']) {
        client.addEventListener(type, ({ detail: { state, code, error } }) => {
            told.push([type, state ?? code, error?.code]);
        });
    }
    window.heardAt = [];
    client.addEventListener('result', ({ detail }) => {
        window.latest = detail;
        heardAt.push(performance.now());
    });
    const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
    const [track] = stream.getAudioTracks();
    window.track = track;
    await client.start(GIVEN);
}"""


async def listen(page: Page, given: str = "") -> None:
    """Have a client listen to what an expression gives of the microphone's ``track``, or to one of its own."""
    await page.evaluate(LISTEN.replace("GIVEN", given))
    await page.wait_for_function("window.latest")


@pytest.mark.firefox
@pytest.mark.parametrize("given", ["track", "tap(track).track"])
async def test_a_track_that_its_owner_stops_ends_the_call(
    server: Server, open_page: OpenPage, babble: Path, given: str
) -> None:
    """``stop()`` fires no event: the client stayed live, and the server went on listening to nothing.

    Firefox fires none at a clone either, whichever way the track that it was cloned from has ended.
    """
    page = await open_page(server.url, babble)
    await listen(page, given)
    await page.evaluate("track.stop()")
    await page.wait_for_function("client.state === 'stopped'")
    await expect_no_sessions(server)


PACKETS_SENT = """async () => {
    const stats = [...(await connections[0].getStats()).values()];
    return stats.find(({ type }) => type === 'outbound-rtp').packetsSent;
}"""


@pytest.mark.firefox
async def test_pauses_of_a_speaker_and_mute_are_no_warning(
    server: Server, open_page: OpenPage, silence: Path, browser_name: str
) -> None:
    """Chromium sends a packet each 850 ms in silence; each was told as ``no_media``."""
    page = await open_page(server.url, silence)
    await listen(page, "track")
    await page.evaluate("track.enabled = false")
    before = await page.evaluate(PACKETS_SENT)
    await page.evaluate("window.since = latest.end")
    await page.wait_for_function("latest.label === 'no_speech' && latest.end > since + 5")
    if browser_name == "chromium":
        # Firefox sends silence in full.
        assert await page.evaluate(PACKETS_SENT) - before < 100, "it was to pause"
    assert await page.evaluate("told.filter(([type]) => type === 'warning')") == []
    assert await page.evaluate("client.state") == "live"
    # A sender without a track sends nothing at all.
    await page.evaluate("connections[0].getSenders()[0].replaceTrack(null)")
    await page.wait_for_function("told.some(([, code]) => code === 'no_media')")
    await page.evaluate("client.stop()")
    await expect_no_sessions(server)


TRANSLATE = """() => {
    const { prototype } = RTCPeerConnection;
    const set = prototype.setRemoteDescription;
    prototype.setRemoteDescription = async function ({ type, sdp }) {
        return set.call(this, { type, sdp: await translate(sdp) });
    };
}"""


@asynccontextmanager
async def behind_nat(page: Page) -> AsyncIterator[list[Nat]]:
    """Have a page's first call go by a NAT of ours, which is in the list then; others go straight to the server."""
    nats: list[Nat] = []

    async def translate(sdp: str) -> str:
        if nats:
            return sdp
        (port,) = set(re.findall(rf"^a=candidate:.* {re.escape(INTERFACE)} (\d+) typ host", sdp, re.MULTILINE))
        nats.append(Nat((INTERFACE, int(port))))
        _, inside = await nats[0].open()
        # There is no other way.
        lines = [line for line in sdp.splitlines() if "a=candidate:" not in line or f" {INTERFACE} {port} " in line]
        return "\r\n".join([*lines, ""]).replace(f" {INTERFACE} {port} ", f" {INTERFACE} {inside} ")

    await page.expose_function("translate", translate)
    await page.evaluate(TRANSLATE)
    try:
        yield nats
    finally:
        for nat in nats:
            nat.close()


async def test_a_call_of_which_nothing_is_heard_though_it_lives_is_made_again(
    server: Server, open_page: OpenPage, babble: Path
) -> None:
    """The way back was gone, and the client stayed live for half a minute, with a label that no longer changed."""
    page = await open_page(server.url, babble)
    async with behind_nat(page) as nats:
        await listen(page)
        nats[0].way_back = False
        await page.wait_for_function("told.some(([, state]) => state === 'reconnecting')")
        await page.evaluate("window.latest = null")
        await page.wait_for_function("client.state === 'live' && window.latest")
        assert await page.evaluate("connections.length") == 2
        assert await page.evaluate("connections[0].connectionState") == "closed"
        *_, reconnecting, live = await page.evaluate("told")
        assert reconnecting == ["state", "reconnecting", "unheard"]
        assert live[:2] == ["state", "live"]
        await page.evaluate("client.stop()")
        await expect_no_sessions(server)
