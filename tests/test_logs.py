"""A server's log says what operators need, and holds no secret."""

import ast
import asyncio
import io
import logging
import os
import re
import secrets
import signal
import socket
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import jwt
import pytest
from aiohttp import ClientSession

from tests.rtc import FRAGMENT, LOOPBACK, ToneTrack, a_peer
from voxgender import logs, protocol
from voxgender.logs import REPEAT_S, LogHandler, describe


class Secrets:
    """Texts that nobody else has, each handed out once."""

    def __init__(self) -> None:
        self.given: list[str] = []

    def __call__(self) -> str:
        self.given.append(f"S3cr{secrets.token_hex(12)}")
        return self.given[-1]

    def token(self) -> str:
        """A JSON Web Token that is signed with another key; none of its three parts is to be seen."""
        made = jwt.encode({"sub": self(), "aud": "voxgender", "exp": 1}, secrets.token_hex(32))
        self.given += made.split(".")
        return made

    def found_in(self, text: str) -> list[str]:
        return [secret for secret in self.given if secret in text]


def broken_requests(secret: Secrets, path: str) -> Iterator[bytes]:
    """Requests that no server can take as they are, with a secret wherever one can stand. ``path``: a session's."""
    s = secret

    def post(*headers: str, body: str = "", to: str = "/whip") -> bytes:
        lines = [f"POST {to} HTTP/1.1", "Host: x", "Content-Type: application/sdp", *headers]
        return "\r\n".join([*lines, "", body]).encode("latin-1")

    for scheme in ("Bearer", "Basic", "Digest", "Voxgender", "Negotiate", ""):
        yield post(f"Authorization: {scheme} {s()}\x01", "Content-Length: 0")
        yield post(f"Authorization: {scheme} {s()}", "Content-Length: 3", body="v=0")
    yield post(f"Authorization: Bearer {s.token()}", "Content-Length: 3", body="v=0")
    yield post(f"Authorization: Bearer {s.token()}\x7f\x00", "Content-Length: 3", body="v=0")
    for name in ("Cookie", "X-Api-Key", "Referer", "Origin", "If-Match", "Range", "Upgrade", "Expect", "Forwarded"):
        yield post(f"{name}: {s()}\x02", "Content-Length: 0")
        yield post(f"{name}: {s()}", "Content-Length: 3", body="v=0")
        yield post(f"{name}: {s() * 400}", "Content-Length: 0")
    yield post(f"{s()}: x", f"{s()} : y", "Content-Length: 0")
    yield post(f"X-Bad\x03{s()}: x")
    yield post(f" {s()}: folded", "Content-Length: 0")
    for line in (
        f"GET {path}?{s()} HTTP/9.{s()}",
        f"{s()} {path}/{s()} HTTP/1.1",
        f"GET {path}/{s()}",
        f"GET {path}/{s()}\x01 HTTP/1.1",
        f"GET http://{s()}:{s()}@{s()}:port{path} HTTP/1.1",
        f"GET /{s() * 400} HTTP/1.1",
        f"CONNECT {s()} HTTP/1.1",
        f"\x16\x03\x01{s()}",
        s(),
    ):
        yield f"{line}\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode("latin-1")
    yield f"GET {path}%00/{s()}/events?token={s()} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    yield f"GET /client/..%2f{s()} HTTP/1.1\r\nHost: {s()}\r\nHost: {s()}\r\n\r\n".encode()
    for encoding in ("br", "zstd", "gzip", "deflate", s()):
        body = s()
        yield post(f"Content-Encoding: {encoding}", f"Content-Length: {len(body)}", body=body)
    yield post("Transfer-Encoding: chunked", body=f"5;{s()}=\x01{s()}\r\nv=0\r\n{s()}")
    yield post("Transfer-Encoding: chunked", body=f"{s()}\r\n")
    yield post("Transfer-Encoding: chunked", body=f"3\r\nv=0\r\n0\r\n{s()}: {s()}\x01\r\n\r\n")
    yield post(f"Transfer-Encoding: {s()}", "Content-Length: 3", body="v=0")
    yield post(f"Content-Length: {s()}")
    yield post("Content-Length: 3", "Content-Length: 4", body=s())
    yield post("Content-Length: 1000", body=f"a=ice-pwd:{s()}")  # and leaves
    yield post(f"Content-Type: application/sdp; charset={s()}", "Content-Length: 3", body="v=0")
    for kind in ("idna", "punycode", "undefined", "utf-16", "unicode_escape"):
        body = f"v=0\r\na=ice-pwd:{s()}\r\n\\x"
        yield post(f"X: y\r\nContent-Type: application/sdp; charset={kind}", f"Content-Length: {len(body)}", body=body)
    for body in sdps(secret):
        yield post(f"Content-Length: {len(body)}", body=body)
        fragment = f"PATCH {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/trickle-ice-sdpfrag\r\n"
        yield f"{fragment}If-Match: {s()}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
    yield post("Content-Length: 3", body=f"v=0GET {path}/{s()} HTTP/1.1\r\nHost: x\r\nA\x01: {s()}\r\n\r\n")
    yield post(
        "Connection: Upgrade", f"Upgrade: {s()}", "Content-Length: 0", body=f"GET {path}/{s()}\x01 {s()}\r\nX: {s()}"
    )
    yield post("Connection: Upgrade", "Upgrade: websocket", f"Sec-WebSocket-Key1: {s()}", "Content-Length: 0")


