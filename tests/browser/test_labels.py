"""A model with labels of its own, on the page."""

from pathlib import Path

from playwright.async_api import expect

from tests.browser.conftest import OpenPage, StartServer
from tests.inference import tiny


async def test_labels_of_another_kind_are_shown_by_their_own_names(
    start_server: StartServer, open_page: OpenPage, voices: dict[str, Path], tmp_path: Path
) -> None:
    """The page knew four labels, and showed every other one as `undefined`."""
    moods = ("calm", "excited", "angry")
    directory = tiny.save("Wav2Vec2ForSequenceClassification", tmp_path / "moods", moods, sharpness=20.0)
    server = start_server("--model", str(directory))
    page = await open_page(server.url, voices["female"])
    await page.get_by_role("button", name="Start").click()
    line = page.locator("#stream li.own").first
    await expect(line).to_be_visible()
    assert await line.locator(".label").inner_text() in {mood.capitalize() for mood in moods}
    rows = page.locator("#figures dt:visible")
    assert await rows.all_inner_texts() == [
        *(mood.capitalize() for mood in moods), "Uncertain", "Speech", "Latency", "Sent over",
    ]  # fmt: skip
    await expect(page.locator("#key")).to_be_hidden()
