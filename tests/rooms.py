"""Peers that send several voices by one connection."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager

from aiohttp import ClientSession
from aiortc import MediaStreamTrack

from tests.rtc import SDP, Peer
from voxgender.protocol import AnyMessage, Message, Summary


def titled(offer: str, names: Iterable[str | None]) -> str:
    """Give an offer's audio lines titles (``i=``, RFC 8866 section 5.4), in their order; None gives none."""
    left = list(names)
    lines: list[str] = []
    for line in offer.splitlines():
        lines.append(line)
        if line.startswith("m=audio") and left and (name := left.pop(0)) is not None:
            lines.append(f"i={name}")
    return "\r\n".join([*lines, ""])


class RoomPeer(Peer):
    """An aiortc peer with a track for each of several voices."""

    def __init__(self, tracks: Sequence[MediaStreamTrack]) -> None:
        super().__init__()
        self.names: list[str | None] = []
        self.heard: list[AnyMessage] = []
        for track in tracks:
            self.pc.addTrack(track)

    async def offer(self) -> str:
        return titled(await super().offer(), self.names)

    async def update(self, http: ClientSession, path: str) -> str:
        """Negotiate anew; return the answer."""
        async with http.patch(path, data=await self.offer(), headers=SDP) as response:
            assert response.status == 200, await response.text()
            answer = await response.text()
        await self.accept(answer)
        return answer

    async def until_all(self, wanted: type[Message], channels: Iterable[int | None]) -> list[AnyMessage]:
        """Wait for a message of a kind about each of these channels; return all that came until then."""
        waiting = set(channels)
        came: list[AnyMessage] = []
        async with asyncio.timeout(10):
            while waiting:
                message = await self.messages.get()
                came.append(message)  # type: ignore[arg-type]
                if isinstance(message, wanted):
                    waiting.discard(message.channel)
        return came

    async def end(self, http: ClientSession, path: str) -> list[AnyMessage]:
        """End the call by DELETE; return its last messages, up to the summary of the room."""
        async with http.delete(path) as response:
            assert response.status == 200
        return await self.until_all(Summary, [None])


@asynccontextmanager
async def a_room(tracks: Sequence[MediaStreamTrack], names: Sequence[str | None] = ()) -> AsyncIterator[RoomPeer]:
    peer = RoomPeer(tracks)
    peer.names = list(names)
    peer.channels()
    try:
        yield peer
    finally:
        await peer.close()
