"""Other people's packages in a real Chromium.

They are large, so this is no part of the suite: ``make sdks`` installs and runs them.
"""

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest
from playwright.async_api import Page, Route, expect

from tests.browser.conftest import OpenPage, Server
from tests.browser.test_page import expect_no_sessions

SDKS = Path(__file__).parents[1] / "sdks"
RECIPES = Path(__file__).parents[2] / "docs" / "recipes.md"
SEGMENT = re.compile(r"[\d.]+ – [\d.]+ s  (fe)?male")
BUILT = {"built/next/": SDKS / "next" / "dist", "built/": SDKS / "dist"}


async def open_built(open_page: OpenPage, server: Server, name: str, microphone: Path) -> Page:
    """Open a page of the build at the server's own origin."""
    page = await open_page(f"{server.url}client/mark.svg", microphone)

    async def answer(route: Route) -> None:
        path = route.request.url.removeprefix(server.url).partition("?")[0]
        folder = next(prefix for prefix in BUILT if path.startswith(prefix))
        await route.fulfill(path=BUILT[folder] / path.removeprefix(folder))

    await page.route("**/built/**", answer)
    await page.goto(f"{server.url}built/{name}.html")
    # A page that was not clicked gets no sound.
    await page.mouse.click(1, 1)
    return page


@pytest.mark.parametrize("sdk", ["liveKit", "twilio", "agora", "simplePeer"])
async def test_a_tap_follows_a_call_through_a_change_of_microphone_and_mute(
    server: Server, open_page: OpenPage, babble: Path, sdk: str
) -> None:
    page = await open_built(open_page, server, "calls", babble)
    outcome = await page.evaluate("sdk => follow(sdk)", sdk)
    assert outcome == {"states": ["connecting", "live", "stopped"], "isOther": True, "isSilent": True}
    await expect_no_sessions(server)


@pytest.mark.parametrize("framework", ["react", "vue"])
async def test_a_hook_labels_a_voice_for_as_long_as_its_component_is_there(
    server: Server, open_page: OpenPage, babble: Path, framework: str
) -> None:
    page = await open_built(open_page, server, framework, babble)
    voice = page.locator("#voice")
    await expect(voice).to_have_text("idle null null")
    await page.locator("#listen").click()
    await expect(voice).to_contain_text("live webrtc female")
    await page.locator("#leave").click()
    await expect_no_sessions(server)


async def test_a_page_that_next_rendered_without_a_browser_labels_a_voice_in_one(
    server: Server, open_page: OpenPage, babble: Path
) -> None:
    page = await open_built(open_page, server, "next/index", babble)
    await expect(page.locator("#server")).to_contain_text("idle Female")
    await page.locator("#listen").click()
    await expect(page.locator("#voice")).to_contain_text("live webrtc")
    await expect(page.locator("#element .word")).to_have_text(re.compile("ale$"))


async def test_eyevinns_client_is_told_the_labels_of_its_recipe(
    server: Server, open_page: OpenPage, babble: Path
) -> None:
    page = await open_built(open_page, server, "eyevinn", babble)
    async with page.expect_console_message(lambda message: bool(SEGMENT.fullmatch(message.text)), timeout=30_000):
        pass
    await page.close()
    await expect_no_sessions(server)


async def test_the_client_prints_in_node_what_its_recipe_says(server: Server, tmp_path: Path) -> None:
    recording = re.search(r"```py\n(.*?)```", RECIPES.read_text(), re.DOTALL)
    assert recording is not None
    making = await asyncio.create_subprocess_exec(sys.executable, "-c", recording[1], cwd=tmp_path)
    assert await making.wait() == 0
    process = await asyncio.create_subprocess_exec(
        "node", SDKS / "build" / "node.mjs",
        cwd=tmp_path, env=os.environ | {"SERVER": server.url}, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(60):
            printed, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    lines = printed.decode().splitlines()
    assert process.returncode == 0
    assert [line.rpartition(" ")[2] for line in lines if SEGMENT.fullmatch(line)] == ["male", "female"]
    await expect_no_sessions(server)
