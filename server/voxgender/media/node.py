"""Hold the sessions of one process, a media node, and enforce their limits."""

import asyncio
import logging
import secrets
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from time import monotonic
from typing import Any

from voxgender import metrics
from voxgender.audiostream import StreamFormat
from voxgender.calloptions import DEFAULTS, CallOptions
from voxgender.engine import Engine
from voxgender.errors import (
    CallNotFound,
    Draining,
    NodeNotFound,
    NoUdp,
    OtherInstance,
    SessionNotFound,
    Starting,
    TicketNotFound,
)
from voxgender.media.aiortc_internals.certificates import Certificates
from voxgender.media.aiortc_internals.ice import HostAddresses
from voxgender.media.hops import check_hop
from voxgender.media.livesession import LiveSession
from voxgender.media.load import Load
from voxgender.media.observers import CallObservers, Observer, RosterObserver
from voxgender.media.places import GIVE_WAY_S, Places
from voxgender.media.session import Session, SessionTimes
from voxgender.media.sockets import Sockets
from voxgender.media.streamsession import TICKET_S, StreamSession
from voxgender.protocol import End, Message
from voxgender.roster import Followed, LiveCall, Roster, Watch
from voxgender.sdp import Offer
from voxgender.sessionids import call_hash, is_session_id
from voxgender.system import ProcessLoad
from voxgender.usage import UsageLedger, UsageReport
from voxgender.version import __version__

logger = logging.getLogger(__name__)

SWEEP_S = 1.0
"""Time between two checks of all sessions' deadlines."""

HERE = "here"
"""Name of this node to operators, if its instance has none; in a fleet, signaling replaces it by the node's id."""

_MOVE = "This server will stop soon: make a new call, which another one takes, then end this one."


def random_id() -> str:
    """Return an id for a session: 192 random bits."""
    return secrets.token_urlsafe(24)