def sdps(secret: Secrets) -> Iterator[str]:
    """Offers and fragments that hold a password and cannot be answered."""
    s = secret
    start = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n"
    audio = "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=rtpmap:111 opus/48000/2\r\na=mid:0\r\n"
    ice = f"a=ice-ufrag:{s()}\r\na=ice-pwd:{s()}\r\n"
    print_ = "a=fingerprint:sha-256 " + ":".join(["AB"] * 32) + "\r\n"
    yield f"{start}{ice}"
    yield f"{start}{audio}{ice}"
    yield f"{start}{audio}{ice}{print_}a=setup:{s()}\r\n"
    yield f"{start}{audio}{ice}a=fingerprint:{s()} {s()}\r\na=setup:actpass\r\n"
    yield f"{start}{audio}{ice}{print_}a=setup:actpass\r\na=candidate:{s()} 1 udp {s()} {s()} port typ {s()}\r\n"
    yield f"{start}{audio}{ice}{print_}a=setup:actpass\r\na=rtpmap:{s()} {s()}\r\na=ssrc:{s()} {s()}\r\n"
    yield f"{start}m=audio {s()} {s()} {s()}\r\na=ice-pwd:{s()}\r\n"
    yield f"v={s()}\r\no={s()}\r\nc={s()}\r\nt={s()}\r\na=ice-pwd:{s()}\r\n"


async def send(data: bytes, *, port: int | None = None, path: str | None = None) -> bytes:
    """Send one broken request; what comes back. The client leaves where nothing does."""
    opened = asyncio.open_connection(LOOPBACK, port) if path is None else asyncio.open_unix_connection(path)
    reader, writer = await opened
    try:
        writer.write(data)
        async with asyncio.timeout(0.5):
            return await reader.read(65_536)
    except (TimeoutError, ConnectionError):
        return b""
    finally:
        writer.close()


class Server:
    """A role as a process of its own, and all that it says."""

    def __init__(self, process: asyncio.subprocess.Process, said: bytes) -> None:
        self.process = process
        self.said = said
        self.port = int(said.decode().split()[-1].rstrip("/").rpartition(":")[2])

    async def stop(self) -> str:
        self.process.send_signal(signal.SIGTERM)
        out, err = await asyncio.wait_for(self.process.communicate(), 30)
        assert self.process.returncode == 0, err.decode()
        return (self.said + out + err).decode()


async def a_server(*arguments: str, **environment: str) -> Server:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "voxgender.cli", *arguments, "--port", "0", "--log-level", "debug"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONASYNCIODEBUG": "", **environment},
    )
    assert process.stdout is not None
    return Server(process, await asyncio.wait_for(process.stdout.readline(), 60))


