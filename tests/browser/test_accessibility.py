"""axe finds no fault in any state of the pages, in light and in dark, and all fits a small phone in wider fonts too."""

import json
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import OpenBrowser, Server, StartServer, Windows

AXE = Path(__file__).parents[2] / "node_modules" / "axe-core" / "axe.min.js"
NO_CLIPBOARD = """() => {
    navigator.clipboard.writeText = async () => { throw new DOMException('no', 'NotAllowedError'); };
    document.execCommand = () => false;
}"""
FAULTS = """async () => (await axe.run()).violations.map(
    ({ id, nodes }) => `${id}: ${nodes.map(({ target }) => target.join(' ')).join(', ')}`
)"""
OVERFLOWS = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
TEXTS = """function* texts(root = document.body) {
    for (const element of root.querySelectorAll('*')) {
        const isText = (node) => node.nodeType === Node.TEXT_NODE && node.data.trim();
        const [text] = [...element.childNodes].filter(isText);
        const isSeen = element.checkVisibility() && !element.closest('.hidden, select, textarea');
        if (text && isSeen) yield [element, text.data.trim()];
        if (element.shadowRoot) yield* texts(element.shadowRoot);
    }
}"""
"""Each element that is seen with a text of its own, those of other elements' shadow trees too."""
ZOOM_TEXTS = f"""(factor) => {{
    {TEXTS}
    window.zoomed = [...texts()].map(([element]) => element).concat(...document.querySelectorAll('select'));
    const sizes = window.zoomed.map((element) => parseFloat(getComputedStyle(element).fontSize));
    const enlarge = ({{ style }}, at) => style.setProperty('font-size', `${{factor * sizes[at]}}px`, 'important');
    window.zoomed.forEach(enlarge);
}}"""
"""Make texts larger, as a browser's text zoom does, and a wider font: what holds them stays as it is."""
UNZOOM_TEXTS = "() => window.zoomed.forEach(({ style }) => style.removeProperty('font-size'))"
WIDER = 1.1
"""Factor to which texts are made larger, so that a page which holds here does with other fonts too."""
SPILLS = f"""() => {{
    {TEXTS}
    const spilt = [];
    for (const [element, text] of texts()) {{
        const range = document.createRange();
        range.selectNodeContents(element);
        const ink = range.getBoundingClientRect();
        const outside = element.getRootNode().host ?? element;
        const box = outside.closest('li, button, dl > div, section, header, footer, .notice, .token, td, th, body');
        const card = box.getBoundingClientRect();
        if (ink.left < card.left - 1 || ink.right > card.right + 1) spilt.push(text);
    }}
    return spilt;
}}"""
"""Texts that leave their card, or that are cut off there."""
HIGHER = """() => [...document.querySelectorAll('.tiles, .tile')]
    .filter((box) => box.scrollHeight > box.clientHeight + 1)
    .map((box) => `${box.id || box.className}: ${box.innerText}`)"""
"""Tiles of a call with a text that goes on below them."""
PHRASES = "button, label, a, h2, dt, dd, .brand, .status span, .eyebrow, .key span, #stream span"
ROWS = ".top, .key, .take, .picker, .sources, .more, #stream li, dl > div"
WRAPPED = f"""() => {{
    {TEXTS}
    const inOneLine = (boxes) => {{
        const seen = boxes.filter(({{ width, height }}) => width > 1 && height > 1);
        return Math.max(...seen.map(({{ top }}) => top)) < Math.min(...seen.map(({{ bottom }}) => bottom));
    }};
    const written = (element) => {{
        const range = document.createRange();
        range.selectNodeContents(element);
        return [...range.getClientRects()];
    }};
    const wrapped = [];
    for (const [element, text] of texts()) {{
        if (element.matches('{PHRASES}') && !inOneLine(written(element))) wrapped.push(text);
        for (const node of [...element.childNodes].filter((node) => node.nodeType === Node.TEXT_NODE)) {{
            for (const {{ 0: word, index }} of node.data.matchAll(/[^\\s/\u2010-\u2015-]+/gu)) {{
                const range = document.createRange();
                range.setStart(node, index);
                range.setEnd(node, index + word.length);
                if (!inOneLine([...range.getClientRects()])) wrapped.push(word);
            }}
        }}
    }}
    for (const row of document.querySelectorAll('{ROWS}')) {{
        const parts = [...row.children].filter((part) => part.checkVisibility());
        if (!inOneLine(parts.map((part) => part.getBoundingClientRect()))) wrapped.push(row.innerText);
    }}
    for (const {{ shadowRoot, dataset }} of document.querySelectorAll('voxgender-voice[data-label]')) {{
        const [mark, word] = ['.mark', '.word'].map((part) => shadowRoot.querySelector(part));
        if (!inOneLine([mark.getBoundingClientRect(), ...written(word)])) wrapped.push(dataset.label);
    }}
    return wrapped;
}}"""
"""Phrases that take a second line, words that are torn apart, and rows whose parts are not beside each other."""
TORN = f"""() => {{
    {TEXTS}
    const torn = [];
    for (const [element, text] of texts()) {{
        const isJoined = /[\\p{{Script=Arabic}}\\p{{Script=Devanagari}}]/u.test(text);
        if (isJoined && parseFloat(getComputedStyle(element).letterSpacing)) torn.push(text);
    }}
    return torn;
}}"""
"""Texts in letters that are joined, and that a letter spacing tears apart or pushes into each other."""
STATUSES = """async () => {
    const { words } = await import(`/client/words/${document.documentElement.lang}.js`);
    const single = ['ready', 'waitingForMicrophone', 'connecting', 'live', 'reconnecting', 'stopped'];
    const ofACall = [words.notInCall, words.waitingForOthers, `${words.inTheCall} · ${words.countOf(4, 4)}`];
    return [...single.map((name) => words[name]), ...ofACall];
}"""
"""The states that stand in the head of the page and of the call page."""
WIDTHS = (320, 390, 1280)
SCHEMES: Sequence[Literal["light", "dark"]] = ("light", "dark")
LANGUAGES = ("ar", "de", "es", "fr", "hi", "en")
PICTURES = os.environ.get("VOXGENDER_PICTURES", "")
"""A folder for a picture of each state, to be looked at."""


