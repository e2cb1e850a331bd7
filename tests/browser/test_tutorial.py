"""The pages of ``docs/tutorial.md`` and the first lines of the client's README, copied as they stand there."""

import re
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import OpenPage, Server
from tests.browser.test_page import ANY_LABEL, expect_no_sessions

OpenCopied = Callable[[str], Awaitable[Page]]

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^```html\n(.*?)^```", re.DOTALL | re.MULTILINE)
LABEL_PAGE, TURNS_PAGE = FENCE.findall((ROOT / "docs/tutorial.md").read_text())
(README_LINES,) = FENCE.findall((ROOT / "client/README.md").read_text())


class _Files(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder and its address, served as ``python3 -m http.server`` serves it: another origin than the server's."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Files, directory=str(tmp_path))) as files:
        Thread(target=files.serve_forever, daemon=True).start()
        yield tmp_path, f"http://localhost:{files.server_port}/"
        files.shutdown()


@pytest.fixture
def open_copied(server: Server, open_page: OpenPage, folder: tuple[Path, str], babble: Path) -> OpenCopied:
    async def open_it(html: str) -> Page:
        path, url = folder
        (path / "voice.html").write_text(html.replace("http://localhost:8080/", server.url))
        return await open_page(f"{url}voice.html", babble)

    return open_it


async def test_the_page_of_the_tutorial_shows_the_label(server: Server, open_copied: OpenCopied) -> None:
    page = await open_copied(LABEL_PAGE)
    await page.get_by_role("button").click()
    await expect(page.locator("voxgender-voice .word")).to_have_text(ANY_LABEL)
    await page.goto("about:blank")
    await expect_no_sessions(server)


async def test_the_page_of_the_tutorial_lists_turns(server: Server, open_copied: OpenCopied) -> None:
    page = await open_copied(TURNS_PAGE)
    await page.get_by_role("button").click()
    await expect(page.locator("output")).to_have_text("live")
    await expect(page.locator("li").first).to_have_text(re.compile(r"^(fe)?male, \d+\.\d to \d+\.\d s$"))
    await page.goto("about:blank")
    await expect_no_sessions(server)


async def test_the_first_lines_of_the_readme_show_a_label(server: Server, open_copied: OpenCopied) -> None:
    """They gave the element no source, so that whoever copied them saw nothing at all."""
    imports = f"""<script type="importmap">
        {{"imports": {{"voxgender/voxgender-voice.js": "{server.url}client/voxgender-voice.js"}}}}
    </script>"""
    lines = README_LINES.replace("https://voice.example/", server.url)
    page = await open_copied(f"<!doctype html>{imports}{lines}")
    await expect(page.locator("voxgender-voice .word")).to_have_text(ANY_LABEL)
    await page.goto("about:blank")
    await expect_no_sessions(server)