MEDIA = ("--model", "off", "--ice-address", LOOPBACK)
ROLES = {
    "serve": ("serve", *MEDIA),
    "serve with workers": ("serve", *MEDIA, "--workers", "2"),
    "signaling": ("signaling", "--nodes", "http://127.0.0.1:9"),
    "media": ("media", *MEDIA),
}


@pytest.mark.parametrize("role", ROLES)
async def test_no_secret_of_a_broken_request_is_in_the_log(role: str, tmp_path: Path) -> None:
    """aiohttp logged the line that it could not parse: a token behind a control character, a session's URL."""
    secret = Secrets()
    options = {"VOXGENDER_SECRET": secret(), "TMPDIR": str(tmp_path)}
    if "media" not in role:
        options |= {"VOXGENDER_TURN_SECRET": secret(), "VOXGENDER_ICE_SERVER": "turn:turn.example.org"}
        options["VOXGENDER_JWT_SECRET"] = secret() + secret()
    server = await a_server(*ROLES[role], **options)
    session = secret()
    for request in broken_requests(secret, f"/whip/{session}"):
        await send(request, port=server.port)
    workers = list(tmp_path.glob("voxgender-*/*.sock"))  # noqa: ASYNC240 - a look at one folder
    assert len(workers) == (2 if "workers" in role else 0)
    for worker in workers:
        for request in broken_requests(secret, f"/whip/{session}"):
            await send(request, path=str(worker))
    said = await server.stop()
    assert secret.found_in(said) == []
    assert "Traceback" not in said
    assert f"broken request from {LOOPBACK}" in said
    assert " ERROR " not in said


async def test_no_secret_of_a_call_is_in_the_log() -> None:
    """A call that is up, its URL in broken requests, and its offer broken at each of its lines."""
    secret = Secrets()
    token = secret()
    server = await a_server(*ROLES["serve"], VOXGENDER_TOKEN=token)
    async with a_peer(ToneTrack()) as peer:
        offer = await peer.offer()
    lines = offer.splitlines(keepends=True)
    secret.given += [line.strip().partition(":")[2] for line in lines if line.startswith(("a=ice-", "a=fingerprint"))]
    for at, _ in enumerate(lines):
        kind = lines[at].partition("=")[0]
        name = lines[at].partition(":")[0]
        for broken in ("", f"{kind}={secret()}\r\n", f"{name}:{secret()}\r\n"):
            body = "".join([*lines[:at], broken, *lines[at + 1 :]]).encode()
            head = (
                f"POST /whip HTTP/1.1\r\nHost: x\r\nContent-Type: application/sdp\r\nAuthorization: Bearer {token}\r\n"
            )
            reply = await send(
                f"{head}Connection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body, port=server.port
            )
            for line in reply.decode().splitlines():
                if line.startswith("Location: "):
                    path = line.removeprefix("Location: ")
                    secret.given.append(path.rpartition("/")[2])
                    await send(
                        f"DELETE {path} HTTP/1.1\r\nHost: x\r\nA\x01: {token}\r\n\r\n".encode(), port=server.port
                    )
                    await send(
                        f"DELETE {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode(), port=server.port
                    )
    said = await server.stop()
    assert len(secret.given) > 100
    assert secret.found_in(said) == []
    assert "Traceback" not in said


def stun(username: bytes, *, broken: bool) -> bytes:
    """A connectivity check (RFC 8489 section 5) of that user, whole or with a PRIORITY that is too short."""
    attributes = struct.pack("!HH", 0x0006, len(username)) + username + bytes(-len(username) % 4)
    if broken:
        attributes += struct.pack("!HH", 0x0024, 3) + b"\0\0\0\0"
    return struct.pack("!HHI", 0x0001, len(attributes), 0x2112A442) + secrets.token_bytes(12) + attributes


