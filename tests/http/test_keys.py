"""Key sets: read, kept, rotated; from a file and over HTTP."""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.http.signing import Signer, key_set
from voxgender.errors import NotReady, SettingsError
from voxgender.http import keys as module
from voxgender.http.keys import MAX_BYTES, MAX_TRIED, REFRESH_S, RETRY_S, JwkSet, parse


@pytest.fixture(scope="module")
def old() -> Signer:
    return Signer("ES256", "old")


@pytest.fixture(scope="module")
def new() -> Signer:
    return Signer("ES256", "new")


class Publisher:
    """A server of a key set, and the clock of whoever reads it."""

    def __init__(self, *signers: Signer) -> None:
        self.body = key_set(signers)
        self.status = 200
        self.location = ""
        self.asked = 0
        self.answer = asyncio.Event()
        self.answer.set()
        self.now = 1_000.0
        self.url = ""

    def publish(self, *signers: Signer) -> None:
        self.body = key_set(signers)

    def keys(self) -> JwkSet:
        return JwkSet(self.url, clock=lambda: self.now)

    async def handle(self, _: web.Request) -> web.Response:
        self.asked += 1
        await self.answer.wait()
        headers = {"Location": self.location} if self.location else {}
        return web.Response(status=self.status, body=self.body, headers=headers)


