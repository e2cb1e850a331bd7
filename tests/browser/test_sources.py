"""The page plays a sample and files as it listens to a microphone, and gives what it heard away in five formats."""

import asyncio
import json
import re
from base64 import b64encode
from pathlib import Path

import pytest
from playwright.async_api import Page, Route, expect

from tests.browser.conftest import BLOCKED, OpenBrowser, OpenPage, Server
from tests.browser.test_accessibility import NO_CLIPBOARD, page_of

DROP = """async ([name, recording]) => {
    const transfer = new DataTransfer();
    const bytes = Uint8Array.from(atob(recording), (byte) => byte.charCodeAt(0));
    transfer.items.add(new File([bytes], name));
    for (const type of ['dragover', 'drop']) {
        document.body.dispatchEvent(new DragEvent(type, { dataTransfer: transfer, bubbles: true, cancelable: true }));
        if (type === 'dragover') window.hinted = !document.getElementById('drop').hidden;
    }
}"""


async def drop(page: Page, name: str, recording: bytes) -> None:
    """Drop a file. It goes as text: a list of numbers takes ten seconds to the page."""
    await page.evaluate(DROP, [name, b64encode(recording).decode()])


async def saved(page: Page, name: str) -> str:
    await page.get_by_label("Format").select_option(label=name)
    async with page.expect_download() as download:
        await page.get_by_role("button", name="Save").click()
    path = await (await download.value).path()
    return path.read_text()


async def test_the_sample_is_heard_without_a_microphone_and_can_be_taken_away(
    server: Server, open_page: OpenPage
) -> None:
    """The page's numbers come from the server's segments and hold once the sample is over."""
    page = await open_page(server.url, surroundings=BLOCKED)
    await expect(page.get_by_role("button", name="Save")).to_be_disabled()
    await page.get_by_role("button", name="Try a sample").click()
    await expect(page.locator("#playing")).to_contain_text("synthetic")
    await expect(page.locator("#word")).to_have_text("Male")
    await expect(page.locator("#word")).to_have_text("Female")
    await expect(page.locator("#word")).to_have_text(re.compile(r"%\s.*male, .*%\s"))
    await expect(page.locator("#status")).to_have_text("Stopped")
    lines = page.locator("#stream li")
    told = await lines.all_inner_texts()
    for line in await page.locator("#stream li.no_speech .confidence").all_inner_texts():
        assert line == ""

    segments = json.loads(await saved(page, "JSON"))
    assert [segment["label"] for segment in segments if segment["label"] in ("male", "female")] == ["male", "female"]
    assert "<v Female>" in await saved(page, "WebVTT")
    assert (await saved(page, "CSV")).startswith("start,end,label,confidence")
    assert 'class = "IntervalTier"' in await saved(page, "TextGrid")
    assert await lines.all_inner_texts() == told

    await page.locator("#call").hover(position={"x": 200, "y": 30})
    await expect(page.locator("#reading")).to_have_text(re.compile(r"^\d:\d\d\.\d · Male · \d+ %$"))
    await page.get_by_role("button", name="Zoom in").click()
    await expect(page.get_by_role("button", name="Zoom out")).to_be_enabled()


@pytest.mark.firefox
async def test_a_file_is_dropped_and_labelled(server: Server, open_page: OpenPage, voices: dict[str, Path]) -> None:
    page = await open_page(server.url, surroundings=BLOCKED)
    await drop(page, "woman.wav", voices["female"].read_bytes()[:400_000])
    assert await page.evaluate("window.hinted")
    await expect(page.locator("#playing")).to_have_text("Playing: woman.wav")
    await expect(page.locator("#word")).to_have_text("Female")
    await page.get_by_role("button", name="Stop").click()
    await expect(page.locator("#playing")).to_be_hidden()