class MediaNode:
    """Opens, finds and ends the sessions of this process; implements ``voxgender.http.calls.Calls``.

    Args:
        ice_addresses: local addresses for media; empty for all but loopback.
        advertise_addresses: public addresses that lead to them, told to peers in their place.
        udp_ports: the first and the last port for media; None lets the kernel choose.
        no_udp: refuse offers with :class:`NoUdp`; streams alone are taken.
        max_sessions: offers above that get :class:`NotReady`.
        max_sessions_per_subject: offers of one subject above that get :class:`TooManySessions`; 0 for no such limit.
        connect_timeout_s: time for a session to connect before it is ended.
        silence_timeout_s: time without packets and messages after which a peer is taken to be gone.
        new_session_id: returns unguessable ids.
        instance: mark of this process, where requests may reach other processes of the same server instead; it ends
            the ids that it gives. Empty where all requests come here.
        sweep_s: time between two checks of all sessions' deadlines.
        give_way_s: time that a call has to connect before it may be ended for another one, if the node is full.
        session_times: times after which a session takes its peer to be gone.
        ticket_s: time for a stream's ticket to be used.
        load: measures whether the node keeps up.
        observers: told what happens to calls.
    """

    def __init__(
        self,
        *,
        ice_addresses: Sequence[str] = (),
        advertise_addresses: Sequence[str] = (),
        udp_ports: tuple[int, int] | None = None,
        no_udp: bool = False,
        max_sessions: int = 100,
        max_sessions_per_subject: int = 0,
        connect_timeout_s: float = 15.0,
        silence_timeout_s: float = 15.0,
        new_session_id: Callable[[], str] = random_id,
        instance: str = "",
        sweep_s: float = SWEEP_S,
        give_way_s: float = GIVE_WAY_S,
        session_times: SessionTimes = SessionTimes(),  # noqa: B008 - they cannot change
        ticket_s: float = TICKET_S,
        load: Load | None = None,
        observers: Sequence[Observer] = (),
    ) -> None:
        self._addresses = HostAddresses(tuple(ice_addresses), tuple(advertise_addresses))
        self.sockets = Sockets(udp_ports, is_busy=self._is_busy)
        self._no_udp = no_udp
        self._certificates = Certificates()
        self._new_session_id = new_session_id if not instance else lambda: f"{new_session_id()}.{instance}"
        self._instance = instance
        self._name = instance or HERE
        self._connect_timeout_s = connect_timeout_s
        self._silence_timeout_s = silence_timeout_s
        self._sweep_s = sweep_s
        self._session_times = session_times
        self._ticket_s = ticket_s
        self._load = load or Load()
        self.places = Places(max_sessions, per_subject=max_sessions_per_subject, give_way_s=give_way_s, load=self._load)
        self._roster = Roster()
        self._ledger = UsageLedger()
        self._observers: Sequence[Observer] = (RosterObserver(self._roster), self._ledger, *observers)
        self._engine: Engine | None = None
        self._tickets: dict[str, StreamSession] = {}
        """Streams whose clients have not connected yet, by their tickets."""
        self._background: list[asyncio.Task[None]] = []
        self._process_load = ProcessLoad()
        self._draining = False
        self._closing = False
        self._emptied = asyncio.Event()
        """Set, while draining, once no session is left."""

    @property
    def capacity(self) -> int:
        """Sessions taken at once."""
        return self.places.capacity

    @property
    def live(self) -> int:
        """Places that are taken: one for each voice of a session, or channel of a stream."""
        return self.places.taken

    @property
    def draining(self) -> bool:
        """True once no more calls are taken."""
        return self._draining or self._closing

    @property
    def overloaded(self) -> bool:
        """True while calls are refused because the node does not keep up."""
        return self._load.overloaded

    def start(self, engine: Engine) -> None:
        """Take calls from now on."""
        self._engine = engine
        self._background = [
            asyncio.create_task(self._sweep(), name="sweep"),
            asyncio.create_task(self._load.watch(engine), name="load"),
        ]

    async def close(self) -> None:
        """End every session and take no more."""
        self._closing = True
        await asyncio.gather(*(session.end("shutdown") for session in self.places.sessions()))
        self._roster.close()
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)

    def drain(self) -> None:
        """Take no more calls, and ask the clients of the others to move to another server."""
        self._draining = True
        for session in self.places.sessions():
            session.warn("draining", _MOVE)
        if not self.live:
            self._emptied.set()

    async def drained(self) -> None:
        """Wait until the last call has gone; :meth:`drain` comes first."""
        await self._emptied.wait()

    def check_ready(self) -> None:
        """Check that calls are taken.

        Raises:
            NotReady: the model is still being loaded, or the node is shutting down.
        """
        self._ready_engine()

    async def open(
        self, offer: str, subject: str | None = None, address: str = "", options: CallOptions = DEFAULTS
    ) -> tuple[str, str]:
        """Answer an offer from ``address``; ``subject`` is that of the caller's token.

        Returns:
            The session's id and the SDP answer.

        Raises:
            NotReady: the model is still being loaded, the node is full or does not keep up, or it is shutting down.
            TooManySessions: the subject has reached its limit on this node.
            SdpRejected: the offer cannot be answered.
            OptionRefused: an option is out of this server's bounds.
            NoUdp: no UDP reaches this node.
        """
        if self._no_udp:
            raise NoUdp("This server takes calls over WebSockets alone: connect to /listen.")
        check_hop(options.hop_ms, self._ready_engine().hop_ms)
        parsed = Offer.parse(offer)
        engine = await self._admit(subject, address, len(parsed.voices))
        session = Session(
            self._new_session_id(),
            engine,
            sockets=self.sockets,
            certificates=self._certificates,
            addresses=self._addresses,
            times=self._session_times,
            silence_timeout_s=self._silence_timeout_s,
            options=options,
            on_connected=self._end_orphans,
            on_ended=self._forget,
            admit=self._admit_voices,
        )
        # Before the first await, so that the limit counts offers that are being answered too.
        self._add(session, subject, address, options)
        try:
            answer = await session.answer(parsed)
        except BaseException:
            self._forget(session)
            raise
        metrics.SESSIONS_STARTED.inc()
        metrics.SESSIONS.set(self.live)
        return session.id, answer

    async def listen(
        self, form: StreamFormat, subject: str | None = None, address: str = "", options: CallOptions = DEFAULTS
    ) -> StreamSession:
        """Begin a call whose audio comes as a stream of this format; see :meth:`open`.

        Raises:
            NotReady, TooManySessions, OptionRefused
        """
        session = await self._stream(form, subject, address, options)
        metrics.SESSIONS_STARTED.inc()
        return session

    async def reserve(
        self, form: StreamFormat, subject: str | None = None, address: str = "", options: CallOptions = DEFAULTS
    ) -> tuple[str, str]:
        """Reserve a place for a stream. Returns the session's id, and the ticket that lets one client connect.

        Raises:
            NotReady, TooManySessions, OptionRefused
        """
        session = await self._stream(form, subject, address, options, ticket=self._new_session_id())
        self._tickets[session.ticket] = session
        return session.id, session.ticket

    async def redeem(self, ticket: str) -> StreamSession:
        """Begin the call of a ticket, once.

        Raises:
            SessionNotFound: the ticket was used, has expired, or never was.
            NotReady: the node is shutting down.
        """
        self._ready_engine()
        session = self._tickets.pop(ticket, None)
        if session is None or session.ended_for is not None:
            if self._is_elsewhere(ticket):
                raise OtherInstance(
                    "Another instance of the server gave this ticket: start all with the same --jwt-secret or --token, "
                    "so that each takes the tickets of the others."
                )
            raise TicketNotFound
        session.connect()
        metrics.SESSIONS_STARTED.inc()
        return session

    async def trickle(self, session_id: str, fragment: str) -> None:
        """Add the peer's candidates.

        Raises:
            SessionNotFound, SdpRejected
        """
        await self._find(session_id).trickle(fragment)

    async def update(self, session_id: str, offer: str) -> str:
        """Answer a later offer of a session, which adds or removes voices. Returns the SDP answer.

        Raises:
            SessionNotFound, SdpRejected, NotReady, TooManySessions
        """
        answer = await self._find(session_id).update(offer)
        metrics.SESSIONS.set(self.live)
        return answer

    async def end(self, session_id: str) -> None:
        """End a session at its client's request; return once it is closed.

        Raises:
            SessionNotFound: there is no such session.
        """
        await self._find(session_id).end("deleted")

    async def watch(self) -> Watch:
        """Return the calls that have a name or a subject, and all changes from now on."""
        return self._roster.watch()

    async def follow(
        self, session_id: str, after: int | None = None, messages: tuple[str, ...] | None = None
    ) -> AsyncGenerator[Followed, None]:
        """Return a session's messages, ``end`` last; those up to the number ``after`` are left out.

        Raises:
            SessionNotFound
            NotReady: it has as many followers as are allowed.
        """
        return _texts(self._find(session_id).follow(after, messages))

    async def describe(self, session_id: str) -> dict[str, Any]:
        """Return one session's state.

        Raises:
            SessionNotFound
        """
        return self._find(session_id).status()

    async def describe_all(self) -> list[dict[str, Any]]:
        """Return all sessions' states. The id is a capability, so only its beginning is shown."""
        return [session.status() | {"session": session.id[:8]} for session in self.places.sessions()]

    async def overview(self) -> dict[str, list[dict[str, Any]]]:
        """Return this node's calls, and the node itself, for operators."""
        node = {
            "node": self._name,
            "sessions": self.live,
            "capacity": self.capacity,
            "load": round(self._process_load.measure(), 3),
            "draining": self.draining,
            "region": "",
            "version": __version__,
        }
        calls = [session.figures() | {"node": self._name} for session in self.places.sessions()]
        return {"calls": calls, "nodes": [node]}

    async def usage(self) -> UsageReport:
        """Return what was used by subject since the process started."""
        return await self._ledger.report(self._name)

    async def end_by_hash(self, wanted: str) -> None:
        """End the session whose id has this hash.

        Raises:
            SessionNotFound, OtherInstance
        """
        for session in self.places.sessions():
            if call_hash(session.id) == wanted:
                await session.end("deleted")
                return
        if self._instance:
            raise OtherInstance
        raise CallNotFound

    async def drain_node(self, node: str) -> None:
        """Drain this node.

        Raises:
            NodeNotFound, OtherInstance: it is not this one.
        """
        if node != self._name:
            if self._instance:
                raise OtherInstance
            raise NodeNotFound
        self.drain()

    def _is_busy(self) -> bool:
        return self._engine is not None and self._engine.schedule.busy

    def _ready_engine(self) -> Engine:
        if self.draining:
            raise Draining
        if self._engine is None:
            raise Starting
        return self._engine

    async def _admit(self, subject: str | None, address: str, places: int) -> Engine:
        """Free places for a session. Returns the engine.

        Raises:
            NotReady, TooManySessions
        """
        self._ready_engine()
        await self.places.free_places(subject, address, places)
        # The node may have begun to drain meanwhile.
        return self._ready_engine()

    async def _admit_voices(self, session: LiveSession, more: int) -> None:
        """Free places for more voices of a session. See :meth:`_admit`."""
        await self.places.free_places_for_voices(session, more)
        self._ready_engine()

    def _add(self, session: LiveSession, subject: str | None, address: str, options: CallOptions) -> None:
        self.places.add(session, subject, address)
        call = LiveCall(
            session=session.id,
            started_at=0.0,
            name=options.name,
            subject=subject,
            reference=options.reference,
            tags=options.tags,
        )
        session.observe(CallObservers(call, self._observers))

    async def _stream(
        self, form: StreamFormat, subject: str | None, address: str, options: CallOptions, *, ticket: str = ""
    ) -> StreamSession:
        check_hop(options.hop_ms, self._ready_engine().hop_ms)
        engine = await self._admit(subject, address, form.channels)
        session = StreamSession(
            self._new_session_id(),
            engine,
            form,
            ticket=ticket,
            ticket_s=self._ticket_s,
            silence_timeout_s=self._silence_timeout_s,
            options=options,
            on_ended=self._forget,
        )
        self._add(session, subject, address, options)
        metrics.SESSIONS.set(self.live)
        return session

    def _find(self, session_id: str) -> LiveSession:
        session = self.places.find(session_id)
        if session is None:
            if self._is_elsewhere(session_id):
                raise OtherInstance
            raise SessionNotFound
        return session

    def _is_elsewhere(self, name: str) -> bool:
        """Tell whether another instance gave a session's id or a ticket."""
        return bool(self._instance) and is_session_id(name) and not name.endswith(f".{self._instance}")

    def _end_orphans(self, session: Session) -> None:
        """End the other calls of a client's offer, which it sent again and whose answers it never took."""
        for other in self.places.sessions():
            if (
                isinstance(other, Session)
                and other is not session
                and other.ended_for is None
                and other.state != "connected"
                and other.offer == session.offer
            ):
                other.end_soon("gave_way")

    def _forget(self, session: LiveSession) -> None:
        if isinstance(session, StreamSession):
            self._tickets.pop(session.ticket, None)
        self.places.remove(session)
        metrics.SESSIONS.set(self.live)
        if self._draining and not self.live:
            self._emptied.set()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(self._sweep_s)
            self._end_overdue(monotonic())
            metrics.SESSIONS.set(self.live)

    def _end_overdue(self, now: float) -> None:
        for session in self.places.sessions():
            if session.ended_for is None and (
                reason := session.overdue(
                    now, connect_timeout_s=self._connect_timeout_s, silence_timeout_s=self._silence_timeout_s
                )
            ):
                session.end_soon(reason)
            elif isinstance(session, Session) and session.ended_for is None and session.state == "connected":
                session.warn_of_no_media(now)


async def _texts(messages: AsyncGenerator[tuple[int, Message], None]) -> AsyncGenerator[Followed, None]:
    async with aclosing(messages):
        async for number, message in messages:
            yield Followed(number, message.to_json(), is_end=isinstance(message, End))
