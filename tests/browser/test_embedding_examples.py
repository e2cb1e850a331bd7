"""The examples for browsers of ``docs/embedding.md``, in pages as their readers would make them."""

import re
from pathlib import Path

from playwright.async_api import Page, Route, expect

from tests.browser.conftest import OpenPage, Server
from tests.browser.test_page import ANY_LABEL, expect_no_sessions

DOCUMENT = (Path(__file__).parents[2] / "docs" / "embedding.md").read_text().partition("\n## In Python\n")[0]
EXAMPLES = re.findall(r"^```(?:html|js|jsx)\n(.*?)^```", DOCUMENT, re.DOTALL | re.MULTILINE)
SOUND, ROOM, TAPPED, LINES, ELEMENT, SHOWN, HOOK, TOKEN = EXAMPLES
"""All of them. `make sdks` runs the lines for SDKs, and a hook in React and in Vue."""

ON_A_CALL = """
<script type="importmap">{"imports": {"voxgender": "/client/index.js"}}</script>
<script type="module">
    const call = { isMuted: false };
    [call.audioTrack] = (await navigator.mediaDevices.getUserMedia({ audio: true })).getAudioTracks();
    let heard;
    const told = new Promise((resolve) => (heard = resolve));
    const room = { send: ({ label }) => heard(label) };
    EXAMPLE
    client.addEventListener('state', ({ detail }) => console.log(detail.state));
</script>
"""
IN_A_ROOM = """
<script type="module">
    import { VoxgenderClient } from '/client/index.js';

    const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
    const [track1, track2, track3] = Array.from({ length: 3 }, () => stream.getAudioTracks()[0].clone());
    const show = (name, label) => console.log(name);
    EXAMPLE
    console.log(`bob ${Math.min(male, female) >= 0}, ${[...client.tracks.keys()]}`);
    window.client = client;
</script>
"""
ON_THE_ELEMENT = """
<script type="module">
    import { tap } from '/client/index.js';

    const [track] = (await navigator.mediaDevices.getUserMedia({ audio: true })).getAudioTracks();
    const voice = tap(track);
    const result = { label: 'male', confidence: 0.9 };
    const element = document.querySelector('voxgender-voice');
    EXAMPLE
</script>
"""
WITH_A_TOKEN = """
<script type="module">
    import { VoxgenderClient } from '/client/index.js';

    EXAMPLE
    client.addEventListener('hello', () => console.log('hello'));
    await client.start((await navigator.mediaDevices.getUserMedia({ audio: true })).getAudioTracks()[0]);
    window.client = client;
</script>
"""


async def open_example(open_page: OpenPage, server: Server, microphone: Path, body: str) -> Page:
    """Open a page of the server's origin, which is not loaded yet: ``/example``."""
    page = await open_page(f"{server.url}client/mark.svg", microphone)

    async def answer(route: Route) -> None:
        html = f"<!doctype html><body>{body.replace('https://voice.example/', server.url)}</body>"
        await route.fulfill(body=html, content_type="text/html")

    async def give(route: Route) -> None:
        await route.fulfill(body="of the user", content_type="text/plain")

    await page.route("**/example", answer)
    await page.route("**/voxgender-token", give)
    return page


async def test_the_first_example_labels_the_microphone(server: Server, open_page: OpenPage, babble: Path) -> None:
    page = await open_example(open_page, server, babble, f"<button>Listen</button>{SOUND}")
    await page.goto(f"{server.url}example")
    async with page.expect_console_message(lambda message: bool(re.match(r"(fe)?male 0\.\d+$", message.text))):
        await page.get_by_role("button").click()
    await page.goto("about:blank")
    await expect_no_sessions(server)


async def test_the_example_of_a_room_names_its_voices(server: Server, open_page: OpenPage, babble: Path) -> None:
    page = await open_example(open_page, server, babble, IN_A_ROOM.replace("EXAMPLE", ROOM))
    async with (
        page.expect_console_message(lambda message: message.text == "carol"),
        page.expect_console_message(lambda message: message.text == "bob true, alice,carol"),
    ):
        await page.goto(f"{server.url}example")
    await page.wait_for_function("window.client")
    await page.evaluate("client.stop()")
    await expect_no_sessions(server)


async def test_the_example_of_a_tap_tells_the_call_and_ends_with_the_tap(
    server: Server, open_page: OpenPage, babble: Path
) -> None:
    assert "// …\n" in TAPPED
    page = await open_example(
        open_page, server, babble, ON_A_CALL.replace("EXAMPLE", TAPPED.replace("// …\n", "await told;\n"))
    )
    async with page.expect_console_message(lambda message: message.text == "stopped"):
        await page.goto(f"{server.url}example")
    await expect_no_sessions(server)


async def test_the_examples_of_the_element_show_a_result_and_label_its_source(
    server: Server, open_page: OpenPage, babble: Path
) -> None:
    page = await open_example(open_page, server, babble, ELEMENT + ON_THE_ELEMENT.replace("EXAMPLE", SHOWN))
    await page.goto(f"{server.url}example")
    element = page.locator("voxgender-voice")
    await expect(element.locator(".word")).to_have_text(ANY_LABEL)
    await expect(element).to_have_attribute("data-transport", "webrtc")
    await element.evaluate("element => element.remove()")
    await expect_no_sessions(server)


async def test_the_example_of_a_token_shows_the_one_that_it_was_given(
    server: Server, open_page: OpenPage, babble: Path
) -> None:
    page = await open_example(open_page, server, babble, WITH_A_TOKEN.replace("EXAMPLE", TOKEN))
    async with page.expect_request(lambda request: request.method == "POST") as asked:
        await page.goto(f"{server.url}example")
    assert (await (await asked.value).all_headers())["authorization"] == "Bearer of the user"
    await page.wait_for_function("window.client?.state === 'live'")
    await page.evaluate("client.stop()")
    await expect_no_sessions(server)
