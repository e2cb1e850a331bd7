"""``docs/openapi.yaml`` and ``docs/http-api.md`` against the application that runs."""

import ast
import json
import re
from pathlib import Path
from typing import Any

import msgspec
import yaml
from aiohttp import ClientResponse
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from tests.engine.models import Pitch
from tests.options import given
from tests.rtc import FRAGMENT, SDP, ToneTrack, a_peer, a_server
from voxgender import calloptions
from voxgender.engine import Engine
from voxgender.http.app import create_app
from voxgender.http.problems import REFUSALS
from voxgender.media.node import MediaNode
from voxgender.protocol import Hello, decode
from voxgender.roles.modelswap import ModelSwap
from voxgender.settings import FrontSettings, ModelOptions
from voxgender.usage import UsageReport

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "server" / "voxgender"
PROSE = (ROOT / "docs" / "http-api.md").read_text()
DOCUMENT: dict[str, Any] = yaml.safe_load((ROOT / "docs" / "openapi.yaml").read_text())


def routes() -> set[tuple[str, str]]:
    """Return what the application serves, as (method, path)."""
    models = ModelSwap(ModelOptions(), lambda _: Pitch())
    router = create_app(FrontSettings(), MediaNode(), models=models).router
    return {(route.method, route.resource.canonical) for route in router.routes() if route.resource}


def resolve(node: dict[str, Any]) -> dict[str, Any]:
    """Return what a ``$ref`` of the document points at."""
    while "$ref" in node:
        target: Any = DOCUMENT
        for name in node["$ref"].removeprefix("#/").split("/"):
            target = target[name]
        node = target
    return node


def codes() -> set[str]:
    """Return every problem code: those of refusals, and what ``Problem`` is given as ``code`` in the source."""
    found = set(REFUSALS)
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(func=ast.Name(id="Problem"), args=[_, *more], keywords=keywords):
                    (code,) = [keyword.value for keyword in keywords if keyword.arg == "code"] or more[:1]
                    # A code that is handed on is found where it comes from.
                    if not isinstance(code, ast.Attribute):
                        found.add(ast.literal_eval(code))
    return found


def test_the_document_is_valid_openapi() -> None:
    OpenAPIV31SpecValidator(DOCUMENT).validate()


def test_every_route_is_documented_and_nothing_more() -> None:
    documented = {
        (method.upper(), path)
        for path, item in DOCUMENT["paths"].items()
        for method in item
        if method in {"get", "put", "post", "delete", "options", "head", "patch", "trace"}
    }
    assert documented == {(method, path) for method, path in routes() if method != "HEAD"}
    in_prose = set(re.findall(r"^\| `([A-Z]+) (/[^`]*)` \|", PROSE, re.MULTILINE))
    assert in_prose == documented


def test_head_is_answered_where_the_documents_say() -> None:
    served = routes()
    gets = {
        path
        for method, path in served
        if method == "GET" and not path.startswith(("/whip/", "/listen", "/operators/", "/names/", "/subjects/"))
    }
    assert gets == {path for method, path in served if method == "HEAD"}


def test_every_problem_code_is_listed_and_nothing_more() -> None:
    assert "at_capacity" in codes()
    assert set(DOCUMENT["components"]["schemas"]["Problem"]["properties"]["code"]["enum"]) == codes()
    assert set(re.findall(r"^\| `(\w+)` \| (?:\d+|any) \|", PROSE, re.MULTILINE)) == codes()


def test_tokens_are_asked_for_where_the_document_says() -> None:
    secured = {
        f"{method.upper()} {path}"
        for path, item in DOCUMENT["paths"].items()
        for method, operation in item.items()
        if method != "parameters" and "security" in operation
    }
    in_prose = set(re.findall(r"^\| `([A-Z]+ /[^`]*)` \| [^|]+ \| (?:asked for|for [^|]+) \|", PROSE, re.MULTILINE))
    assert secured == in_prose
    assert secured == {
        "POST /whip",
        "OPTIONS /whip",
        "GET /sessions",
        "GET /usage",
        "GET /operators/events",
        "DELETE /operators/calls/{call}",
        "PUT /operators/nodes/{node}/drain",
        "PUT /model",
        "GET /names/{name}/events",
        "GET /subjects/{subject}/events",
        "GET /listen",
        "POST /listen",
        "GET /listen/twilio",
        "GET /listen/telnyx",
        "GET /listen/vonage",
    }