async def test_nothing_that_is_said_in_a_call_is_in_the_log() -> None:
    secret = Secrets()
    server = await a_server(*ROLES["serve"])
    async with a_peer(ToneTrack()) as peer, ClientSession(f"http://{LOOPBACK}:{server.port}") as http:
        peer.channels()
        said_by_client = peer.pc.createDataChannel(secret(), protocol=secret())
        path = await peer.call(http)
        secret.given.append(path.rpartition("/")[2])
        result = await peer.until(protocol.Result)
        said_by_client.send(secret())
        said_by_client.send(secret().encode() + b"\xff\xfe")
        sdp = peer.pc.remoteDescription.sdp
        ufrag = re.search(r"a=ice-ufrag:(\S+)", sdp)
        candidate = re.search(r"a=candidate:\S+ \d \S+ \d+ (\S+) (\d+)", sdp)
        assert ufrag is not None
        assert candidate is not None
        secret.given += re.findall(r"a=ice-pwd:(\S+)|a=fingerprint:\S+ (\S+)", sdp)[0][:1]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            for broken in (False, True):
                for user in (secret(), f"{ufrag[1]}:{secret()}"):
                    stranger.sendto(stun(user.encode(), broken=broken), (candidate[1], int(candidate[2])))
            stranger.sendto(b"\x16\xfe\xff" + secret().encode(), (candidate[1], int(candidate[2])))
        await peer.until(protocol.Result)
        fragment = (
            f"a=ice-ufrag:{secret()}\r\na=ice-pwd:{secret()}\r\nm=audio 9 X 0\r\na=mid:0\r\na=candidate:{secret()}"
        )
        async with http.patch(path, data=fragment, headers=FRAGMENT):
            pass
        async with http.delete(path) as response:
            assert response.status == 200
    said = await server.stop()
    assert isinstance(result, protocol.Result)
    assert secret.found_in(said) == []
    assert "Traceback" not in said


@pytest.mark.parametrize(
    "arguments",
    [
        ("signaling", "--registry", "redis://u:{}@[::1"),
        ("signaling", "--registry", "redis://u:{}@h:port"),
        ("signaling", "--registry", "http://{}@h"),
        ("signaling", "--nodes", "http://u:{}@h:1"),
        ("signaling", "--nodes", "http://h:1/?{}"),
        ("serve", "--jwt-keys", "htps://u:{}@h/keys"),
        ("serve", "--jwt-keys", "https://u:{}@[h/keys"),
        ("serve", "--jwt-secret", "{}"),
        ("serve", "--ice-server", "turn:u:{}"),
        ("serve", "--ice-server", "turn:u:{}@a@b c"),
        ("serve", "--turn-secret", "{}"),
        ("serve", "--turn-secrett", "{}"),
        ("serve", "--jwt-secrett={}"),
        ("serve", "--tokn={}", "{}"),
    ],
)
async def test_no_secret_of_a_wrong_option_is_said(arguments: tuple[str, ...]) -> None:
    secret = Secrets()
    text = secret()[:31]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "voxgender.cli", *(argument.format(text) for argument in arguments), "--port", "0"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "VOXGENDER_SECRET": "shared"},
    )
    out, err = await asyncio.wait_for(process.communicate(), 30)
    said = (out + err).decode()
    assert process.returncode == 2, said
    assert text not in said
    assert "Traceback" not in said


class Log:
    """A log that a test can read, and whose time it can move."""

    def __init__(self) -> None:
        self.now = 0.0
        self._stream = io.StringIO()
        self.handler = LogHandler(stream=self._stream, clock=lambda: self.now)

    def say(self, name: str, message: str, *args: object, error: BaseException | None = None, **extra: str) -> None:
        exc_info = None if error is None else (type(error), error, error.__traceback__)
        record = logging.LogRecord(name, logging.WARNING, __file__, 1, message, args, exc_info)
        record.__dict__.update(extra)
        self.handler.emit(record)

    @property
    def lines(self) -> list[str]:
        return self._stream.getvalue().splitlines()


def raised(make: BaseException, cause: BaseException | None = None) -> BaseException:
    try:
        raise make from cause
    except type(make) as error:
        return error


