"""A node's private API lets signaling in, and nobody else."""

import json
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from aiohttp import ClientSession
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from tests.nodes import SECRET, a_node
from tests.rtc import LOOPBACK, ToneTrack, a_peer
from voxgender.engine import Engine
from voxgender.errors import NotReady
from voxgender.fleet.announcer import NodeStatus
from voxgender.fleet.node_api import create_node_app
from voxgender.fleet.nodehttp import NoAnswer
from voxgender.fleet.remote import RemoteNode
from voxgender.fleet.secret import Secret
from voxgender.fleet.wire import RECORD_HEADER, OfferRequest
from voxgender.media.node import MediaNode
from voxgender.roles.hosting import listen

if TYPE_CHECKING:
    from voxgender.fleet.record import NodeRecord


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/node"),
        ("GET", "/sessions"),
        ("PUT", "/offers/x"),
        ("DELETE", "/offers/x"),
        ("GET", "/whip/x"),
        ("PATCH", "/whip/x"),
        ("DELETE", "/whip/x"),
        ("GET", "/whip/x/events"),
        ("GET", "/nothing"),
    ],
)
async def test_what_is_not_signed_is_401_and_learns_nothing(engine: Engine, method: str, path: str) -> None:
    async with a_node(engine) as node, ClientSession(node.url) as http:
        for authorization in ("", "Bearer x", Secret("guessed").authorization(method, path)):
            async with http.request(method, path, headers={"Authorization": authorization}) as response:
                assert response.status == 401
                assert (await response.json())["code"] == "unauthorized"
                assert RECORD_HEADER not in response.headers


async def test_health_and_metrics_are_for_the_platform(engine: Engine) -> None:
    async with a_node(engine) as node, ClientSession(node.url) as http:
        for path in ("/health/live", "/health/ready", "/metrics"):
            async with http.get(path) as response:
                assert response.status == 200
        node.node.drain()
        async with http.get("/health/ready") as response:
            assert response.status == 503
            assert (await response.json())["code"] == "draining"
        async with http.get("/health/live") as response:
            assert response.status == 200


async def test_with_every_answer_the_node_says_how_full_it_is(engine: Engine) -> None:
    heard: list[NodeRecord] = []
    async with a_node(engine, region="eu", max_sessions=7) as node, a_peer(ToneTrack()) as peer:
        remote = RemoteNode(node.url, SECRET, on_record=heard.append)
        placed = await remote.offer("id", OfferRequest(await peer.offer()))
        assert (await remote.describe_all())[0]["session"] == placed.session[:8]
        await remote.end(placed.session)
        await remote.close()
    assert [(record.sessions, record.capacity, record.region) for record in heard] == [
        (1, 7, "eu"),
        (1, 7, "eu"),
        (0, 7, "eu"),
    ]
    assert [record.beat for record in heard] == [1, 2, 3]


async def test_an_answer_that_was_changed_on_its_way_is_none(engine: Engine) -> None:
    """Anybody who could put a fingerprint of their own into it could listen to the call."""

    class Meddler(Secret):
        def sign(self, purpose: str, text: bytes) -> str:
            return super().sign(purpose, text + b" " if purpose == "placed" else text)

    async with a_node(engine, secret=Meddler("shared by signaling and nodes")) as node, a_peer(ToneTrack()) as peer:
        remote = RemoteNode(node.url, SECRET)
        with pytest.raises(NoAnswer, match="not signed"):
            await remote.offer("id", OfferRequest(await peer.offer()))
        await remote.close()


async def test_what_is_no_placement_is_a_problem(engine: Engine) -> None:
    async with a_node(engine) as node, ClientSession(node.url) as http:
        for body in (b"", b"{}", b"v=0", b'{"offer": 1}'):
            headers = {"Authorization": SECRET.authorization("PUT", "/offers/x", body)}
            async with http.put("/offers/x", data=body, headers=headers) as response:
                assert response.status == 400
                assert json.loads(await response.read())["code"] == "malformed_sdp"


async def test_a_node_that_is_starting_is_not_there_yet() -> None:
    node = MediaNode()
    async with AsyncExitStack() as stack:
        port = await listen(create_node_app(node, SECRET, NodeStatus(node, "a")), stack, host=LOOPBACK, port=0)
        remote = RemoteNode(f"http://{LOOPBACK}:{port}", SECRET)
        stack.push_async_callback(remote.close)
        with pytest.raises(NotReady, match="model"):
            await remote.record()
        with pytest.raises(NotReady, match="model"):
            await remote.offer("id", OfferRequest("v=0"))


DOCS = Path(__file__).parents[2] / "docs"


def test_the_face_is_documented_and_nothing_more(engine: Engine) -> None:
    node = MediaNode()
    router = create_node_app(node, SECRET, NodeStatus(node, "a")).router
    served = {(route.method, route.resource.canonical) for route in router.routes() if route.resource}
    document = yaml.safe_load((DOCS / "openapi-node.yaml").read_text())
    OpenAPIV31SpecValidator(document).validate()
    documented = {
        (method.upper(), path) for path, item in document["paths"].items() for method in item if method != "parameters"
    }
    assert documented == {(method, path) for method, path in served if method != "HEAD"}
    record = json.loads(NodeStatus(node, "0123456789ab").record().to_json())
    Draft202012Validator(document["components"]["schemas"]["Record"]).validate(record)