async def test_a_file_without_sound_is_refused_in_plain_words(
    server: Server, open_page: OpenPage, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("no sound")
    page = await open_page(server.url, surroundings=BLOCKED)
    await page.locator("#file").set_input_files(tmp_path / "notes.txt")
    await expect(page.get_by_role("alert")).to_contain_text("This file cannot be played")
    assert server.sessions() == []


@pytest.mark.firefox
async def test_the_page_speaks_the_browsers_language_and_right_to_left(server: Server, open_page: OpenPage) -> None:
    page = await open_page(server.url)
    await page.get_by_label("Language").select_option("ar")
    await expect(page.locator("html")).to_have_attribute("dir", "rtl")
    await expect(page.locator("#action")).to_have_text("ابدأ")
    await page.reload()
    await expect(page.locator("#action")).to_have_text("ابدأ")
    await page.locator("#language").select_option("de")
    await expect(page.locator("html")).to_have_attribute("dir", "ltr")
    await expect(page.locator("#word")).to_have_text("Start drücken und sprechen")


async def test_what_is_dropped_and_is_no_file_is_told_and_the_page_stays(server: Server, open_page: OpenPage) -> None:
    """A text was ignored, and browsers left the page for an address that was dropped."""
    page = await open_page(server.url, surroundings=BLOCKED)
    kept = await page.evaluate(
        """() => ['dragover', 'drop'].map((type) => {
            const transfer = new DataTransfer();
            transfer.setData('text/uri-list', 'https://voice.example/');
            const event = new DragEvent(type, { dataTransfer: transfer, bubbles: true, cancelable: true });
            document.body.dispatchEvent(event);
            return event.defaultPrevented;
        })"""
    )
    assert kept == [True, True]
    await expect(page.get_by_role("alert")).to_contain_text("That was no file")


async def test_where_copying_is_refused_the_text_is_selected_to_be_copied_by_hand(
    server: Server, open_page: OpenPage, voices: dict[str, Path]
) -> None:
    """Nothing was seen, and an error stood on the console."""
    page = await open_page(server.url, surroundings=BLOCKED)
    await drop(page, "woman.wav", voices["female"].read_bytes()[:400_000])
    await expect(page.locator("#word")).to_have_text("Female")
    await page.evaluate(NO_CLIPBOARD)
    await page.get_by_role("button", name="Copy").click()
    await expect(page.get_by_text("copy it yourself")).to_be_visible()
    selected = await page.locator("#to-copy").evaluate(
        "field => field.value.slice(field.selectionStart, field.selectionEnd)"
    )
    assert "Female" in selected


async def test_errors_are_told_in_the_browsers_language(server: Server, open_browser: OpenBrowser) -> None:
    """The page spoke German, and said in English what went wrong."""
    browser = await open_browser(surroundings=BLOCKED)
    async with page_of(browser, server.url, "de-DE") as page:
        await page.get_by_role("button", name="Start").click()
        await expect(page.get_by_role("alert")).to_contain_text("Das Mikrofon ist gesperrt")
    async with page_of(browser, f"{server.url}operators", "es-MX") as page:
        await expect(page.locator("#status")).to_have_text("Bloqueado")
        await expect(page.locator("#problem")).to_contain_text("Este servidor no pide token a nadie")


async def test_what_is_pressed_before_the_page_can_answer_waits(server: Server, open_browser: OpenBrowser) -> None:
    """Start could be pressed while the page's language was still on its way, and nothing happened."""
    language = asyncio.Event()

    async def hold(route: Route) -> None:
        await language.wait()
        await route.continue_()

    browser = await open_browser(surroundings=BLOCKED)
    async with page_of(browser, f"{server.url}health/live", "de-DE") as page:
        await page.route("**/words/de.js*", hold)
        for path, button in (("", "#toggle"), ("client/call.html", "#join")):
            language.clear()
            await page.goto(server.url + path, wait_until="commit")
            await expect(page.locator("main[inert]")).to_be_visible()
            pressing = asyncio.create_task(page.locator(button).click())
            language.set()
            await pressing
            await expect(page.get_by_role("alert").filter(visible=True)).to_contain_text("Das Mikrofon ist gesperrt")


async def test_a_page_whose_language_does_not_come_works_in_english(server: Server, open_browser: OpenBrowser) -> None:
    """Its script ended there, and no button did anything."""
    async with page_of(await open_browser(), f"{server.url}health/live", "fr-FR") as page:
        await page.route("**/words/fr.js*", lambda route: route.abort())
        await page.goto(server.url)
        await page.get_by_role("button", name="Start").click()
        await expect(page.locator("#status")).to_have_text("Live")
        await expect(page.locator("html")).to_have_attribute("lang", "en")


async def test_a_language_that_does_not_come_at_once_is_asked_for_again(
    server: Server, open_browser: OpenBrowser
) -> None:
    """Chromium drops requests that wait while the device changes networks: the page stayed English for good."""
    async with page_of(await open_browser(), f"{server.url}health/live", "de-DE") as page:
        await page.route("**/words/de.js", lambda route: route.abort())
        await page.goto(server.url)
        await expect(page.locator("html")).to_have_attribute("lang", "de")
