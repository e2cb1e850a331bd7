"""Call a fleet: place one call, and move it when told to, make before break."""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Self

from aiohttp import ClientResponse, ClientSession
from aiortc import MediaStreamTrack

from tests.rtc import SDP, Peer, ToneTrack
from tests.waits import PATIENCE_S
from voxgender import protocol


class Refused(Exception):
    """No call, and a clear answer: what was wrong, and where that may pass, when to try again."""

    def __init__(self, status: int, code: str, retry_after_s: int | None) -> None:
        super().__init__(f"{status} {code}")
        self.status = status
        self.code = code
        self.retry_after_s = retry_after_s


class SilentTrack(MediaStreamTrack):
    """Says nothing, and costs nothing: for calls that are placed for their own sake."""

    kind = "audio"

    async def recv(self) -> object:  # type: ignore[override]
        return await asyncio.get_running_loop().create_future()


class Call:
    """A call that was answered. ``node`` and ``port``: where at the media node that has it."""

    def __init__(self, peer: Peer, http: ClientSession, signaling: str, path: str, answer: str) -> None:
        self.peer = peer
        self.path = path
        self.signaling = signaling
        self._http = http
        # One address was named to the node, so there is one way to it.
        ((self.node, port),) = set(re.findall(r"^a=candidate:\S+ 1 udp \d+ (\S+) (\d+) typ host", answer, re.MULTILINE))
        self.port = int(port)

    @classmethod
    async def place(
        cls, http: ClientSession, signaling: str, address: str, track: MediaStreamTrack | None = None
    ) -> Self:
        """Call from ``address``.

        Raises:
            Refused: the fleet takes no call.
        """
        peer = Peer(track or SilentTrack(), address=address)
        peer.channels()
        try:
            async with http.post(f"{signaling}/whip", data=await peer.offer(), headers=SDP) as response:
                if response.status != 201:
                    raise await refusal(response)
                answer = await response.text()
                call = cls(peer, http, signaling, response.headers["Location"], answer)
            await peer.accept(answer)
        except BaseException:
            await peer.close()
            raise
        return call

    async def is_up(self) -> None:
        """Wait for the first words."""
        await self.peer.until(protocol.Hello)

    async def ask(self, method: str, signaling: str | None = None) -> int:
        """Ask for the session, of an instance or of the one that placed it; the status."""
        async with self._http.request(method, (signaling or self.signaling) + self.path) as response:
            if not response.ok:
                await refusal(response)
            return response.status

    async def end(self, signaling: str | None = None) -> int:
        try:
            return await self.ask("DELETE", signaling)
        finally:
            await self.peer.close()


async def refusal(response: ClientResponse) -> Refused:
    """Return a problem's code; fail if the answer is no problem that a client could act on (RFC 9457)."""
    assert response.content_type == "application/problem+json", await response.text()
    problem = await response.json(content_type=None)
    retry_after = response.headers.get("Retry-After")
    assert problem["detail"]
    assert (response.status == 503) == (retry_after is not None), problem
    return Refused(response.status, problem["code"], None if retry_after is None else int(retry_after))


class Caller:
    """Speaks all the time, and moves to another node before the one it has goes away."""

    def __init__(self, http: ClientSession, signaling: Sequence[str], address: str) -> None:
        self._http = http
        self._signaling = signaling
        self._address = address
        self.gap_s = 0.0
        """The longest time without a result."""
        self.nodes: list[str] = []
        """Nodes that the call has been on, in order."""
        self._heard_at: float | None = None
        self.lost = 0
        """Moves that were no move: the old call ended before the new one said a word."""

    async def run(self, hang_up: asyncio.Event) -> None:
        call = await self._place()
        ending: set[asyncio.Task[int]] = set()
        try:
            while not hang_up.is_set():
                message = await asyncio.wait_for(call.peer.messages.get(), PATIENCE_S)
                self._take(message)
                if isinstance(message, protocol.Warning) and message.code == "draining":
                    old, call = call, await self._move_from(call)
                    ending.add(asyncio.create_task(old.end()))
        finally:
            await asyncio.gather(*ending)
            await call.end()

    async def _place(self) -> Call:
        for signaling in (*self._signaling, *self._signaling):
            try:
                call = await Call.place(self._http, signaling, self._address, ToneTrack())
            except Refused as refused:
                await asyncio.sleep(refused.retry_after_s or 0)
                continue
            self.nodes.append(call.node)
            return call
        raise AssertionError("no node takes the call")

    async def _move_from(self, old: Call) -> Call:
        """The call on another node, where it is heard already."""
        new = await self._place()
        while True:
            for call in (old, new):
                while not call.peer.messages.empty():
                    message = call.peer.messages.get_nowait()
                    self._take(message)
                    if call is new and isinstance(message, protocol.Result):
                        return new
            if old.peer.closed.is_set():
                self.lost += 1
                await new.peer.until(protocol.Result)
                return new
            await asyncio.sleep(0.01)

    def _take(self, message: protocol.Message) -> None:
        if isinstance(message, protocol.Result):
            now = asyncio.get_running_loop().time()
            if self._heard_at is not None:
                self.gap_s = max(self.gap_s, now - self._heard_at)
            self._heard_at = now


@asynccontextmanager
async def callers(
    count: int, http: ClientSession, signaling: Sequence[str], address: str
) -> AsyncIterator[list[Caller]]:
    """So many callers, who speak until the block is left."""
    hang_up = asyncio.Event()
    all_of_them = [Caller(http, signaling[index % 2 :], address) for index in range(count)]
    async with asyncio.TaskGroup() as group:
        for caller in all_of_them:
            group.create_task(caller.run(hang_up))
        try:
            yield all_of_them
        finally:
            hang_up.set()
