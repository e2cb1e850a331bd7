"""Several voices by one connection from a real browser."""

import base64
from pathlib import Path

import pytest

from tests.browser.conftest import SOUND_UNASKED, OpenPage, Server
from tests.browser.test_page import expect_no_sessions
from tests.lossyproxy import a_lossy_proxy
from tests.waits import until

PREPARE = """async (files) => {
    const { VoxgenderClient } = await import('/client/index.js');
    const context = new AudioContext();
    window.track = async (label) => {
        const bytes = Uint8Array.from(atob(files[label]), (letter) => letter.charCodeAt(0));
        const buffer = await context.decodeAudioData(bytes.buffer);
        const player = new AudioBufferSourceNode(context, { buffer, loop: true });
        const target = new MediaStreamAudioDestinationNode(context);
        player.connect(target);
        player.start();
        return target.stream.getAudioTracks()[0];
    };
    window.heard = {};
    window.states = [];
    window.client = new VoxgenderClient('/whip');
    client.addEventListener('state', ({ detail: { state, error } }) => states.push([state, error?.message]));
    client.addEventListener('result', ({ name, detail }) => ((heard[name] ??= {})[detail.label] = detail));
}"""
ADD = "async ([name, label]) => client.add(name, await track(label))"


@pytest.mark.firefox
async def test_voices_are_told_apart_and_come_and_go(
    server: Server, open_page: OpenPage, voices: dict[str, Path]
) -> None:
    await expect_no_sessions(server)
    page = await open_page(server.url, surroundings=SOUND_UNASKED)
    files = {label: base64.b64encode(path.read_bytes()).decode() for label, path in voices.items()}
    await page.evaluate(PREPARE, files)
    await page.evaluate("async () => client.start({ Max: await track('male'), 'Zoë & co': await track('female') })")
    await page.wait_for_function("heard.Max?.male && heard['Zoë & co']?.female")
    assert not await page.evaluate("heard.Max.female || heard['Zoë & co'].male")
    assert len(server.sessions()) == 1
    await page.evaluate(ADD, ["carol", "female"])
    await page.wait_for_function("heard.carol?.female")
    # The first line carries the transport of all.
    gone = await page.evaluate("client.remove('Max')")
    assert gone["male"] > 0
    await page.evaluate("window.heard = {}")
    await page.evaluate(ADD, ["dave", "male"])
    await page.wait_for_function("heard.dave?.male && heard.carol?.female && heard['Zoë & co']?.female")
    assert not await page.evaluate("heard.Max")
    (session,) = server.sessions()
    assert len(session["voices"]) == 3
    summary = await page.evaluate("client.stop()")
    assert min(summary["male"], summary["female"]) > 0
    assert await page.evaluate("[...client.totals.keys()].sort()") == ["Max", "Zoë & co", "carol", "dave"]
    assert await page.evaluate("states.map(([state]) => state)") == ["connecting", "live", "stopped"], (
        await page.evaluate("states")
    )
    await expect_no_sessions(server)


async def test_more_voices_than_a_call_takes_are_refused_and_the_others_go_on(
    server: Server, open_page: OpenPage, voices: dict[str, Path]
) -> None:
    await expect_no_sessions(server)
    page = await open_page(server.url, surroundings=SOUND_UNASKED)
    files = {"male": base64.b64encode(voices["male"].read_bytes()).decode()}
    await page.evaluate(PREPARE, files)
    names = [f"voice {number}" for number in range(8)]
    await page.evaluate(
        """async (names) => {
            const one = await track('male');
            await client.start(Object.fromEntries(names.map((name) => [name, one.clone()])));
        }""",
        names,
    )
    code = await page.evaluate("async () => client.add('ninth', await track('male')).catch(({ code }) => code)")
    assert code == "too_many_voices"
    await page.evaluate("window.heard = {}")
    await page.wait_for_function("Object.keys(heard).length === 8")
    await page.evaluate("client.remove('voice 3')")
    await page.evaluate(ADD, ["ninth", "male"])
    await page.wait_for_function("heard.ninth")
    await page.evaluate("client.stop()")
    await expect_no_sessions(server)


async def test_a_voice_does_not_stay_on_the_server_for_answers_that_are_lost(
    server: Server, open_page: OpenPage, voices: dict[str, Path]
) -> None:
    """A later offer whose answer was lost left its voice, and its place, on the server until the call ended."""

    def count() -> int:
        (session,) = server.sessions()
        return len(session["voices"])

    await expect_no_sessions(server)
    async with a_lossy_proxy(server.url) as proxy:
        page = await open_page(proxy.url, surroundings=SOUND_UNASKED)
        files = {"male": base64.b64encode(voices["male"].read_bytes()).decode()}
        await page.evaluate(PREPARE, files)
        await page.evaluate("async () => client.start({ alice: await track('male') })")
        # Chromium itself asks again, once, where a connection breaks that has been used before.
        proxy.losing["PATCH"] = 2
        await page.evaluate(ADD, ["bob", "male"])
        await page.wait_for_function("heard.bob")
        assert proxy.lost["PATCH"] == 2
        assert count() == 2
        proxy.losing["PATCH"] = 1_000
        adding = page.evaluate("async () => client.add('carol', await track('male')).catch(({ code }) => code)")
        assert await adding == "unreachable"
        del proxy.losing["PATCH"]
        await until(lambda: count() == 2)
        await page.evaluate(ADD, ["dave", "male"])
        await page.wait_for_function("heard.dave")
        assert count() == 3
        assert await page.evaluate("[...client.tracks.keys()]") == ["alice", "bob", "dave"]
        await page.evaluate("client.stop()")
    await expect_no_sessions(server)
