"""A model with labels of its own, on the page and in the component."""

import re
from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.browser.conftest import OpenPage, StartServer
from tests.browser.test_page import expect_no_sessions
from tests.inference import tiny

MOODS = ("calm", "excited", "angry")
WORDS = [mood.capitalize() for mood in MOODS]
COMPONENT = """async () => {
    await import('/client/voxgender-voice.js');
    const element = document.createElement('voxgender-voice');
    element.setAttribute('endpoint', '/whip');
    element.source = await navigator.mediaDevices.getUserMedia({ audio: true });
    document.body.append(element);
}"""
# In one turn, since the labels of random weights come and go.
SHOWN = """async (element, moods) => {
    const part = (name) => element.shadowRoot.querySelector(`.${name}`);
    const colour = () => getComputedStyle(part('word')).color;
    while (!moods.includes(element.dataset.label)) await new Promise((resolve) => setTimeout(resolve, 20));
    const told = [element.dataset.label, part('word').textContent, part('confidence').textContent];
    const ofMood = colour();
    element.show({ label: 'uncertain', confidence: 0.5 });
    return [...told, [ofMood, colour()]];
}"""


@pytest.mark.firefox
async def test_labels_of_another_kind_are_shown_by_their_own_names(
    start_server: StartServer, open_page: OpenPage, voices: dict[str, Path], tmp_path: Path
) -> None:
    """The page knew four labels, and showed every other one as `undefined`."""
    directory = tiny.save("Wav2Vec2ForSequenceClassification", tmp_path / "moods", MOODS, sharpness=20.0)
    server = start_server("--model", str(directory))
    page = await open_page(server.url, voices["female"])
    await page.get_by_role("button", name="Start").click()
    line = page.locator("#stream li.own").first
    await expect(line).to_be_visible()
    mood = await line.locator(".label").inner_text()
    assert mood in WORDS
    rows = page.locator("#figures dt:visible")
    assert await rows.all_inner_texts() == [*WORDS, "Uncertain", "Speech", "Latency", "Sent over"]
    await expect(page.locator("#key")).to_be_hidden()
    await page.get_by_role("button", name="Stop").click()
    await expect(page.locator("#status")).to_have_text("Stopped")

    await page.evaluate(COMPONENT)
    label, word, confidence, colours = await page.locator("voxgender-voice").evaluate(SHOWN, MOODS)
    assert word == label.capitalize()
    assert re.fullmatch(r"\d+ %", confidence)
    assert colours[0] != colours[1]
    await page.locator("voxgender-voice").evaluate("element => element.remove()")
    await expect_no_sessions(server)
