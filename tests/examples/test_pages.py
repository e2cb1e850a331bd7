"""Examples with a page, in Chromium: a call that is tapped, an aiortc program, tokens of one's own server."""

import re
from pathlib import Path

from aiohttp import BasicAuth, ClientSession
from playwright.async_api import expect

from tests.browser.conftest import OpenBrowser, OpenPage
from tests.examples.conftest import RunExample

HEARD = re.compile(r"male", re.IGNORECASE)


async def test_a_call_is_tapped_and_its_mute_is_followed(
    run_example: RunExample, open_page: OpenPage, babble: Path
) -> None:
    example = await run_example("tap.py", "--port", "0")
    page = await open_page((await example.says(r"http://\S+\d"))[0], babble)
    await page.get_by_role("button", name="Call").click()
    await expect(page.locator("voxgender-voice .word")).to_have_text(HEARD)
    await page.get_by_role("button", name="Mute").click()
    await expect(page.locator("voxgender-voice .word")).to_have_text("No speech")


async def test_an_aiortc_program_labels_its_callers(run_example: RunExample, open_page: OpenPage, babble: Path) -> None:
    example = await run_example("aiortc_server.py", "--port", "0")
    page = await open_page((await example.says(r"http://\S+\d"))[0], babble)
    await page.get_by_role("button", name="Call").click()
    await expect(page.locator("#label")).to_have_text(HEARD)
    await example.says(r"^caller 1 at [\d.]+ s: (fe)?male$")


async def test_users_of_ones_own_server_get_tokens_and_nobody_else(
    run_example: RunExample, open_browser: OpenBrowser, babble: Path
) -> None:
    example = await run_example("tokens.py", "--port", "0")
    url = (await example.says(r"http://[^\s,]+"))[0]
    async with ClientSession(url) as stranger:
        for login in (None, BasicAuth("ada", "babbage"), BasicAuth("babbage", ""), BasicAuth("Äda", "ü")):
            async with stranger.get("/voxgender-token", auth=login) as answer:
                assert answer.status == 401
    browser = await open_browser(babble)
    page = await browser.new_page(http_credentials={"username": "ada", "password": "lovelace"})
    await page.goto(url)
    await page.get_by_role("button", name="Start").click()
    await expect(page.locator("#label")).to_have_text(HEARD)
