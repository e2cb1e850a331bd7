"""The example for Twilio, run as its users run it, with a stream shaped as Twilio's."""

import asyncio
import re
import sys
from pathlib import Path
from xml.etree import ElementTree

from aiohttp import ClientSession
from yarl import URL

from tests.http.test_gateways import CONNECTED, STOP, both_tracks, say, twilio_start
from tests.http.test_listen import until_closed
from tests.rtc import a_server
from voxgender.engine import Engine

EXAMPLE = Path(__file__).parents[2] / "examples" / "twilio.py"


async def test_a_call_is_answered_streamed_and_printed(hearing: Engine) -> None:
    async with a_server(hearing) as server, ClientSession() as twilio:
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(EXAMPLE), "--server", server.url, "--port", "0", "--dial", "+15550100",
            stdout=asyncio.subprocess.PIPE, env={"VOXGENDER_PUBLIC": server.url.replace("http", "ws")},
        )  # fmt: skip
        assert process.stdout is not None
        try:
            async with asyncio.timeout(30):
                ready = (await process.stdout.readline()).decode()
                webhook = re.search(r"http://\S+", ready)
                assert webhook is not None
                async with twilio.post(webhook[0], data={"CallSid": "CA7"}) as response:
                    twiml = ElementTree.fromstring(await response.text())
                stream = twiml.find("Start/Stream")
                assert stream is not None
                assert stream.get("track") == "both_tracks"
                assert twiml.findtext("Dial") == "+15550100"
                async with twilio.ws_connect(URL(stream.attrib["url"])) as socket:
                    await say(socket, CONNECTED, twilio_start("inbound", "outbound"), *both_tracks(), STOP)
                    assert (await until_closed(socket))[1] == 1000
                printed = [(await process.stdout.readline()).decode() for _ in range(4)]
        finally:
            process.terminate()
            await process.wait()
    assert any(re.fullmatch(r"CA7 +[\d.]+ s  caller: (fe)?male\n", line) for line in printed)
    assert all(line.startswith("CA7 ") for line in printed)
