"""A browser, under which the network changes in mid-call."""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.async_api import Page, Route

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


async def hang(route: Route) -> None:
    """Leave a request about a session without an answer, but end what is to be ended."""
    if route.request.method == "DELETE":
        await route.continue_()


async def test_results_follow_the_browser_to_another_port(
    server: Server, open_page: OpenPage, babble: Path, record_property: Callable[[str, object], None]
) -> None:
    """The same call goes on: the client makes no other one."""
    page = await open_page(server.url, babble)
    async with behind_nat(page) as nats:
        await listen(page)
        for number in range(2):
            await page.evaluate("heardAt = heardAt.slice(-1)")
            await nats[0].rebind()
            record_property(f"gap_{number}_s", await result_gap_s(page))
        assert await page.evaluate("connections.length") == 1
        assert await page.evaluate("told.filter(([type]) => type === 'state').at(-1)[1]") == "live"
        await page.evaluate("client.stop()")
        await expect_no_sessions(server)


@pytest.mark.parametrize("hangs", [False, True])
async def test_another_call_takes_over_when_the_path_is_lost_for_good(
    server: Server, open_page: OpenPage, babble: Path, hangs: bool, record_property: Callable[[str, object], None]
) -> None:
    """It was asked for after two seconds and a half, or after five where a request of the old network hung as well."""
    page = await open_page(server.url, babble)
    async with behind_nat(page) as nats:
        await listen(page)
        await page.evaluate("heardAt = heardAt.slice(-1)")
        nats[0].way_back = False
        nats[0].intercept = lambda _: None
        if hangs:
            await page.route("**/whip/*", hang)
        record_property("gap_s", await result_gap_s(page))
        assert await page.evaluate("connections.length") == 2
        assert await page.evaluate("client.state") == "live"
        await page.unroute("**/whip/*")
        await page.evaluate("client.stop()")
        await expect_no_sessions(server)
