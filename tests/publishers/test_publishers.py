"""Programs that people publish with: GStreamer, FFmpeg, whip-client. Each speaks to a real server, labels come back."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientSession

from tests.publishers.conftest import HERE, Publish, Relay, ServerProcess
from voxgender.protocol import AnyMessage, Error, Segment, Summary, decode

SYSTEM_PYTHON = "/usr/bin/python3"
"""Debian's own, which sees Debian's GStreamer."""
OPUS = (
    "audioconvert ! audioresample ! audio/x-raw,rate=48000,channels=1 ! identity sync=true ! opusenc ! "
    "rtpopuspay pt=111 ! application/x-rtp,media=audio,encoding-name=OPUS,payload=111,clock-rate=48000,"
    "encoding-params=(string)2"
)


async def events(http: ClientSession, path: str) -> AsyncIterator[AnyMessage]:
    """The messages of a session to its end."""
    async with http.get(f"{path}/events") as response:
        assert response.status == 200
        async for line in response.content:
            if line.startswith(b"data:"):
                yield decode(line[5:])


async def heard(server: ServerProcess, relay: Relay) -> Summary:
    """End the session once a man and a woman were heard; return its summary."""
    labels: set[str] = set()
    async with asyncio.timeout(60), ClientSession(server.url) as http:
        path = await relay.session
        async for message in events(http, path):
            assert not isinstance(message, Error), message
            if isinstance(message, Segment):
                labels.add(message.label)
                if labels >= {"male", "female"}:
                    async with http.delete(path):
                        pass
            if isinstance(message, Summary):
                return message
    raise AssertionError("the session ended without a summary")


@pytest.mark.parametrize("options", ["", "bundle-policy=max-bundle"])
async def test_webrtcbin_publishes_and_is_told_apart(
    server_process: ServerProcess, relay: Relay, publish: Publish, voices: Path, options: str
) -> None:
    """GStreamer's certificate has an RSA key, so DTLS failed; its default makes no BUNDLE group."""
    await publish(SYSTEM_PYTHON, HERE / "webrtcbin.py", relay.url, voices, options)
    summary = await heard(server_process, relay)
    assert summary.male > 1.0
    assert summary.female > 1.0


async def test_whip_client_publishes_and_is_told_apart(
    server_process: ServerProcess, relay: Relay, publish: Publish, voices: Path, without_upnp: Path
) -> None:
    """Debian's WHIP client: GStreamer again, with candidates that come by PATCH."""
    audio = f"filesrc location={voices} ! wavparse ! {OPUS}"
    await publish("whip-client", "-u", relay.url, "-A", audio, LD_LIBRARY_PATH=str(without_upnp))
    summary = await heard(server_process, relay)
    assert summary.male > 1.0
    assert summary.female > 1.0


async def test_ffmpeg_publishes_with_a_certificate_on_p256(
    server_process: ServerProcess, relay: Relay, publish: Publish, voices: Path, p256: tuple[Path, Path]
) -> None:
    certificate, key = p256
    command = (sys.executable, HERE / "ffmpeg.py", relay.url, voices)
    await publish(*command, f"cert_file={certificate}", f"key_file={key}")
    summary = await heard(server_process, relay)
    assert summary.male > 1.0
    assert summary.female > 1.0


@pytest.mark.parametrize("options", [(), ("whip_flags=dtls_active",)])
async def test_ffmpegs_own_certificate_is_refused_with_advice(
    server_process: ServerProcess, relay: Relay, publish: Publish, voices: Path, options: tuple[str, ...]
) -> None:
    """With GnuTLS it makes one on secp224r1, which OpenSSL takes no more; it said "DTLS session failed", we nothing."""
    process = await publish(sys.executable, HERE / "ffmpeg.py", relay.url, voices, *options)
    await asyncio.wait_for(relay.session, 30)
    _, written = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode != 0
    assert b"DTLS session failed" in written
    # Once a minute, whichever call it was.
    assert "DTLS failed: wrong curve. Give the peer a certificate with a P-256 key" in server_process.log
