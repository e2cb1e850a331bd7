"""``docs/listen.asyncapi.yaml`` against the WebSocket that runs."""

import json
import re
from pathlib import Path
from typing import Any, get_args, get_type_hints

import yaml
from aiohttp import WSMsgType
from jsonschema import Draft202012Validator

from tests.http.test_listen import SECOND
from tests.rtc import Server
from voxgender import audiostream
from voxgender.http import listen
from voxgender.http.websocket import CLOSE_CODES

DOCS = Path(__file__).parents[1] / "docs"
DOCUMENT: dict[str, Any] = yaml.safe_load((DOCS / "listen.asyncapi.yaml").read_text())
OPENAPI: dict[str, Any] = yaml.safe_load((DOCS / "openapi.yaml").read_text())
PROSE = (DOCS / "http-api.md").read_text()
MESSAGES = DOCUMENT["components"]["messages"]
QUERY = DOCUMENT["channels"]["listen"]["bindings"]["ws"]["query"]["properties"]


def test_every_reference_leads_somewhere() -> None:
    for target in re.findall(r"\$ref: '#/([^']+)'", (DOCS / "listen.asyncapi.yaml").read_text()):
        node = DOCUMENT
        for name in target.split("/"):
            node = node[name]
    assert (DOCS / MESSAGES["told"]["payload"]["$ref"]).is_file()


def test_the_query_is_the_one_that_is_parsed() -> None:
    assert tuple(QUERY) == audiostream._PARAMETERS
    assert QUERY["encoding"]["enum"] == list(get_args(audiostream.Encoding))
    assert (QUERY["rate"]["minimum"], QUERY["rate"]["maximum"]) == (audiostream.MIN_RATE_HZ, audiostream.MAX_RATE_HZ)
    assert QUERY["channels"]["maximum"] == audiostream.MAX_CHANNELS
    assert QUERY["name"]["maxLength"] == audiostream.MAX_NAME
    assert QUERY["from_ms"]["maximum"] == audiostream.MAX_FROM_MS
    in_openapi = {one["name"]: one["schema"] for one in OPENAPI["paths"]["/listen"]["parameters"]}
    assert in_openapi == QUERY
    in_prose = re.findall(
        r"^\| `(\w+)` \| [^|]+ \| [^|]+ \|$", PROSE.split("## A stream")[1].split("**To the server**")[0], re.MULTILINE
    )
    assert in_prose == list(QUERY)


def test_commands_are_those_that_are_taken() -> None:
    taken = list(get_args(get_type_hints(listen._Text)["type"]))
    assert MESSAGES["command"]["payload"]["properties"]["type"]["enum"] == taken
    assert re.findall(r'^\| `\{"type": "(\w+)"\}` \|', PROSE, re.MULTILINE) == taken


def test_close_codes_are_those_that_are_sent() -> None:
    assert list(DOCUMENT["x-close-codes"]) == sorted(set(CLOSE_CODES.values()))
    assert [int(code) for code in re.findall(r"^\| (1\d{3}) \|", PROSE, re.MULTILINE)] == sorted(
        set(CLOSE_CODES.values())
    )


async def test_a_stream_goes_as_documented(server: Server) -> None:
    told = Draft202012Validator(json.loads((DOCS / "protocol.schema.json").read_text()))
    pong = Draft202012Validator(MESSAGES["pong"]["payload"])
    async with server.http.ws_connect("/listen?channels=2&name=Ann") as socket:
        await socket.send_bytes(SECOND)
        for command in MESSAGES["command"]["payload"]["properties"]["type"]["enum"]:
            await socket.send_str(json.dumps({"type": command}))
        types = []
        while (message := await socket.receive()).type is WSMsgType.TEXT:
            text = json.loads(message.data)
            types.append(text["type"])
            (pong if text["type"] == "pong" else told).validate(text)
    assert types[0] == "hello"
    assert {"pong", "result", "summary"} <= set(types)
    assert message.data in DOCUMENT["x-close-codes"]
