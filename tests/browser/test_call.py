"""A call of up to four tabs, each with the label of every voice."""

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import BrowserContext, FilePayload, Page, expect

from tests.browser.conftest import OpenBrowser, Server, StartServer, Windows
from tests.waits import until

Pages = Sequence[Page]

UNREADABLE = FilePayload(name="notes.txt", mimeType="text/plain", buffer=b"no sound at all")

KEEP_CONNECTIONS = """
    const { createDataChannel } = RTCPeerConnection.prototype;
    RTCPeerConnection.prototype.createDataChannel = function (label, ...options) {
        // Those of the call, and not that to the server.
        if (label === 'notes') window.connection = this;
        return createDataChannel.call(this, label, ...options);
    };
"""


async def opened(context: BrowserContext, server: Server, recording: Path | None = None) -> Page:
    page = await context.new_page()
    await page.goto(f"{server.url}client/call.html")
    if recording:
        await page.set_input_files("#recording", recording)
    return page


async def join(context: BrowserContext, server: Server, recording: Path | None = None) -> Page:
    page = await opened(context, server, recording)
    await page.locator("#join").click()
    return page


async def expect_members(pages: Pages) -> None:
    """Wait until all of these, and nobody else, are in the call."""
    for page in pages:
        await expect(page.locator("#status")).to_have_text(f"In the call · {len(pages)} of 4")


def sessions(server: Server) -> set[str]:
    return {session["session"] for session in server.sessions()}


async def expect_no_sessions_but(before: set[str], server: Server) -> None:
    """Wait until the server has no sessions but those that pages of other tests have left behind."""
    await until(lambda: not sessions(server) - before)


async def meet(server: Server, browser: Windows, *recordings: Path | None) -> list[Page]:
    """Let a tab join with each recording, or with the microphone, one after the other: they sit in this order."""
    # Tabs of one window: of two windows with nothing in common, neither would hear the other's signals.
    context = await browser.new_context()
    pages: list[Page] = []
    for recording in recordings:
        pages.append(await join(context, server, recording))
        if len(pages) > 1:
            await expect_members(pages)
    return pages


async def expect_label(page: Page, seat: int, word: str) -> None:
    await expect(page.locator(f"[data-seat='{seat}'] .word")).to_have_text(word)


@pytest_asyncio.fixture(loop_scope="session")
async def browser(open_browser: OpenBrowser, voices: dict[str, Path]) -> Windows:
    """A browser with a woman at the microphone."""
    return await open_browser(voices["female"])


async def test_five_come_at_once_four_are_in_and_the_fifth_is_told_when_somebody_leaves(
    server: Server, browser: Windows, voices: dict[str, Path]
) -> None:
    """The call was one of two tabs; a third one was ignored without a word.

    Later the fifth was told, and to choose a recording meanwhile took the news away: it waited for a seat no more.
    """
    before = sessions(server)
    context = await browser.new_context()
    pages = [await opened(context, server) for _ in range(5)]
    await asyncio.gather(*(page.locator("#join").click() for page in pages))
    for page in pages:
        await expect(page.get_by_text(re.compile("^(In the call|This call is full)"))).to_be_visible()
    (fifth,) = [page for page in pages if await page.locator("#news").is_visible()]
    members = [page for page in pages if page is not fifth]
    await expect_members(members)
    await expect(fifth.locator("#news")).to_contain_text("4 are in it")
    assert len({await page.locator("#join").inner_text() for page in members}) == 1
    for page in members:
        await expect(page.locator(".tile .word", has_text="Female")).to_have_count(4)
        await expect(page.locator("#other-tab")).to_be_hidden()
    assert len(sessions(server) - before) == 4
    await fifth.set_input_files("#recording", voices["male"])
    await expect(fifth.locator("#my-hint")).to_have_text("Joins with male.wav.")
    await expect(fifth.locator("#news")).to_contain_text("4 are in it")
    left = members.pop()
    await left.get_by_role("button", name="Leave").click()
    await expect(fifth.locator("#news")).to_have_text("Somebody has left: you can join now.")
    await fifth.get_by_role("button", name="Join").click()
    await expect_members([*members, fifth])
    await expect(fifth.locator("#news")).to_be_hidden()
    for page in [*members, fifth]:
        await page.get_by_role("button", name="Leave").click()
    await expect_no_sessions_but(before, server)


