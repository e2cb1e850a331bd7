"""The WebSocket fallback in pages of other people: strict, of another origin, sandboxed, or not clicked yet."""

import pytest
from playwright.async_api import Frame, Page

from tests.browser.conftest import SOUND_ASKED, OpenPage, Server
from tests.browser.test_component import STRICT
from tests.browser.test_page import expect_no_sessions

HEAR = """async ([policy, base, options]) => {
    const { VoxgenderClient } = await import(`${base}client/index.js`);
    const meta = document.createElement('meta');
    Object.assign(meta, { httpEquiv: 'Content-Security-Policy', content: policy });
    if (policy) document.head.append(meta);
    const broken = [];
    document.addEventListener('securitypolicyviolation', ({ effectiveDirective }) => broken.push(effectiveDirective));
    // Of a call that says nothing, so that the page needs no microphone.
    const { track } = new RTCPeerConnection().addTransceiver('audio').receiver;
    const client = new VoxgenderClient(`${base}whip`, {
        transport: 'websocket', reconnectPolicy: () => null, ...options,
    });
    const result = new Promise((resolve) => client.addEventListener('result', resolve));
    try {
        await client.start(track);
        await result;
        await client.stop();
        return ['heard', '', broken];
    } catch (error) {
        return [error.code, error.message, broken];
    }
}"""


async def hear(page: Page | Frame, base: str, policy: str = "", **options: str) -> tuple[str, str, list[str]]:
    """Listen over a WebSocket, in a page that counts as clicked.

    Returns:
        ``heard``, or an error's code; its message; the directives of the policy that were broken.
    """
    code, message, broken = await page.evaluate(HEAR, [policy, base, options])
    return code, message, broken


@pytest.mark.firefox
async def test_a_strict_page_falls_back_without_a_directive_of_its_own(server: Server, open_page: OpenPage) -> None:
    """The policy was blamed for what Local Network Access did: Chromium lets no page that a test has made up, and
    that comes from no address, open a WebSocket to loopback."""
    page = await open_page(server.url)
    assert await hear(page, server.url, STRICT) == ("heard", "", [])
    await expect_no_sessions(server)


@pytest.mark.parametrize(
    ("policy", "options", "forbidden"),
    [
        ("script-src 'self'; connect-src 'none'", {}, "http://127.0.0.1:{port}: add it to connect-src"),
        ("script-src 'self'; connect-src http:", {}, "ws://127.0.0.1:{port}: add it to connect-src"),
        (
            "script-src 'self'",
            {"workletUrl": "http://localhost:{port}/client/capture-worklet.js"},
            "http://localhost:{port}: add it to script-src",
        ),
    ],
    ids=["no requests", "no WebSocket", "no worklet"],
)
async def test_what_a_policy_forbids_is_told_by_its_directive(
    server: Server, open_page: OpenPage, policy: str, options: dict[str, str], forbidden: str
) -> None:
    """It was "connection lost" for ever. Chromium closes no WebSocket that it forbids, and reports no worklet."""
    page = await open_page(server.url)
    given = {name: value.format(port=server.port) for name, value in options.items()}
    code, message, _ = await hear(page, server.url, policy, **given)
    assert (code, message) == (
        "content_policy",
        f"The page's Content-Security-Policy forbids {forbidden.format(port=server.port)}",
    )
    await expect_no_sessions(server)


async def test_a_page_of_another_origin_falls_back(server: Server, open_page: OpenPage) -> None:
    """Its worklet comes from the server's origin, and needs CORS."""
    page = await open_page(f"http://localhost:{server.port}/")
    assert await hear(page, server.url) == ("heard", "", [])
    await expect_no_sessions(server)


SANDBOX = """([src, sandbox]) => new Promise((resolve) => {
    const frame = document.createElement('iframe');
    document.body.append(Object.assign(frame, { src, sandbox, onload: resolve }));
})"""


async def test_a_sandboxed_frame_falls_back(server: Server, open_page: OpenPage) -> None:
    """Its origin is none at all: ``null``."""
    page = await open_page(server.url)
    await page.evaluate(SANDBOX, [f"{server.url}client/mark.svg", "allow-scripts"])
    assert await hear(page.frames[-1], server.url) == ("heard", "", [])
    await expect_no_sessions(server)


UNASKED = """addEventListener('load', async () => {
    const { VoxgenderClient, explain } = await import('/client/index.js');
    const { track } = new RTCPeerConnection().addTransceiver('audio').receiver;
    window.states = [];
    window.client = new VoxgenderClient('/whip', { transport: 'websocket', reconnectPolicy: () => 600_000 });
    client.addEventListener('state', ({ detail: { state, error, retryMs } }) => {
        states.push(error ? explain(error).title : state);
        if (retryMs) console.log('waits');
        if (state === 'live') console.log('live');
    });
    client.start(track);
});
"""


async def test_a_page_that_nobody_has_clicked_says_so_and_goes_on_at_the_click(
    server: Server, open_page: OpenPage
) -> None:
    """The next try was up to ten seconds away."""
    page = await open_page("about:blank", surroundings=SOUND_ASKED)
    await page.add_init_script(UNASKED)
    # It tells by its console: what a test evaluates in Chromium counts as a click.
    async with page.expect_console_message(lambda message: message.text == "waits"):
        await page.goto(f"{server.url}client/call.html")
    async with page.expect_console_message(lambda message: message.text == "live"):
        await page.mouse.click(1, 1)
    waits = "The browser waits for you"
    assert await page.evaluate("states") == ["connecting", waits, waits, "live"]
    await page.evaluate("client.stop()")
    await expect_no_sessions(server)
