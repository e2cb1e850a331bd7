"""A page of one origin and a server of another one, in a real browser."""

from pathlib import Path

import pytest

from tests.browser.conftest import OpenPage, Server, StartServer

CALL = """async (endpoint) => {
    const { VoxgenderClient } = await import('/client/index.js');
    const seen = [];
    window.seen = seen;
    const client = new VoxgenderClient(endpoint, {
        reconnectPolicy: ({ error, failures }) => (error.heals && failures < 1 ? 50 : null),
    });
    client.addEventListener('state', ({ detail }) => seen.push(detail.error?.code ?? detail.state));
    // As a page's monitoring does (Sentry, OpenTelemetry), to every request.
    const plain = window.fetch;
    window.fetch = (url, options = {}) => {
        const headers = { ...options.headers, traceparent: '00-1-1-01', baggage: 'a=b', 'sentry-trace': '1-1-1' };
        return plain(url, { ...options, headers: options.mode === 'no-cors' ? options.headers : headers });
    };
    const { track } = { track: (await navigator.mediaDevices.getUserMedia({ audio: true })).getAudioTracks()[0] };
    const result = new Promise((resolve) => client.addEventListener('result', resolve));
    try {
        await client.start(track);
        await result;
        await client.stop();
    } catch (error) {
        seen.push(error.code);
    }
    return seen;
}"""


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        pytest.param((), "stopped", marks=pytest.mark.firefox),
        (("--allow-origin", "https://elsewhere.example"), "cross_origin"),
        (None, "unreachable"),
    ],
)
async def test_a_page_of_another_origin_calls_with_its_monitorings_headers_or_is_told_why_not(
    server: Server,
    start_server: StartServer,
    open_page: OpenPage,
    babble: Path,
    options: tuple[str, ...] | None,
    wanted: str,
) -> None:
    """The preflight of ``traceparent`` was refused, and the client called on for ever: "cannot be reached"."""
    page = await open_page(server.url, babble)
    endpoint = "http://127.0.0.1:9/whip" if options is None else f"{start_server('--model', 'off', *options).url}whip"
    assert (await page.evaluate(CALL, endpoint))[-1] == wanted