@pytest.mark.firefox
async def test_each_tile_has_the_label_of_its_voice(server: Server, browser: Windows, voices: dict[str, Path]) -> None:
    first, second, third = await meet(server, browser, None, voices["male"], None)
    await expect_label(first, 2, "Male")
    await expect_label(first, 3, "Female")
    await expect_label(second, 1, "Female")
    await expect_label(third, 2, "Male")
    await expect(first.locator("#mine .word")).to_have_text("Female")
    # A screen reader that told each label of each voice would talk over the call.
    await expect(first.locator(".tile .word")).to_have_count(3)
    await expect(first.locator(".tile .word[role]")).to_have_count(0)
    # The tiles are in the order of the seats, and heard.
    assert await third.locator("[data-seat]").evaluate_all("tiles => tiles.map(({ dataset }) => dataset.seat)") == [
        "1",
        "2",
    ]
    heard = "audios => audios.every(({ paused, srcObject }) => !paused && !srcObject.getAudioTracks()[0].muted)"
    await expect(third.locator("audio")).to_have_count(2)
    assert await third.locator("audio").evaluate_all(heard)


async def test_a_member_who_leaves_reloads_or_closes_is_gone_at_the_others(server: Server, browser: Windows) -> None:
    before = sessions(server)
    stays, leaves, reloads, closes = await meet(server, browser, None, None, None, None)
    await leaves.get_by_role("button", name="Leave").click()
    await expect(stays.locator("[data-seat='2']")).to_have_count(0)
    await expect(leaves.locator("#status")).to_have_text("Not in the call")
    await expect(leaves.locator("[data-seat]")).to_have_count(0)
    await expect(leaves.locator("#mine .word")).to_have_text("")
    await reloads.reload()
    await expect_members([stays, closes])
    # As by a person: otherwise the page is not told.
    await closes.close(run_before_unload=True)
    await expect(stays.locator("#status")).to_have_text("Waiting for others")
    await expect(stays.locator("#nobody")).to_be_visible()
    await stays.close(run_before_unload=True)
    await expect_no_sessions_but(before, server)


@pytest.mark.chromium_only("Firefox has no command for the crash of a tab, and tabs of one site share their process.")
async def test_a_member_who_crashes_is_gone_at_the_others(server: Server, browser: Windows) -> None:
    context = await browser.new_context()
    # The server needs a while to know that a crashed caller is gone, and a later test would have to wait for that.
    await context.route("**/whip", lambda route: route.abort())
    stays, crashes = await join(context, server), await join(context, server)
    await expect_members([stays, crashes])
    crashing = await context.new_cdp_session(crashes)
    crashed = asyncio.ensure_future(crashing.send("Page.crash"))
    await expect(stays.locator("#status")).to_have_text("Waiting for others")
    crashed.cancel()
    await crashes.close()


async def test_a_connection_that_is_lost_is_made_anew(server: Server, browser: Windows) -> None:
    context = await browser.new_context()
    await context.add_init_script(KEEP_CONNECTIONS)
    first, second = await join(context, server), await join(context, server)
    await expect_members([first, second])
    await second.evaluate("connection.close()")
    await expect(first.locator("[data-seat]")).to_have_count(0)
    await expect(first.locator("#status")).to_have_text("Waiting for others")
    await expect_members([first, second])
    await expect_label(first, 2, "Female")
    await expect_label(second, 1, "Female")


async def test_a_muted_member_is_not_listened_to_and_the_others_are_told(server: Server, browser: Windows) -> None:
    first, second = await meet(server, browser, None, None)
    await expect_label(second, 1, "Female")
    await first.get_by_role("button", name="Mute").click()
    await expect_label(second, 1, "No speech")
    await expect(second.get_by_role("heading", name="Guest 1 · Muted")).to_be_visible()
    await first.get_by_role("button", name="Unmute").click()
    await expect_label(second, 1, "Female")
    await expect(second.get_by_role("heading", name="Guest 1", exact=True)).to_be_visible()


