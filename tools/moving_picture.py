"""Write ``docs/images/page.webp``: the page while it plays its sample, frame by frame from a real Chromium.

Takes half a minute: a server of its own, the synthetic man and woman, and a picture every quarter of a second.
"""

import asyncio
import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.async_api import Page, ViewportSize, async_playwright

PICTURE = Path(__file__).parents[1] / "docs" / "images" / "page.webp"
SIZE: ViewportSize = {"width": 1024, "height": 1000}
SHOWN_WIDTH = 720
"""Pixels in the README. Frames are taken larger, and scaled down once."""
EVERY_MS = 250
LAST_MS = 3_000
"""How long the result stays before the picture starts again."""
QUALITY = 55
LIMIT_BYTES = 600_000
FLAGS = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required", "--allow-loopback-in-peer-connection"]


async def frames(page: Page) -> list[Image.Image]:
    """Take pictures from the press on *Try a sample* until the sample is over."""
    await page.get_by_role("button", name="Try a sample").click()
    await page.evaluate("document.activeElement.blur()")
    await page.wait_for_function("document.body.dataset.state === 'live'")
    taken = []
    loop = asyncio.get_running_loop()
    due = loop.time()
    while await page.evaluate("document.body.dataset.state") == "live":
        taken.append(await page.screenshot(type="png"))
        due += EVERY_MS / 1000
        await asyncio.sleep(max(0.0, due - loop.time()))
    taken.append(await page.screenshot(type="png"))
    height = SIZE["height"] * SHOWN_WIDTH // SIZE["width"]
    return [Image.open(io.BytesIO(one)).convert("RGB").resize((SHOWN_WIDTH, height)) for one in taken]


async def main() -> None:
    """Start a server and a browser, and write the picture."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    command = ("-m", "voxgender.cli", "serve", "--port", "0", "--ice-address", "127.0.0.1", "--log-level", "warning")
    server = await asyncio.create_subprocess_exec(sys.executable, *command, stdout=asyncio.subprocess.PIPE)
    assert server.stdout is not None
    try:
        url = (await server.stdout.readline()).decode().split()[-1]
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=chromium, args=FLAGS)
            page = await browser.new_page(viewport=SIZE, color_scheme="light")
            await page.goto(url)
            pictures = await frames(page)
            await browser.close()
    finally:
        server.terminate()
        await server.wait()
    shown_ms = [EVERY_MS] * (len(pictures) - 1) + [LAST_MS]
    pictures[0].save(
        PICTURE, save_all=True, append_images=pictures[1:], duration=shown_ms, loop=0, quality=QUALITY, method=6
    )
    size = PICTURE.stat().st_size
    print(f"{PICTURE}: {len(pictures)} frames, {size / 1000:.0f} kB")
    if size > LIMIT_BYTES:
        sys.exit("It is too large for a page that is read in three minutes: lower QUALITY or SHOWN_WIDTH.")


if __name__ == "__main__":
    asyncio.run(main())
