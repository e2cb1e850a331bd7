"""The page shows what a person is to read."""

import re
import signal
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import (
    BLOCKED,
    INSECURE,
    INSECURE_HOST,
    NO_MICROPHONE,
    OpenBrowser,
    OpenPage,
    Server,
    StartServer,
    write_wav,
)
from tests.waits import until
from voxgender.peer.voices import WOMAN, speak

REMOTE_INBOUND = """async () => {
    const stats = [...(await window.connection.getStats()).values()];
    return stats.find(({ type }) => type === 'remote-inbound-rtp') ?? { roundTripTimeMeasurements: 0 };
}"""
ANY_LABEL = re.compile("Male|Female|Uncertain|No speech")


async def press(page: Page, name: str) -> None:
    await page.get_by_role("button", name=name).click()


async def choose_another_microphone(page: Page) -> None:
    """Choose the last one. Firefox has one fake microphone, which is opened once more."""
    choice = page.get_by_label("Microphone")
    await choice.select_option(index=await choice.locator("option").count() - 1)


async def expect_live(page: Page) -> None:
    await expect(page.locator("#status")).to_have_text("Live")
    await expect(page.locator("#word")).to_have_text(ANY_LABEL)


async def expect_no_sessions(server: Server) -> None:
    # The call of a page that an earlier test closed is ended after 15 s without a packet.
    await until(lambda: not server.sessions())


@pytest.mark.parametrize("label", ["male", pytest.param("female", marks=pytest.mark.firefox)])
async def test_a_voice_is_named_on_the_screen(
    server: Server, open_page: OpenPage, voices: dict[str, Path], label: str
) -> None:
    word = label.capitalize()
    page = await open_page(server.url, voices[label])
    await press(page, "Start")
    await expect(page.locator("#word")).to_have_text(word)
    await expect(page.locator("#sure")).to_have_text(re.compile(r"^\d+ % sure$"))
    line = page.locator(f"#stream li.{label}").first
    await expect(line).to_have_text(re.compile(rf"\d:\d\d\.\d{word}[\d.]+ s\d+ %"))
    await expect(page.locator("#speech")).to_have_text(re.compile(r"^([3-9]|\d\d)\."))
    await press(page, "Stop")
    await expect(page.locator("#word")).to_have_text(re.compile(rf"^\d+\s%\s{label}"))
    share = page.locator(f"#share-{label}")
    await expect(share).to_have_text(re.compile(r"^([6-9]\d|100) %"))


async def test_each_voice_of_a_conversation_gets_its_line(
    server: Server, open_page: OpenPage, conversation: Path
) -> None:
    page = await open_page(server.url, conversation)
    await press(page, "Start")
    for word in ("Female", "Male", "Female"):
        await expect(page.locator("#word")).to_have_text(word)
    await expect(page.locator("#stream li.no_speech").first).to_be_visible()
    await press(page, "Stop")
    await expect(page.locator("#word")).to_have_text(re.compile(r"\d+\s%\s(female, \d+\s%\smale|male, \d+\s%\sfemale)"))


async def test_silence_is_given_no_gender(server: Server, open_page: OpenPage, silence: Path) -> None:
    page = await open_page(server.url, silence)
    await press(page, "Start")
    await expect(page.locator("#word")).to_have_text("No speech")
    await expect(page.locator("#speech")).to_have_text(re.compile(r"^0\.0 of [4-9]\."))
    await press(page, "Stop")
    await expect(page.locator("#word")).to_have_text("No speech heard")
    await expect(page.locator("#stream li.male, #stream li.female, #stream li.uncertain")).to_have_count(0)


async def test_a_microphone_that_is_too_quiet_is_said_beside_the_meter(
    server: Server, open_page: OpenPage, tmp_path: Path
) -> None:
    """It was "no speech", or the wrong label, and nobody was told why."""
    page = await open_page(server.url, write_wav(tmp_path / "quiet.wav", speak(WOMAN, 8.0) * 0.004))
    await expect(page.locator(".too-quiet")).to_be_hidden()
    await press(page, "Start")
    await expect(page.locator(".too-quiet")).to_be_visible()
    await expect(page.locator("#notice-title")).to_have_text("Your voice is very quiet")
    await press(page, "Stop")


