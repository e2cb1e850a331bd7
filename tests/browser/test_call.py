"""A call of two tabs, each with its voice labelled for the other."""

from pathlib import Path

import pytest
from playwright.async_api import Browser, BrowserContext, Page, expect

from tests.browser.conftest import OpenBrowser, Server, StartServer

Sides = tuple[Page, Page]


async def join(context: BrowserContext, server: Server, side: str, recording: Path | None = None) -> Page:
    page = await context.new_page()
    await page.goto(f"{server.url}client/call.html?side={side}")
    if recording:
        await page.set_input_files("#recording", recording)
    await page.locator("#join").click()
    return page


async def meet(server: Server, browser: Browser, recording: Path) -> Sides:
    # Two tabs of one window: of two windows with nothing in common, neither would hear the other's signals.
    context = await browser.new_context()
    page_a = await join(context, server, "a")
    page_b = await join(context, server, "b", recording)
    for page in (page_a, page_b):
        await expect(page.locator("#status")).to_have_text("In the call")
    return page_a, page_b


@pytest.fixture
async def sides(server: Server, open_browser: OpenBrowser, voices: dict[str, Path]) -> Sides:
    """A woman at the microphone on one side, a man's recording on the other."""
    return await meet(server, await open_browser(voices["female"]), voices["male"])


async def test_each_side_sees_the_label_of_the_other(sides: Sides) -> None:
    page_a, page_b = sides
    await expect(page_b.locator("#theirs .word")).to_have_text("Female")
    await expect(page_a.locator("#theirs .word")).to_have_text("Male")
    await expect(page_a.locator("#mine .word")).to_have_text("Female")


async def test_a_muted_side_is_not_listened_to(sides: Sides) -> None:
    page_a, page_b = sides
    await expect(page_b.locator("#theirs .word")).to_have_text("Female")
    await page_a.get_by_role("button", name="Mute").click()
    await expect(page_b.locator("#theirs .word")).to_have_text("No speech")
    await page_a.get_by_role("button", name="Unmute").click()
    await expect(page_b.locator("#theirs .word")).to_have_text("Female")


async def test_the_call_goes_on_when_the_labels_stop(
    start_server: StartServer, open_browser: OpenBrowser, voices: dict[str, Path]
) -> None:
    server = start_server()
    page_a, page_b = await meet(server, await open_browser(voices["female"]), voices["male"])
    await expect(page_a.locator("#theirs .word")).to_have_text("Male")
    server.stop()
    await expect(page_a.locator("#mine .word")).to_have_text("The server cannot be reached")
    await expect(page_a.locator("#status")).to_have_text("In the call")
    # The other side's voice is still coming in.
    heard = "document.querySelector('#speaker').srcObject.getAudioTracks()[0].muted"
    assert await page_b.evaluate(heard) is False


async def test_a_side_that_leaves_is_gone_on_the_other(sides: Sides) -> None:
    page_a, page_b = sides
    await expect(page_a.locator("#theirs .word")).to_have_text("Male")
    await page_b.get_by_role("button", name="Leave").click()
    await expect(page_a.locator("#status")).to_have_text("Waiting for the other side")
    await expect(page_a.locator("#theirs .word")).to_have_text("")
    await expect(page_b.locator("#mine .word")).to_have_text("")


async def test_a_side_that_reloads_comes_back_into_the_call(sides: Sides) -> None:
    page_a, page_b = sides
    await page_a.reload()
    await expect(page_b.locator("#status")).to_have_text("Waiting for the other side")
    await page_a.get_by_role("button", name="Join").click()
    await expect(page_b.locator("#theirs .word")).to_have_text("Female")


async def test_a_token_is_asked_for_where_the_server_wants_one(
    start_server: StartServer, open_browser: OpenBrowser, voices: dict[str, Path]
) -> None:
    """The call page said to change its address, and had no field."""
    server = start_server("--token", "correct-horse-battery-staple")
    page = await join(await (await open_browser(voices["female"])).new_context(locale="fr-FR"), server, "a")
    await expect(page.locator("#mine .word")).to_have_text("Ce serveur demande un jeton")
    await page.get_by_label("Jeton").fill("correct-horse-battery-staple")
    await page.get_by_role("button", name="Utiliser ce jeton").click()
    await expect(page.locator("#mine .word")).to_have_text("Féminine")
    await expect(page.get_by_label("Jeton")).to_be_hidden()