async def check(page: Page, state: str, schemes: Sequence[Literal["light", "dark"]] = SCHEMES) -> None:
    """Look at a state with axe in each colour scheme, and with larger texts at three widths."""
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(AXE.read_text())
    # Colours that are on their way from one state to the next are no fault.
    await page.add_style_tag(
        content="*, *::before, *::after { transition: none !important; animation: none !important }"
    )
    for scheme in schemes:
        await page.emulate_media(color_scheme=scheme)
        assert await page.evaluate(FAULTS) == [], f"{state}, {scheme}"
        await check_widths(page, f"{state}-{scheme}")


async def check_widths(page: Page, state: str, widths: Sequence[int] = WIDTHS) -> None:
    """Look at a state with texts a tenth larger.

    A page fitted one browser, and wrapped in another, which has wider lists to choose from, and a scrollbar.
    """
    assert await page.evaluate(TORN) == [], state
    for width in widths:
        await page.set_viewport_size({"width": width, "height": 800})
        if PICTURES:
            await page.screenshot(path=f"{PICTURES}/{state}-{width}.png", full_page=True)
        await page.evaluate(ZOOM_TEXTS, WIDER)
        assert await page.evaluate(OVERFLOWS) <= 0, f"{state} at {width} px"
        assert await page.evaluate(SPILLS) == [], f"{state} at {width} px"
        assert await page.evaluate(HIGHER) == [], f"{state} at {width} px"
        assert await page.evaluate(WRAPPED) == [], f"{state} at {width} px"
        await page.evaluate(UNZOOM_TEXTS)


async def check_languages(page: Page, state: str) -> None:
    """Look at a state in each language, of which the last one stays."""
    for language in LANGUAGES:
        await page.locator("#language").select_option(language)
        await expect(page.locator("html")).to_have_attribute("lang", language)
        await check_widths(page, f"{state}-{language}", widths=(320, 1280))


@asynccontextmanager
async def page_of(browser: Windows, url: str, locale: str = "en-GB") -> AsyncIterator[Page]:
    context = await browser.new_context(locale=locale)
    page = await context.new_page()
    await page.goto(url)
    yield page
    # Left first, so that its call ends at once.
    await page.goto("about:blank")
    await context.close()


async def test_the_page_has_no_fault_in_any_state(
    server: Server, open_browser: OpenBrowser, conversation: Path
) -> None:
    browser = await open_browser(conversation)
    async with page_of(browser, server.url) as page:
        await check(page, "idle")
        await page.get_by_role("button", name="Start").click()
        await expect(page.locator("#word")).to_have_text("Female")
        await expect(page.locator("#stream li.no_speech").first).to_be_visible()
        await check(page, "live")
        await check_languages(page, "live")
        await page.get_by_role("button", name="Stop").click()
        await expect(page.locator("#status")).to_have_text("Stopped")
        await check(page, "stopped")
        await check_languages(page, "stopped")
        await page.evaluate(NO_CLIPBOARD)
        await page.get_by_role("button", name="Copy").click()
        await expect(page.locator("#to-copy")).to_be_visible()
        await check(page, "copy-by-hand")


@pytest.mark.parametrize("locale", ["ar-EG", "de-DE", "es-ES", "fr-FR", "hi-IN"])
async def test_other_languages_fit_as_well(server: Server, open_browser: OpenBrowser, locale: str) -> None:
    browser = await open_browser()
    for path, name in (("", "idle"), ("client/call.html", "call"), ("operators", "operators")):
        async with page_of(browser, server.url + path, locale) as page:
            await expect(page.locator("html")).to_have_attribute("lang", locale.partition("-")[0])
            # Colours are those of English.
            await check(page, f"{name}-{locale}", schemes=("light",))


