"""Chromium, under which the network changes in mid-call."""

from pathlib import Path

from playwright.async_api import Page

from tests.browser.conftest import OpenPage, Server
from tests.browser.test_hearing import behind_nat, listen
from tests.browser.test_page import expect_no_sessions

LONGEST_GAP_S = """() => {
    const gaps = heardAt.slice(1).map((at, index) => at - heardAt[index]);
    return Math.max(...gaps) / 1000;
}"""


async def result_gap_s(page: Page) -> float:
    """Wait until results come without a break again; return the longest time without one, in seconds."""
    began = await page.evaluate("heardAt.length")
    await page.wait_for_function(
        """(began) => {
            const now = performance.now();
            return heardAt.length > began + 5 && heardAt.filter((at) => at > now - 1000).length >= 4;
        }""",
        arg=began,
    )
    gap_s: float = await page.evaluate(LONGEST_GAP_S)
    return gap_s


async def test_results_follow_chromium_to_another_port(server: Server, open_page: OpenPage, babble: Path) -> None:
    """The same call goes on: the client makes no other one."""
    page = await open_page(server.url, babble)
    async with behind_nat(page) as nats:
        await listen(page)
        for _ in range(2):
            await page.evaluate("heardAt = heardAt.slice(-1)")
            await nats[0].rebind()
            gap_s = await result_gap_s(page)
            print(f"without results for {gap_s:.2f} s")
            assert gap_s < 2
        assert await page.evaluate("connections.length") == 1
        assert await page.evaluate("told.filter(([type]) => type === 'state').at(-1)[1]") == "live"
        await page.evaluate("client.stop()")
        await expect_no_sessions(server)


async def test_another_call_takes_over_within_three_seconds_when_the_path_is_lost_for_good(
    server: Server, open_page: OpenPage, babble: Path
) -> None:
    """It was asked for after two seconds and a half, and had to be set up and say something then."""
    page = await open_page(server.url, babble)
    async with behind_nat(page) as nats:
        await listen(page)
        await page.evaluate("heardAt = heardAt.slice(-1)")
        nats[0].way_back = False
        nats[0].intercept = lambda _: None
        gap_s = await result_gap_s(page)
        print(f"without results for {gap_s:.2f} s")
        assert gap_s < 3
        assert await page.evaluate("connections.length") == 2
        assert await page.evaluate("client.state") == "live"
        await page.evaluate("client.stop()")
        await expect_no_sessions(server)
