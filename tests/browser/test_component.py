"""The component and the library in pages of other people: strict, framed, bundled twice, or slow to load."""

from pathlib import Path

import pytest
from playwright.async_api import ConsoleMessage, Page, Route, expect

from tests.browser.conftest import OpenPage, Server
from tests.browser.test_page import ANY_LABEL, expect_no_sessions

STRICT = (
    "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; require-trusted-types-for 'script'"
)


async def serve(page: Page, path: str, body: str, **headers: str) -> None:
    """Have the page find this at the path of its own origin."""

    async def answer(route: Route) -> None:
        kind = "text/javascript" if path.endswith(".js") else "text/html"
        await route.fulfill(body=body, content_type=kind, headers=headers)

    await page.route(f"**/{path}", answer)


def is_complaint(message: ConsoleMessage) -> bool:
    # Chromium asks for an icon of its own accord, now and then, and names it beside the text alone.
    return message.type == "error" and "favicon" not in message.text + message.location["url"]


USE = """
const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
const element = document.querySelector('voxgender-voice');
element.source = stream.getAudioTracks()[0];
element.token = 'of the page';
const setBefore = !customElements.get('voxgender-voice');
await import('/client/voxgender-voice.js');
const first = customElements.get('voxgender-voice');
await import('/client/voxgender-voice.js?again');
const sameClass = customElements.get('voxgender-voice') === first;
element.dataset.seen = JSON.stringify([setBefore, sameClass, Object.keys(element)]);
"""


@pytest.mark.firefox
async def test_a_strict_page_that_sets_the_source_first_and_loads_the_component_twice_shows_the_label(
    server: Server, open_page: OpenPage, babble: Path
) -> None:
    """The component stayed empty, never listened, or threw: each without a word to the page's maker."""
    page = await open_page(f"{server.url}client/mark.svg", babble)
    refused: list[str] = []
    page.on("console", lambda message: refused.append(message.text) if is_complaint(message) else None)
    element_html = "<voxgender-voice></voxgender-voice>"
    body = f'<!doctype html><script type="module" src="/strict.js"></script>{element_html}'
    await serve(page, "strict", body, **{"Content-Security-Policy": STRICT})
    await serve(page, "strict.js", USE)
    await page.goto(f"{server.url}strict")
    element = page.locator("voxgender-voice")
    await expect(element).to_have_attribute("data-seen", "[true,true,[]]")
    # Frameworks set attributes after properties as often as before.
    await element.evaluate("element => element.setAttribute('endpoint', '/whip')")
    await expect(element.locator(".word")).to_have_text(ANY_LABEL)
    await expect(element).to_have_attribute("data-transport", "webrtc")
    assert await element.evaluate("element => [element.token, getComputedStyle(element).display]") == [
        "of the page",
        "inline-flex",
    ]
    assert not refused
    await element.evaluate("element => element.remove()")
    await expect_no_sessions(server)


FRAME = """([src, allow]) => new Promise((resolve) => {
    const frame = document.createElement('iframe');
    document.body.append(Object.assign(frame, { src, allow, onload: resolve }));
})"""
FRAMED = """async () => {
    const { openMicrophone, explain } = await import('/client/index.js');
    try {
        (await openMicrophone()).stop();
        return ['given', ''];
    } catch (error) {
        return [error.code, explain(error).advice];
    }
}"""


async def test_a_frame_that_is_not_given_the_microphone_tells_the_pages_maker_how(
    server: Server, open_page: OpenPage
) -> None:
    """The advice was to allow it in the address bar, which no visitor can."""
    page = await open_page(server.url)
    told = {}
    for allow in ("", "microphone"):
        await page.evaluate(FRAME, [f"http://localhost:{server.port}/client/mark.svg", allow])
        told[allow] = await page.frames[-1].evaluate(FRAMED)
    assert told["microphone"] == ["given", ""]
    code, advice = told[""]
    assert code == "withheld"
    assert 'allow="microphone"' in advice


# The notice is gone as soon as the microphone that was opened anew gives sound.
DEAD_AT_FIRST = """() => {
    window.notices = new Set();
    const note = () => notices.add(document.getElementById('notice-title').textContent.trim());
    new MutationObserver(note).observe(document.body, { subtree: true, childList: true, characterData: true });
    const get = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
    window.asked = 0;
    navigator.mediaDevices.getUserMedia = async (constraints) => {
        asked += 1;
        if (asked > 1) return get(constraints);
        // Live, and exact zeros: a device that has hung.
        const context = new AudioContext();
        const output = context.createMediaStreamDestination();
        new ConstantSourceNode(context, { offset: 0 }).connect(output);
        return output.stream;
    };
}"""


async def test_a_microphone_that_has_hung_is_said_and_opened_anew(
    server: Server, open_page: OpenPage, babble: Path
) -> None:
    """It gives exact zeros and stays live; the page said "No speech" for ever."""
    page = await open_page(server.url, babble)
    await page.evaluate(DEAD_AT_FIRST)
    await page.get_by_role("button", name="Start").click()
    await page.wait_for_function("notices.has('The microphone gives no sound')")
    await expect(page.get_by_role("alert")).to_be_hidden()
    assert await page.evaluate("asked") == 2
    await page.get_by_role("button", name="Stop").click()
    await expect_no_sessions(server)


FOLLOW = """async () => {
    const { VoxgenderClient, tap } = await import('/client/index.js');
    const open = async () => (await navigator.mediaDevices.getUserMedia({ audio: true })).getAudioTracks()[0];
    window.states = [];
    window.latest = null;
    window.call = { track: await open(), muted: false };
    window.client = new VoxgenderClient('/whip');
    client.addEventListener('state', ({ detail }) => states.push(detail.state));
    client.addEventListener('result', ({ detail }) => (window.latest = detail));
    window.voice = tap(() => call.track, { muted: () => call.muted });
    await client.start(voice);
    window.change = async () => {
        call.track.stop();
        call.track = await open();
    };
}"""
HEARD = "latest && latest.label !== 'no_speech'"
SILENT = "latest && latest.label === 'no_speech'"


@pytest.mark.firefox
async def test_a_tap_follows_the_call_from_one_microphone_to_the_next(
    server: Server, open_page: OpenPage, babble: Path
) -> None:
    """Calls stop the old track before they have the new one, and that ended the client."""
    await expect_no_sessions(server)
    page = await open_page(server.url, babble)
    await page.evaluate(FOLLOW)
    await page.wait_for_function(HEARD)
    await page.evaluate("change()")
    await page.wait_for_function("client.track?.readyState === 'live'")
    await page.evaluate("window.latest = null")
    await page.wait_for_function(HEARD)
    # Muted as LiveKit does with stopOnMute: there is no track then.
    await page.evaluate("call.track.stop()")
    await page.wait_for_function("client.track === null")
    await page.wait_for_function(SILENT)
    await page.evaluate("change()")
    await page.wait_for_function(HEARD)
    # Muted at another track than the one that is sent, as with Jitsi's effects.
    await page.evaluate("call.muted = true")
    await page.wait_for_function(SILENT)
    assert await page.evaluate("states") == ["connecting", "live"]
    assert len(server.sessions()) == 1
    await page.evaluate("voice.stop()")
    await page.wait_for_function("client.state === 'stopped'")
    await expect_no_sessions(server)