async def test_start_and_stop_go_round_and_leave_nothing_on_the_server(
    server: Server, open_page: OpenPage, babble: Path
) -> None:
    await expect_no_sessions(server)
    page = await open_page(server.url, babble)
    for _ in range(3):
        await press(page, "Start")
        await expect_live(page)
        assert len(server.sessions()) == 1
        await press(page, "Stop")
        await expect(page.locator("#status")).to_have_text("Stopped")
        await expect_no_sessions(server)


async def test_stopping_while_connecting_leaves_nothing_on_the_server(
    server: Server, open_page: OpenPage, babble: Path
) -> None:
    page = await open_page(server.url, babble)
    async with page.expect_request("**/whip"):
        await press(page, "Start")
    await press(page, "Stop")
    await expect(page.locator("#status")).to_have_text("Stopped")
    await expect_no_sessions(server)


async def test_a_reload_ends_the_call_and_the_page_works_again(
    server: Server, open_page: OpenPage, babble: Path
) -> None:
    page = await open_page(server.url, babble)
    await press(page, "Start")
    await expect_live(page)
    await page.reload()
    await expect(page.locator("#status")).to_have_text("Ready")
    await expect_no_sessions(server)
    await press(page, "Start")
    await expect_live(page)


@pytest.mark.parametrize("how", [signal.SIGTERM, pytest.param(signal.SIGKILL, marks=pytest.mark.firefox)])
async def test_a_server_that_was_restarted_is_found_again(
    start_server: StartServer, open_page: OpenPage, babble: Path, how: signal.Signals
) -> None:
    # With nowhere else to go the call stays until the server has waited long enough.
    server = start_server("--model", "off", "--drain-timeout-s", "1")
    page = await open_page(server.url, babble)
    await press(page, "Start")
    await expect_live(page)
    server.stop(how)
    await expect(page.locator("#status")).to_have_text("Reconnecting…")
    await expect(page.locator("#word")).to_have_text("Reconnecting…")
    await expect(page.get_by_role("alert")).to_contain_text("Trying again")
    server.start()
    await expect_live(page)
    await expect(page.get_by_role("alert")).to_be_hidden()
    await press(page, "Stop")
    await expect(page.locator("#eyebrow")).to_have_text("Summary")


async def test_a_network_that_goes_away_for_a_moment_is_got_over(
    start_server: StartServer, open_page: OpenPage, babble: Path
) -> None:
    server = start_server("--model", "off")
    page = await open_page(server.url, babble)
    await press(page, "Start")
    await expect_live(page)
    # Frozen, it answers nothing and closes nothing, as behind a cable that was pulled.
    server.send_signal(signal.SIGSTOP)
    try:
        await expect(page.locator("#status")).to_have_text("Reconnecting…")
    finally:
        server.send_signal(signal.SIGCONT)
    await expect_live(page)


async def test_the_browser_is_told_how_its_packets_arrive(server: Server, open_page: OpenPage, babble: Path) -> None:
    """The reports are the server's own, not aiortc's: browsers have to make sense of them."""
    page = await open_page(server.url, babble)
    await page.evaluate(
        """() => {
            const Plain = RTCPeerConnection;
            window.RTCPeerConnection = class extends Plain {
                constructor(...args) { super(...args); window.connection = this; }
            };
        }"""
    )
    await press(page, "Start")
    await expect_live(page)

    async def measured() -> dict[str, Any] | None:
        seen: dict[str, Any] = await page.evaluate(REMOTE_INBOUND)
        return seen if seen["roundTripTimeMeasurements"] >= 2 else None

    remote = await until(measured)
    assert remote["packetsLost"] == 0
    assert 0 < remote["roundTripTime"] < 1
    assert remote["jitter"] < 0.1
    await press(page, "Stop")
    await expect_no_sessions(server)