async def conforms(response: ClientResponse, path: str, status: int) -> Any:
    """Hold a response against the operation that documents it; return its body."""
    assert response.status == status, await response.text()
    documented = resolve(DOCUMENT["paths"][path][response.method.lower()]["responses"][str(status)])
    for name, header in documented.get("headers", {}).items():
        header = resolve(header)
        assert name in response.headers or not header.get("required"), name
        for value in response.headers.getall(name, []):
            Draft202012Validator(header["schema"]).validate(value)
    content = documented.get("content", {})
    if not content:
        assert await response.read() == b""
        return None
    (media_type, described), *_ = content.items()
    assert media_type in (response.content_type, "*/*")
    if not media_type.endswith("json"):
        return None if media_type == "text/event-stream" else await response.text()
    body = await response.json(content_type=None)
    schema = {"$ref": described["schema"]["$ref"]} if "$ref" in described["schema"] else described["schema"]
    Draft202012Validator(schema | {"components": DOCUMENT["components"]}).validate(body)
    return body


async def test_a_call_goes_as_documented(engine: Engine) -> None:
    settings = given(FrontSettings, ice_server=("turn:ann:s3cr3t@turn.example.org",))
    async with a_server(engine, settings=settings) as server, a_peer(ToneTrack()) as peer:
        http, session = server.http, "/whip/{session}"
        peer.channels()
        async with http.options("/whip") as response:
            await conforms(response, "/whip", 204)
        async with http.post("/whip", data=await peer.offer(), headers=SDP) as response:
            await peer.accept(await conforms(response, "/whip", 201))
            url, etag = response.headers["Location"], response.headers["ETag"]
        await peer.until(Hello)
        async with http.options(url) as response:
            await conforms(response, session, 204)
        async with http.get(url) as response:
            assert (await conforms(response, session, 200))["state"] == "connected"
        async with http.patch(url, data="a=end-of-candidates", headers=FRAGMENT | {"If-Match": etag}) as response:
            await conforms(response, session, 204)
        async with http.get("/sessions") as response:
            (entry,) = (await conforms(response, "/sessions", 200))["sessions"]
            assert entry["session"] == url.removeprefix("/whip/")[:8]
        async with http.get(f"{url}/events") as events:
            await conforms(events, f"{session}/events", 200)
            assert await events.content.readline() == b"id: 0\n"
            assert isinstance(decode((await events.content.readline()).removeprefix(b"data: ")), Hello)
            async with http.delete(url) as response:
                await conforms(response, session, 200)
            assert b'"type":"summary"' in await events.read()
        async with http.delete(url) as response:
            assert (await conforms(response, session, 404))["code"] == "session_not_found"


def test_the_options_of_a_call_are_those_that_are_read() -> None:
    parameters = {one["name"]: one["schema"] for one in DOCUMENT["paths"]["/whip"]["post"]["parameters"]}
    assert tuple(parameters) == calloptions.PARAMETERS
    most = calloptions.MAX_TAGS * (calloptions.MAX_TAG + 1) - 1
    assert parameters["tags"]["maxLength"] == most
    assert parameters["name"]["maxLength"] == calloptions.MAX_NAME
    assert parameters["reference"]["maxLength"] == calloptions.MAX_REFERENCE
    for text in (",".join(calloptions.MESSAGES), *calloptions.MESSAGES, "change,", "hello", ""):
        is_documented = re.search(parameters["messages"]["pattern"], text) is not None
        assert is_documented == all(one in calloptions.MESSAGES for one in text.split(","))
    options = PROSE.split("### Options of a call")[1].split("###")[0]
    assert tuple(re.findall(r"^\| `(\w+)` \|", options, re.MULTILINE)) == calloptions.PARAMETERS
    node: dict[str, Any] = yaml.safe_load((ROOT / "docs" / "openapi-node.yaml").read_text())
    body = node["paths"]["/offers/{offer}"]["put"]["requestBody"]["content"]["application/json"]["schema"]
    assert tuple(body["properties"]["options"]["properties"]) == calloptions.PARAMETERS