async def test_another_voice_goes_into_the_same_call(server: Server, browser: Windows, voices: dict[str, Path]) -> None:
    """A recording chosen in mid-call made the tab leave, and join again."""
    first, second = await meet(server, browser, None, None)
    await expect_label(first, 2, "Female")
    before = sessions(server)
    await second.set_input_files("#recording", voices["male"])
    await expect_label(first, 2, "Male")
    assert sessions(server) <= before
    await second.get_by_role("button", name="Use the microphone").click()
    await expect_label(first, 2, "Female")
    await expect(second.locator("#my-hint")).to_have_text("The call has your microphone.")
    await expect(second.get_by_role("button", name="Use the microphone")).to_be_hidden()
    await expect(second.locator("#recording")).to_be_focused()
    assert sessions(server) <= before


async def test_a_recording_that_cannot_be_played_leaves_the_voice_as_it_is(
    server: Server, browser: Windows, voices: dict[str, Path]
) -> None:
    """The page said "The call has notes.txt." while the call had the microphone."""
    page = await join(await browser.new_context(), server)
    hint = page.locator("#my-hint")
    await expect(hint).to_have_text("The call has your microphone.")
    await page.set_input_files("#recording", UNREADABLE)
    await expect(page.get_by_role("alert")).to_contain_text("This file cannot be played")
    await expect(hint).to_have_text("The call has your microphone.")
    await page.set_input_files("#recording", voices["male"])
    await expect(hint).to_have_text("The call has male.wav.")
    await page.set_input_files("#recording", UNREADABLE)
    await expect(page.get_by_role("alert")).to_contain_text("This file cannot be played")
    await expect(hint).to_have_text("The call has male.wav.")
    await expect(page.locator("#mine .word")).to_have_text("Male")
    await page.get_by_role("button", name="Leave").click()
    await expect(hint).to_have_text("Joins with male.wav.")
    await page.set_input_files("#recording", UNREADABLE)
    await expect(hint).to_have_text("Joins with notes.txt.")
    await page.get_by_role("button", name="Join").click()
    await expect(page.get_by_role("alert")).to_contain_text("This file cannot be played")
    await expect(hint).to_have_text("Joins with your microphone.")


async def test_the_call_goes_on_when_the_labels_stop(
    start_server: StartServer, browser: Windows, voices: dict[str, Path]
) -> None:
    server = start_server()
    first, second = await meet(server, browser, None, voices["male"])
    await expect_label(first, 2, "Male")
    server.stop()
    await expect(first.locator("#mine .word")).to_have_text("The server cannot be reached")
    await expect_members([first, second])
    # A label that is told no more was shown for good.
    await expect_label(first, 2, "")
    # The other side's voice is still coming in.
    heard = "document.querySelector('[data-seat] audio').srcObject.getAudioTracks()[0].muted"
    assert await second.evaluate(heard) is False


async def test_a_token_is_asked_for_where_the_server_wants_one(start_server: StartServer, browser: Windows) -> None:
    """The call page said to change its address, and had no field; later the field stayed after the call was left."""
    server = start_server("--token", "correct-horse-battery-staple")
    page = await join(await browser.new_context(locale="fr-FR"), server)
    await expect(page.locator("#mine .word")).to_have_text("Ce serveur demande un jeton")
    await page.get_by_role("button", name="Quitter").click()
    await expect(page.get_by_label("Jeton")).to_be_hidden()
    await page.get_by_role("button", name="Rejoindre").click()
    await page.get_by_label("Jeton").fill("correct-horse-battery-staple")
    await page.get_by_role("button", name="Utiliser ce jeton").click()
    await expect(page.locator("#mine .word")).to_have_text("Féminine")
    await expect(page.get_by_label("Jeton")).to_be_hidden()
