"""The relay by which Playwright drives Firefox."""

import json

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from tests.browser.firefox import ASK, relay_to

CALL = {"functionDeclaration": "async () => 7", "target": {"context": "tab"}, "awaitPromise": True}


def answer(number: int, value: str) -> dict[str, object]:
    result = {"type": "success", "realm": "page", "result": {"type": "string", "value": value}}
    return {"type": "success", "id": number, "result": result}


async def test_an_answer_that_firefox_forgets_is_asked_for_and_given_once() -> None:
    """A promise that was awaited while audio played got no answer, and the test that waited for it none either."""
    states = iter(["pending", "fulfilled"])

    async def forgetful_firefox(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        forgotten = 0
        async for message in socket:
            command = json.loads(message.data)
            if command["method"] == "session.status":
                await socket.send_json(answer(forgotten, "remembered late"))
                await socket.send_json({"type": "success", "id": command["id"], "result": {}})
            elif command["params"].get("awaitPromise"):
                forgotten = command["id"]
            elif command["params"]["functionDeclaration"] == ASK:
                await socket.send_json(answer(command["id"], next(states)))
            else:
                await socket.send_json(answer(command["id"], "kept by the page"))
        return socket

    app = web.Application()
    app.router.add_get("/firefox", forgetful_firefox)
    async with TestServer(app) as firefox:
        front = web.Application()
        front.router.add_get("/session", relay_to(str(firefox.make_url("/firefox"))))
        async with TestClient(TestServer(front)) as client, client.ws_connect("/session") as driver:
            await driver.send_json({"id": 1, "method": "script.callFunction", "params": CALL})
            assert await driver.receive_json(timeout=10) == answer(1, "kept by the page")
            await driver.send_json({"id": 2, "method": "session.status", "params": {}})
            assert await driver.receive_json(timeout=10) == {"type": "success", "id": 2, "result": {}}