@pytest.fixture
async def publisher(old: Signer) -> AsyncIterator[Publisher]:
    publisher = Publisher(old)
    app = web.Application()
    app.router.add_get("/{path:.*}", publisher.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    publisher.url = f"http://127.0.0.1:{runner.addresses[0][1]}/jwks.json?key=hush"
    yield publisher
    publisher.answer.set()
    await runner.cleanup()


async def until_read(keys: JwkSet) -> None:
    """A reading in the background has ended."""
    if keys._reading is not None:
        await asyncio.wait((keys._reading,))


async def test_keys_are_read_once_and_then_known(publisher: Publisher) -> None:
    keys = publisher.keys()
    for _ in range(3):
        assert await keys.find("old", "ES256")
    assert publisher.asked == 1


async def test_many_callers_at_once_wait_for_one_reading(publisher: Publisher) -> None:
    keys = publisher.keys()
    publisher.answer.clear()
    waiting = [asyncio.ensure_future(keys.find("old", "ES256")) for _ in range(5)]
    leaving = waiting.pop()
    await asyncio.sleep(0)
    leaving.cancel()
    publisher.answer.set()
    assert all(await asyncio.gather(*waiting))
    assert publisher.asked == 1


async def test_a_new_key_is_found_when_a_token_names_it(publisher: Publisher, old: Signer, new: Signer) -> None:
    keys = publisher.keys()
    await keys.find("old", "ES256")
    publisher.publish(old, new)
    publisher.now += RETRY_S
    assert await keys.find("new", "ES256")
    assert publisher.asked == 2


async def test_unknown_keys_make_nobody_read_all_the_time(publisher: Publisher) -> None:
    keys = publisher.keys()
    await keys.find("old", "ES256")
    for number in range(20):
        assert not await keys.find(f"made up {number}", "ES256")
    assert publisher.asked == 1
    publisher.now += RETRY_S
    for number in range(20):
        assert not await keys.find(f"made up {number}", "ES256")
    assert publisher.asked == 2


async def test_a_key_that_was_withdrawn_is_forgotten_in_the_background(publisher: Publisher, new: Signer) -> None:
    keys = publisher.keys()
    await keys.find("old", "ES256")
    publisher.publish(new)
    publisher.now += REFRESH_S
    assert await keys.find("old", "ES256"), "nobody waits for a refresh"
    await until_read(keys)
    assert not await keys.find("old", "ES256")
    assert await keys.find("new", "ES256")


@pytest.mark.parametrize(
    ("status", "body"),
    [(500, b"{}"), (200, b"<html>"), (200, b"[]"), (200, b'{"keys": []}'), (200, b"x" * (module.MAX_BYTES + 1))],
)
async def test_a_set_that_cannot_be_read_leaves_the_known_keys(
    publisher: Publisher, caplog: pytest.LogCaptureFixture, status: int, body: bytes
) -> None:
    keys = publisher.keys()
    await keys.find("old", "ES256")
    publisher.status, publisher.body = status, body
    publisher.now += REFRESH_S
    await keys.find("old", "ES256")
    await until_read(keys)
    assert await keys.find("old", "ES256")
    (record,) = caplog.records
    assert "those known stay" in record.message
    assert "hush" not in record.message
    publisher.now += RETRY_S
    await keys.find("old", "ES256")
    await until_read(keys)
    assert publisher.asked == 3, "it is tried again sooner than after a success"


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_set_that_has_moved_is_not_followed(
    publisher: Publisher, new: Signer, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    """Redirects were followed to any host, also from https to http, where whoever is on the way puts in keys."""
    await (keys := publisher.keys()).find("old", "ES256")
    publisher.publish(new)
    publisher.status, publisher.location = status, publisher.url.replace("jwks", "moved")
    publisher.now += RETRY_S
    assert not await keys.find("new", "ES256")
    assert publisher.asked == 2
    assert f"it answers {status}: name the address that it leads to" in caplog.text
    assert "hush" not in caplog.text
    assert await keys.find("old", "ES256")


async def test_a_set_of_many_keys_does_not_hold_the_loop(publisher: Publisher, old: Signer) -> None:
    """It was parsed on the event loop: all keys that 1 MiB holds took a second."""
    publisher.body = json.dumps(
        {"keys": [json.loads(key_set([old]))["keys"][0] | {"kid": str(n)} for n in range(5_000)]}
    ).encode()
    assert len(publisher.body) < MAX_BYTES
    keys = publisher.keys()
    stops: list[float] = []
    finding = asyncio.ensure_future(keys.find("4999", "ES256"))
    while not finding.done():
        began_at = time.thread_time()
        await asyncio.sleep(0)
        stops.append(time.thread_time() - began_at)
    assert finding.result() is not None
    assert max(stops) < 0.1


async def test_without_any_keys_the_caller_is_asked_to_come_back(publisher: Publisher) -> None:
    publisher.status = 500
    keys = publisher.keys()
    for _ in range(3):
        with pytest.raises(NotReady) as caught:
            await keys.find("old", "ES256")
        assert caught.value.code == "keys_unavailable"
    assert publisher.asked == 1
    publisher.status = 200
    publisher.now += RETRY_S
    assert await keys.find("old", "ES256")


async def test_nobody_listening_is_as_a_set_that_cannot_be_read() -> None:
    with pytest.raises(NotReady):
        await JwkSet("http://127.0.0.1:1/jwks").find("old", "ES256")


async def test_closing_ends_a_reading(publisher: Publisher) -> None:
    keys = publisher.keys()
    publisher.answer.clear()
    asking = asyncio.ensure_future(keys.find("old", "ES256"))
    while publisher.asked == 0:  # noqa: ASYNC110 - the server is another task of this loop
        await asyncio.sleep(0)
    await keys.close()
    with pytest.raises(asyncio.CancelledError):
        await asking


async def test_a_token_without_a_key_id_may_have_any_key_of_its_kind(
    publisher: Publisher, old: Signer, new: Signer
) -> None:
    keys = publisher.keys()
    assert len(await keys.find(None, "ES256")) == 1
    assert not await keys.find(None, "RS256")
    publisher.publish(old, new)
    publisher.now += REFRESH_S
    await keys.find("new", "ES256")
    assert len(await keys.find(None, "ES256")) == 2
    publisher.publish(*[old] * (MAX_TRIED + 1))
    publisher.now += REFRESH_S
    await keys.find("none", "ES256")
    assert len(await keys.find(None, "ES256")) == MAX_TRIED


async def test_a_file_is_read_again_when_it_has_changed(tmp_path: Path, old: Signer, new: Signer) -> None:
    path, now = tmp_path / "keys.json", [0.0]
    path.write_bytes(key_set([old]))
    keys = JwkSet(str(path), clock=lambda: now[0])
    assert await keys.find("old", "ES256")
    path.write_bytes(key_set([new]))
    now[0] += RETRY_S
    assert await keys.find("new", "ES256")
    path.unlink()
    now[0] += REFRESH_S
    await keys.find("new", "ES256")
    await until_read(keys)
    assert await keys.find("new", "ES256")


@pytest.mark.parametrize(
    "url", ["https://", "https:///jwks.json", "http://[::1", "http://host:port", "http://host:65536"]
)
def test_a_url_without_a_host_is_refused_at_the_start(url: str) -> None:
    with pytest.raises(SettingsError, match=r"^--jwt-keys"):
        JwkSet(url)


def test_a_file_that_is_of_no_use_is_refused_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    with pytest.raises(SettingsError, match=r"--jwt-keys.*No such file"):
        JwkSet(str(path))
    path.write_text("{}")
    with pytest.raises(SettingsError, match="no JSON Web Key Set"):
        JwkSet(str(path))
    path.write_bytes(b" " * (MAX_BYTES + 1))
    with pytest.raises(SettingsError, match="larger than any key set"):
        JwkSet(str(path))


def test_a_pipe_is_no_file_of_keys(tmp_path: Path) -> None:
    """The server waited for its other end, and neither SIGINT nor SIGTERM ended that."""
    pipe = tmp_path / "keys.json"
    os.mkfifo(pipe)
    with pytest.raises(SettingsError, match=r"--jwt-keys.*it is no regular file"):
        JwkSet(str(pipe))


@pytest.mark.parametrize(
    "members",
    [
        {"use": "enc"},
        {"alg": "ES384"},
        {"kty": "oct", "k": "c2VjcmV0"},
        {"crv": "P-384"},
        {"kty": "RSA"},
        {"x": "AA"},
        {"d": "AAAA"},
        {"kty": None},
    ],
)
def test_keys_of_no_use_are_passed_over(old: Signer, new: Signer, members: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no public key"):
        parse(json.dumps({"keys": [old.public(**members)]}).encode())
    found = parse(json.dumps({"keys": [old.public(**members), new.public()]}).encode())
    assert [key_id for key_id, _ in found] == ["new"]


@pytest.mark.parametrize(
    "text", ["", "null", "[]", '{"keys": 1}', '{"keys": [1]}', '{"keys": {"a": 1}}', "[" * 100_000]
)
def test_what_is_no_set_is_called_that(text: str) -> None:
    with pytest.raises(ValueError, match="no JSON Web Key Set"):
        parse(text.encode())