async def test_problems_have_no_fault(start_server: StartServer, open_browser: OpenBrowser) -> None:
    server = start_server("--model", "off", "--token", "correct-horse-battery-staple")
    browser = await open_browser()
    async with page_of(browser, server.url) as page:
        await page.get_by_role("button", name="Try a sample").click()
        await expect(page.get_by_label("Token")).to_be_visible()
        await check(page, "token")
    async with page_of(browser, f"{server.url}client/call.html", "de-DE") as page:
        await page.locator("#join").click()
        await expect(page.get_by_label("Token")).to_be_visible()
        await check(page, "call-token")


@pytest.mark.firefox
async def test_the_call_page_has_no_fault(server: Server, open_browser: OpenBrowser, babble: Path) -> None:
    async with page_of(await open_browser(babble), f"{server.url}client/call.html") as page:
        await check(page, "call")
        await page.get_by_role("button", name="Join").click()
        await page.get_by_role("button", name="Mute").click()
        await expect(page.get_by_text("Muted").first).to_be_visible()
        await check(page, "call-muted")


async def test_a_full_call_fits_a_small_phone_in_each_language(
    server: Server, open_browser: OpenBrowser, voices: dict[str, Path]
) -> None:
    """The letters of Arabic and Hindi labels were pushed into each other; the page had been looked at empty only."""
    context = await (await open_browser(voices["female"])).new_context(viewport={"width": 320, "height": 800})
    pages = {language: await context.new_page() for language in ("ar", "de", "fr", "hi")}
    for language, page in pages.items():
        await page.add_init_script(f"localStorage.setItem('voxgender.language', {language!r})")
        if language in ("ar", "de"):
            # Their own tile has an error to tell, and those of the others a label.
            await page.route("**/whip", lambda route: route.abort())
        await page.goto(f"{server.url}client/call.html")
        await page.locator("#join").click()
    for language, page in pages.items():
        await expect(page.locator("html")).to_have_attribute("lang", language)
        await expect(page.locator("[data-seat]")).to_have_count(3)
        await expect(page.locator("voxgender-voice[data-label='female']")).to_have_count(2)
        await check_widths(page, f"call-full-{language}", widths=(320,))


async def test_each_label_and_each_state_fits_the_smallest_phone_in_each_language(
    server: Server, open_browser: OpenBrowser
) -> None:
    """In German and French the mark stood on a line of its own, above the word, and states below the page's name."""
    context = await (await open_browser()).new_context(viewport={"width": 320, "height": 800})
    page = await context.new_page()
    for language in LANGUAGES:
        # Any page of this origin will do.
        await page.goto(f"{server.url}health/live")
        await page.evaluate("language => localStorage.setItem('voxgender.language', language)", language)
        await page.goto(f"{server.url}client/call.html")
        await expect(page.locator("html")).to_have_attribute("lang", language)
        await page.evaluate("document.getElementById('tiles').dataset.count = 4")
        for label in ("female", "male", "uncertain", "no_speech"):
            await page.locator("#mine").evaluate("(voice, label) => voice.show({ label, confidence: 1 })", label)
            await check_widths(page, f"call-{label}-{language}", widths=(320,))
        await page.evaluate(ZOOM_TEXTS, WIDER)
        for status in await page.evaluate(STATUSES):
            await page.locator("#status").evaluate("(element, text) => void (element.textContent = text)", status)
            assert await page.evaluate(WRAPPED) == [], status


async def test_the_operators_page_has_no_fault_and_shows_texts_as_texts(
    server: Server, open_browser: OpenBrowser
) -> None:
    """A node's or a model's own name is no markup, whatever it is."""
    picture = {
        "calls": [
            {
                "call": "0123456789ab", "node": "<b>x</b>", "state": "connected", "age_s": 61.0, "voices": 8,
                "shares": {"<img src=x onerror=alert(1)>": 1.0}, "latency_ms": 43.2, "packets_lost": 3,
            }
        ],
        "nodes": [
            {
                "node": "<b>x</b>", "sessions": 1, "capacity": 100, "load": 0.34, "draining": False,
                "region": "<script>alert(1)</script>", "version": "0.1.0",
            }
        ],
    }  # fmt: skip
    async with page_of(await open_browser(), f"{server.url}health/live") as page:
        body = f"data: {json.dumps(picture)}\n\n"
        await page.route(
            "**/operators/events", lambda route: route.fulfill(content_type="text/event-stream", body=body)
        )
        await page.goto(f"{server.url}operators")
        await expect(page.locator("#calls tr")).to_contain_text("onerror")
        assert await page.locator("#calls img, #nodes script, td b").count() == 0
        await check(page, "operators")
