"""The settings of nginx that the documents show, in a real nginx in front of a real server."""

import asyncio
import json
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import ClientSession

from tests.deploy.artifacts import ROOT
from tests.options import given
from tests.redisserver import a_free_port
from tests.rtc import LOOPBACK, SDP, ToneTrack, a_peer, a_server
from tests.waits import until
from voxgender.engine import Engine
from voxgender.settings import FrontSettings

SITES = {"docs/deployment/one-machine.md": "", "docs/operations.md": "/voice"}
"""Documents that show a part of a ``server`` block, and the path at which that serves voxgender."""
_INDENTED = re.compile(r"(?:^ {4}.*\n|^\n(?= {4}))+", re.MULTILINE)


def block_of(document: str) -> str:
    blocks = _INDENTED.findall((ROOT / document).read_text())
    (found,) = [block for block in blocks if "proxy_pass" in block]
    return str(found)


@asynccontextmanager
async def an_nginx(folder: Path, block: str) -> AsyncIterator[str]:
    """Serve with this part of a ``server`` block; yield the site's URL."""
    command = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin") or shutil.which("nginx")
    if command is None:
        pytest.skip("no nginx: apt-get install nginx-light")
    port = a_free_port()
    temporary = (f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (folder / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log stderr warn; events {{}}\n"
        f"http {{ access_log off; {' '.join(temporary)}\nserver {{ listen {LOOPBACK}:{port};\n{block}\n}} }}\n"
    )
    process = await asyncio.create_subprocess_exec(
        command, "-e", "stderr", "-p", str(folder), "-c", str(folder / "nginx.conf"), stderr=asyncio.subprocess.PIPE
    )
    try:
        await until(lambda: process.returncode is not None or _listens(port))
        assert process.returncode is None, (await process.communicate())[1]
        yield f"http://{LOOPBACK}:{port}"
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(LOOPBACK, port)
    except OSError:
        return False
    writer.close()
    return True


@pytest.mark.parametrize(("document", "path"), SITES.items())
async def test_the_nginx_of_the_documents_passes_calls_events_and_websockets_on(
    engine: Engine, tmp_path: Path, document: str, path: str
) -> None:
    """Let the documents' own settings be tried.

    They passed no WebSocket on, and another host's name. So pages behind networks without UDP, and phone gateways, got
    status 426, or 403 where ``--allow-origin`` was set.
    """
    settings = given(FrontSettings, trusted_proxy=(LOOPBACK,), allow_origin=("https://elsewhere.example",))
    async with (
        a_server(engine, settings=settings) as server,
        an_nginx(tmp_path, block_of(document).replace("127.0.0.1:8080", server.url.removeprefix("http://"))) as site,
        ClientSession(site) as http,
    ):
        async with http.ws_connect(f"{path}/listen?rate=16000", origin=site) as socket:
            assert json.loads(await socket.receive_str(timeout=5))["type"] == "hello"
        async with a_peer(ToneTrack()) as peer:
            offer = await peer.offer()
        async with http.post(f"{path}/whip", data=offer, headers=SDP) as response:
            assert response.status == 201, await response.text()
            session = response.headers["Location"]
        assert session.startswith(f"{path}/whip/")
        async with asyncio.timeout(5), http.get(f"{session}/events") as events:
            assert b'"hello"' in b"".join([await events.content.readline() for _ in range(2)])
        async with http.delete(session) as response:
            assert response.status == 200