def test_an_error_is_named_by_its_kind_and_place_and_never_by_its_words() -> None:
    error = raised(ValueError("hunter2"), raised(KeyError("hunter2")))
    assert describe(error).startswith("ValueError at test_logs.py:")
    assert ", after KeyError at test_logs.py:" in describe(error)
    assert "hunter2" not in describe(error)
    group = raised(ExceptionGroup("hunter2", [ValueError("hunter2"), OSError("hunter2")]))
    assert describe(group).startswith("ExceptionGroup of ValueError, OSError at ")
    assert "hunter2" not in describe(group)


def test_errors_that_cause_each_other_are_named_once() -> None:
    one, other = ValueError(), KeyError()
    one.__cause__, other.__cause__ = other, one
    assert describe(one) == "ValueError, after KeyError"


@pytest.mark.parametrize(
    ("name", "message", "args", "words"),
    [
        ("aiohttp.server", "Error handling request from %s", ("hunter2",), "Error handling request from …"),
        ("aiortc.rtcdtlstransport", "RTCDtlsTransport(%s) Trace\nhunter2", ("x",), "RTCDtlsTransport(…) Trace"),
        ("aioice.ice", "%s %-5.3f hunter(%d)", ("hunter2", 1.0, 2), "… … hunter(…)"),
        ("asyncio", "Task exception was never retrieved\nfuture: hunter2", (), "Task exception was never retrieved"),
        ("asyncio", "Exception in callback f('hunter2')", (), "Exception in callback f"),
        ("redis", "user hunter2 is not allowed", (), "an entry whose words are left out"),
        ("py.warnings", "%s", ("hunter2",), "…"),
    ],
)
def test_of_a_library_its_authors_words_are_kept_without_the_values(
    name: str, message: str, args: tuple[object, ...], words: str
) -> None:
    log = Log()
    log.say(name, message, *args)
    assert log.lines[0].partition(f"{name}: ")[2] == f"{words} [test_logs:1]"


def test_no_entry_spans_lines_or_commands_a_terminal() -> None:
    log = Log()
    log.say("voxgender.x", "node %s", "a\nERROR fake\x1b[2J\u2028")
    assert len(log.lines) == 1
    assert log.lines[0].endswith("node a?ERROR fake?[2J?")


def test_of_what_clients_cause_one_entry_a_kind_and_minute_is_written_and_the_others_are_counted() -> None:
    log = Log()
    for second in range(50):
        log.now = float(second)
        log.say("voxgender.http.connections", "broken request from %s: %s", f"host{second}", "BadStatusLine", kind="A")
        log.say("voxgender.http.connections", "broken request from %s: %s", f"host{second}", "LineTooLong", kind="B")
    assert len(log.lines) == 2
    log.now = REPEAT_S + 1
    log.say("voxgender.http.connections", "broken request from %s: %s", "last", "BadStatusLine", kind="A")
    assert [line.partition("from ")[2] for line in log.lines[2:]] == [
        "host49: BadStatusLine (the last of 49 more of its kind)",
        "host49: LineTooLong (the last of 49 more of its kind)",
        "last: BadStatusLine",
    ]


def test_what_was_counted_is_said_when_the_log_ends() -> None:
    log = Log()
    for _ in range(3):
        log.say("voxgender.x", "analysis failed", error=ValueError())
    log.handler.close()
    assert len(log.lines) == 2
    assert log.lines[1].endswith("analysis failed: ValueError (the last of 2 more of its kind)")


def test_what_a_server_says_of_itself_is_always_written() -> None:
    log = Log()
    for number in range(3):
        log.say("voxgender.roles.workers", "worker %d has died", number)
    assert len(log.lines) == 3


def test_entries_that_callers_cause_are_marked_with_a_kind() -> None:
    """One line a call, of calls that anybody can place by the thousand, is a flood: DTLS that fails, too much data."""
    caused = ("DTLS failed", "the caller sent", "broken request from", "the call goes to another node")
    found: dict[str, bool] = {}
    for path in (Path(logs.__file__).parent).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("logger."):
                text = ast.unparse(node)
                found |= {words: "extra={'kind':" in text for words in caused if words in text}
    assert found == dict.fromkeys(caused, True)
