"""A network that lets no UDP through: the voice goes over a WebSocket."""

import re
from pathlib import Path

import pytest
from playwright.async_api import Page, Request, expect

from tests.browser.conftest import OpenPage, Server, StartServer, Surroundings
from tests.browser.test_page import choose_another_microphone, expect_live, expect_no_sessions, press

PROXY_ONLY = Surroundings(firefox=(("media.peerconnection.ice.proxy_only", True),))
NOWHERE = """() => {
    // Candidates lead to an address that nobody has (RFC 5737): what is sent there is lost, as behind a firewall.
    const { prototype } = RTCPeerConnection;
    const set = prototype.setRemoteDescription;
    window.blocked = true;
    prototype.setRemoteDescription = function ({ type, sdp }) {
        const lost = sdp.replace(/^(a=candidate:\\S+ \\d \\S+ \\d+) \\S+/gm, '$1 203.0.113.77');
        return set.call(this, { type, sdp: blocked ? lost : sdp });
    };
}"""


async def test_the_page_goes_over_a_websocket_where_udp_is_blocked_and_tries_webrtc_again_later(
    server: Server, open_page: OpenPage, babble: Path
) -> None:
    await expect_no_sessions(server)
    page = await open_page(server.url, babble)
    await page.evaluate(NOWHERE)
    await press(page, "Start")
    await expect_live(page)
    await expect(page.locator("#transport")).to_have_text("WebSocket")
    await expect(page.get_by_role("alert")).to_be_hidden()
    await expect(page.locator("#latency")).to_have_text(re.compile(r"^\d+ ms$"))
    assert len(server.sessions()) == 1
    await choose_another_microphone(page)
    spoken = await page.locator("#speech").inner_text()
    await expect(page.locator("#speech")).not_to_have_text(spoken)
    await press(page, "Stop")
    await expect(page.locator("#eyebrow")).to_have_text("Summary")
    await expect_no_sessions(server)
    await page.evaluate("window.blocked = false")
    await press(page, "Start")
    await expect_live(page)
    await expect(page.locator("#transport")).to_have_text("WebRTC")
    await press(page, "Stop")
    await expect_no_sessions(server)


@pytest.mark.firefox_only("Chromium's policy for the same leaves it a way to this machine.")
async def test_a_browser_that_may_use_a_proxy_alone_goes_over_a_websocket(
    server: Server, open_page: OpenPage, babble: Path
) -> None:
    """With no proxy to go by, it gathers no candidate at all."""
    page = await open_page(server.url, babble, surroundings=PROXY_ONLY)
    await press(page, "Start")
    await expect_live(page)
    await expect(page.locator("#transport")).to_have_text("WebSocket")
    assert len(server.sessions()) == 1
    await press(page, "Stop")
    await expect(page.locator("#eyebrow")).to_have_text("Summary")
    await expect_no_sessions(server)


LISTEN = """async () => {
    const { VoxgenderClient } = await import('/client/index.js');
    const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
    [window.track] = stream.getAudioTracks();
    window.client = new VoxgenderClient('/whip', { transport: 'websocket' });
    window.told = [];
    client.addEventListener('state', ({ detail }) => told.push(`${detail.state} ${detail.transport}`));
    client.addEventListener('session', ({ detail }) => (window.resumedAt = detail.resumedAt));
    client.addEventListener('result', ({ detail }) => (window.latest = detail));
    document.onclick = () => client.start(track);
}"""


async def listen(page: Page) -> None:
    await page.evaluate(LISTEN)
    # A page that was not clicked gets no sound.
    await page.mouse.click(1, 1)
    await page.wait_for_function("window.latest && latest.label !== 'no_speech' && latest.end > 1")


