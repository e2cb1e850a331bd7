"""Negotiate which voices a call sends: its first offer, and the later ones of a room (RFC 3264 section 8)."""

import asyncio
import re
import secrets
from collections.abc import Callable
from itertools import chain, repeat

from aiortc import RTCPeerConnection, RTCRtpSender, RTCRtpTransceiver, RTCSessionDescription

from voxgender.errors import CallError
from voxgender.peer.sending import RtpWriter, write_rtp
from voxgender.peer.whip import Unanswered, WhipSession

REOFFER_S = (1.0, 2.0, 4.0, 8.0)
"""Waits between offers that are made until one is answered; the last one is repeated."""


class Negotiation:
    """Offers the voices of one connection to a server, each by an audio line of its own.

    An offer without an answer may have been taken or not. The voice that it was to add is given up, and the next offer,
    made soon without being asked for, says again which voices there are.

    Args:
        pc: the connection; it must not be negotiated by anybody else.
    """

    def __init__(self, pc: RTCPeerConnection) -> None:
        self._pc = pc
        self._lines: dict[str | None, RTCRtpTransceiver] = {}
        self._session: WhipSession | None = None
        self._origin = secrets.randbits(62)
        self._version = 0
        self._changing = asyncio.Lock()
        self._reoffering: asyncio.Task[None] | None = None
        """None while the server is known to have the voices that are here, and no others."""
        self._is_closed = False

    def begin_line(self, name: str | None, on_ready: Callable[[RtpWriter], None]) -> None:
        """Offer a voice from the next offer on.

        Args:
            name: its name, None for the only voice of a call that is no room.
            on_ready: called once its packets can be sent.
        """
        line = self._pc.addTransceiver("audio", direction="sendonly")
        opus = [codec for codec in RTCRtpSender.getCapabilities("audio").codecs if codec.mimeType == "audio/opus"]
        line.setCodecPreferences(opus)
        write_rtp(line, on_ready)
        self._lines[name] = line

    async def offer(self) -> str:
        """Return an offer of all voices, which is the connection's local description from now on."""
        await self._pc.setLocalDescription(await self._pc.createOffer())
        offer: str = self._pc.localDescription.sdp
        return offer if None in self._lines else self._named(offer)

    async def accept(self, session: WhipSession) -> None:
        """Take the server's answer to the first offer.

        Raises:
            CallError: it cannot be used.
        """
        self._session = session
        await self._apply(session.answer)

    async def add(self, name: str, on_ready: Callable[[RtpWriter], None]) -> None:
        """Add a voice.

        Raises:
            CallError: the server refuses, or does not answer; the voice is not there then.
        """
        async with self._changing:
            self.begin_line(name, on_ready)
            try:
                await self._offer_anew()
            except BaseException:
                self._end_line(name)
                raise

    async def remove(self, name: str) -> None:
        """Remove a voice. It is no longer offered, even if the server does not answer.

        Raises:
            CallError: the server refuses, or does not answer.
        """
        async with self._changing:
            self._end_line(name)
            await self._offer_anew()

    async def close(self) -> None:
        """Make no more offers by itself."""
        self._is_closed = True
        if self._reoffering is not None:
            self._reoffering.cancel()
            await asyncio.gather(self._reoffering, return_exceptions=True)

    def _end_line(self, name: str) -> None:
        self._lines.pop(name).direction = "inactive"

    async def _offer_anew(self) -> None:
        assert self._session is not None
        try:
            answer = await self._session.update(await self.offer())
        except (Unanswered, asyncio.CancelledError):
            if self._reoffering is None and not self._is_closed:
                self._reoffering = asyncio.create_task(self._reoffer(), name="reoffer")
            raise
        if self._reoffering is not None and self._reoffering is not asyncio.current_task():
            self._reoffering.cancel()
        self._reoffering = None
        await self._apply(answer)

    async def _reoffer(self) -> None:
        for wait_s in chain(REOFFER_S, repeat(REOFFER_S[-1])):
            await asyncio.sleep(wait_s)
            async with self._changing:
                try:
                    await self._offer_anew()
                except Unanswered:
                    continue
                except CallError:
                    # Then no later offer will be taken either.
                    self._reoffering = None
                return

    async def _apply(self, answer: str) -> None:
        try:
            await self._pc.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        except Exception as error:  # noqa: BLE001 - aiortc raises whatever it stumbles over in an SDP
            raise CallError(f"its answer cannot be used: {error!r}") from None

    def _named(self, offer: str) -> str:
        """Give each voice's line a title (``i=``, RFC 8866 section 5.4), and the offer a version above the last one."""
        self._version += 1
        origin = f"o=- {self._origin} {self._version} IN IP4 0.0.0.0"
        names = {line.mid: name for name, line in self._lines.items()}
        session, *sections = re.split(r"^(?=m=)", offer, flags=re.MULTILINE)
        named = [re.sub(r"^o=.*$", origin + "\r", session, count=1, flags=re.MULTILINE)]
        for section in sections:
            mid = re.search(r"^a=mid:(\S+)", section, re.MULTILINE)
            name = names.get(mid[1]) if mid else None
            head, newline, rest = section.partition("\r\n")
            named.append(section if name is None else f"{head}{newline}i={name}{newline}{rest}")
        return "".join(named)