async def test_a_microphone_can_be_changed_in_the_middle_of_a_call(
    server: Server, open_page: OpenPage, babble: Path
) -> None:
    await expect_no_sessions(server)
    page = await open_page(server.url, babble)
    await press(page, "Start")
    await expect_live(page)
    (session,) = server.sessions()
    await choose_another_microphone(page)
    spoken = await page.locator("#speech").inner_text()
    await expect(page.locator("#speech")).not_to_have_text(spoken)
    await expect(page.locator("#status")).to_have_text("Live")
    (same,) = server.sessions()
    assert same["session"] == session["session"]


@pytest.mark.firefox
async def test_a_microphone_that_is_not_allowed_is_told_in_plain_words(server: Server, open_page: OpenPage) -> None:
    page = await open_page(server.url, surroundings=BLOCKED)
    await press(page, "Start")
    await expect(page.get_by_role("alert")).to_contain_text("The microphone is blocked")
    await expect(page.get_by_role("button", name="Start")).to_be_visible()


async def test_a_microphone_that_is_blocked_is_said_before_anybody_presses_start(
    server: Server, open_browser: OpenBrowser, browser_name: str
) -> None:
    """The permission is looked at on load, and watched."""
    context = await (await open_browser(surroundings=BLOCKED)).new_context()
    if browser_name == "chromium":
        # All that is not granted is denied. In Firefox a preference denies it, for as long as the browser runs.
        await context.grant_permissions([], origin=server.url)
    page = await context.new_page()
    await page.goto(server.url)
    await expect(page.locator("#word")).to_have_text("The microphone is blocked")
    if browser_name == "chromium":
        await context.clear_permissions()
        await expect(page.locator("#word")).to_have_text("Press Start and speak")


async def test_a_missing_microphone_is_told_in_plain_words(server: Server, open_page: OpenPage) -> None:
    page = await open_page(server.url, surroundings=NO_MICROPHONE)
    devices = await page.evaluate("navigator.mediaDevices.enumerateDevices()")
    if any(device["kind"] == "audioinput" for device in devices):
        pytest.skip("this machine has a microphone")
    await press(page, "Start")
    await expect(page.get_by_role("alert")).to_contain_text("No microphone found")


async def test_an_insecure_page_says_why_it_cannot_listen(server: Server, open_page: OpenPage) -> None:
    page = await open_page(f"http://{INSECURE_HOST}:{server.port}/", surroundings=INSECURE)
    # Before anybody presses anything.
    await expect(page.locator("#word")).to_have_text("This page cannot use the microphone")
    await press(page, "Start")
    await expect(page.get_by_role("alert")).to_contain_text("secure pages only")


async def test_a_full_server_is_waited_for(start_server: StartServer, open_browser: OpenBrowser, babble: Path) -> None:
    server = start_server("--model", "off", "--max-sessions", "1")
    browser = await open_browser(babble)
    first, second = await browser.new_page(), await browser.new_page()
    for page in (first, second):
        await page.goto(server.url)
    await press(first, "Start")
    await expect_live(first)
    await press(second, "Start")
    await expect(second.get_by_role("alert")).to_contain_text("The server is full")
    await press(first, "Stop")
    await expect_live(second)
    await expect(second.get_by_role("alert")).to_be_hidden()


async def test_a_token_is_asked_for_typed_in_or_taken_from_the_address(
    start_server: StartServer, open_page: OpenPage, babble: Path
) -> None:
    server = start_server("--model", "off", "--token", "correct-horse-battery-staple")
    page = await open_page(server.url, babble)
    await press(page, "Start")
    await expect(page.get_by_role("alert")).to_contain_text("This server asks for a token")
    await page.get_by_label("Token").fill("wrong")
    await page.get_by_label("Token").press("Enter")
    await expect(page.get_by_label("Token")).to_be_visible()
    await page.get_by_label("Token").fill("correct-horse-battery-staple")
    await press(page, "Use this token")
    await expect_live(page)
    await expect(page.get_by_label("Token")).to_be_hidden()
    await page.goto("about:blank")
    await page.goto(f"{server.url}#token=correct-horse-battery-staple")
    await press(page, "Start")
    await expect_live(page)