async def test_a_call_over_a_websocket_is_muted_and_outlives_its_server(
    start_server: StartServer, open_page: OpenPage, babble: Path
) -> None:
    """A server that stops closes with 1001: the client comes again, and its times go on."""
    server = start_server("--drain-timeout-s", "1")
    page = await open_page(server.url, babble)
    asked: list[str] = []

    def note(request: Request) -> None:
        # Firefox tells the WebSocket as well.
        if request.method == "POST" and "/listen" in request.url:
            asked.append(request.url)

    page.on("request", note)
    await listen(page)
    await page.evaluate("track.enabled = false")
    await page.wait_for_function("latest.label === 'no_speech'")
    await page.evaluate("track.enabled = true")
    await page.wait_for_function("latest.label !== 'no_speech'")
    told_s = await page.evaluate("latest.end")
    server.stop()
    await page.wait_for_function("client.state === 'reconnecting'")
    server.start()
    await page.wait_for_function("client.state === 'live'")
    resumed_at = await page.evaluate("resumedAt")
    assert resumed_at >= told_s
    assert f"from_ms={round(resumed_at * 1_000)}" in asked[-1]
    await page.wait_for_function(f"latest.end > {resumed_at}")
    total = await page.evaluate("client.total.duration")
    assert total < resumed_at + 10
    summary = await page.evaluate("client.stop()")
    assert resumed_at < summary["duration"] < resumed_at + 30
    assert await page.evaluate("told[1]") == "live websocket"
    await expect_no_sessions(server)


TELLS_LITTLE = """async () => {
    const { VoxgenderClient } = await import('/client/index.js');
    const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
    const [track] = stream.getAudioTracks();
    window.left_out = 0;
    window.clients = [{ messages: ['change'] }, { hopMs: 1_920 }].map((options) => {
        const client = new VoxgenderClient('/whip', { transport: 'websocket', ...options });
        client.addEventListener('warning', ({ detail }) => (window.left_out += detail.code === 'slow_network'));
        return client;
    });
    document.onclick = () => clients.forEach((client) => client.start(track));
}"""

SUM_UP = """async () => {
    await new Promise((resolve) => setTimeout(resolve, 2_400));
    return (await Promise.all(clients.map((client) => client.stop()))).map(({ duration }) => duration);
}"""


async def test_calls_over_a_websocket_that_tell_little_are_heard_for_as_long_as_they_last(
    server: Server, open_page: OpenPage, babble: Path
) -> None:
    """After 1.5 s of which no result had told, all sound was left out, and no result came for want of sound."""
    page = await open_page(server.url, babble)
    await page.evaluate(TELLS_LITTLE)
    await page.mouse.click(1, 1)
    await page.wait_for_function("clients.every(({ state }) => state === 'live')")
    durations = await page.evaluate(SUM_UP)
    assert all(duration > 1.8 for duration in durations), durations
    assert await page.evaluate("left_out") == 0
    await expect_no_sessions(server)


BALANCED_LINE = """() => {
    const context = new AudioContext();
    const microphone = context.createMediaStreamSource(new MediaStream([track]));
    const inverse = new GainNode(context, { gain: -1 });
    const channels = new ChannelMergerNode(context, { numberOfInputs: 2 });
    const line = new MediaStreamAudioDestinationNode(context, { channelCount: 2 });
    microphone.connect(channels, 0, 0);
    microphone.connect(inverse).connect(channels, 0, 1);
    channels.connect(line);
    const [stereo] = line.stream.getAudioTracks();
    // By now the label is that of the microphone's own track.
    window.since = client.total.duration + 2;
    return client.replaceTrack(stereo);
}"""


async def test_a_voice_with_one_channel_inverted_is_heard_over_a_websocket(
    server: Server, open_page: OpenPage, babble: Path
) -> None:
    """The browser brought a balanced line in a stereo jack to one channel itself, which was silence."""
    page = await open_page(server.url, babble)
    await listen(page)
    await page.evaluate(BALANCED_LINE)
    await page.wait_for_function("latest.end > since && latest.label !== 'no_speech'")
    await page.evaluate("client.stop()")
    await expect_no_sessions(server)