async def test_usage_is_as_documented(engine: Engine) -> None:
    async with (
        a_server(engine, settings=given(FrontSettings, token="secret")) as server,
        server.http.ws_connect("/listen", headers={"Authorization": "Bearer secret"}) as socket,
    ):
        await socket.send_bytes(bytes(32_000))
        async with server.http.get("/usage") as response:
            await conforms(response, "/usage", 401)
        async with server.http.get("/usage", headers={"Authorization": "Bearer secret"}) as response:
            report = await conforms(response, "/usage", 200)
    example = json.loads(PROSE.split("## Usage")[1].split("```json")[1].split("```")[0])
    for told, shown in ((report, example), (report["nodes"][0], example["nodes"][0])):
        assert told.keys() == shown.keys()
    schema = {"$ref": "#/components/schemas/UsageReport", "components": DOCUMENT["components"]}
    Draft202012Validator(schema).validate(example)
    assert msgspec.convert(example, UsageReport).total.calls == 3


async def test_refusals_are_as_documented(engine: Engine) -> None:
    async with a_server(engine, settings=given(FrontSettings, token="secret"), max_sessions=1) as server:
        http, session, bearer = server.http, "/whip/{session}", {"Authorization": "Bearer secret"}
        async with http.post("/whip", data="v=0", headers=SDP) as response:
            await conforms(response, "/whip", 401)
        async with http.get("/sessions") as response:
            await conforms(response, "/sessions", 401)
        for status, body, headers in (
            (400, "hello", SDP),
            (413, "v=0\r\n" * 60_000, SDP),
            (415, "{}", {"Content-Type": "application/json"}),
            (422, "v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\n", SDP),
        ):
            async with http.post("/whip", data=body, headers=headers | bearer) as response:
                await conforms(response, "/whip", status)
        async with a_peer(ToneTrack()) as peer, a_peer(ToneTrack()) as another:
            async with http.post("/whip", data=await peer.offer(), headers=SDP | bearer) as response:
                url = response.headers["Location"]
            async with http.post("/whip", data=await another.offer(), headers=SDP | bearer) as response:
                assert (await conforms(response, "/whip", 503))["code"] == "at_capacity"
            for status, body, headers in (
                (400, "hello", FRAGMENT),
                (412, "a=mid:0", FRAGMENT | {"If-Match": '"stale"'}),
                (415, "a=mid:0", SDP),
                (422, "a=ice-ufrag:another", FRAGMENT),
            ):
                async with http.patch(url, data=body, headers=headers) as response:
                    await conforms(response, session, status)


async def test_a_server_that_starts_answers_as_documented() -> None:
    async with a_server(None) as server:
        async with server.http.post("/whip", data="v=0", headers=SDP) as response:
            assert (await conforms(response, "/whip", 503))["code"] == "starting"
        async with server.http.get("/health/ready") as response:
            await conforms(response, "/health/ready", 503)
        async with server.http.get("/health/live") as response:
            await conforms(response, "/health/live", 200)


async def test_pages_and_metrics_are_as_documented(engine: Engine) -> None:
    async with a_server(engine) as server:
        for path, template in (
            ("/", "/"),
            ("/client/index.js", "/client/{path}"),
            ("/metrics", "/metrics"),
            ("/health/ready", "/health/ready"),
        ):
            async with server.http.get(path) as response:
                await conforms(response, template, 200)
                if "ETag" not in response.headers:
                    continue
            async with server.http.get(path, headers={"If-None-Match": response.headers["ETag"]}) as response:
                await conforms(response, template, 304)
        async with server.http.get("/client/nothing.js") as response:
            await conforms(response, "/client/{path}", 404)
