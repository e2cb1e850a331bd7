"""Make tickets for streams, which every instance with the same secret accepts."""

import secrets
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from voxgender.audiostream import StreamFormat
from voxgender.calloptions import DEFAULTS, CallOptions
from voxgender.errors import OtherInstance, TicketNotFound
from voxgender.http.calls import Calls, ClientStream
from voxgender.http.rates import Rates
from voxgender.settings import AuthOptions

if TYPE_CHECKING:
    from voxgender.http.seal import Seal

TICKET_S = 60
"""Time in which a ticket has to be used."""
MAX_TICKET = 6_144
"""Characters of a ticket. The longest options of a call take most of them."""


class _Permit(msgspec.Struct, frozen=True):
    """The content of a ticket, which only servers with the secret can read."""

    instance: str
    place: str
    """Ticket of the place that its instance reserved."""
    form: StreamFormat
    subject: str | None
    options: CallOptions = DEFAULTS


_decoder = msgspec.json.Decoder(_Permit)


class Tickets:
    """Makes and redeems tickets.

    The instance that made a ticket has a place for it, and takes it once. Another one, to which a load balancer may
    have sent the client, opens a stream of its own, if the ticket is sealed by the same secret: once there, too.

    Args:
        calls: of this instance.
        rates: bound what a caller may ask for.
        seal: shared by all instances; None where no other instance takes these tickets, or all find their places.
        clock: returns seconds since the epoch, as ``time.time``.
    """

    def __init__(
        self, calls: Calls, rates: Rates, seal: "Seal | None" = None, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._calls = calls
        self._rates = rates
        self._seal = seal
        self._clock = clock
        self._instance = secrets.token_urlsafe(12)
        self._used: dict[str, float] = {}
        """Tickets of other instances that were used here, with the time of it, in order."""

    async def reserve(
        self, form: StreamFormat, subject: str | None, address: str, options: CallOptions = DEFAULTS
    ) -> tuple[str, str]:
        """Reserve a place for a stream; return session id and ticket.

        Raises:
            NotReady, TooManySessions, OptionRefused
        """
        session_id, place = await self._calls.reserve(form, subject, address, options)
        if self._seal is None:
            return session_id, place
        permit = _Permit(self._instance, place, form, subject, options)
        return session_id, self._seal.close(msgspec.json.encode(permit), self._clock())

    async def redeem(self, ticket: str, address: str, *, is_told: bool = True) -> ClientStream:
        """Begin the call of a ticket, once.

        Args:
            ticket: as it was made.
            address: of the client.
            is_told: whether the client is sent the messages itself. Others read them at the session of the instance
                that made the ticket, and would wait there in vain for a stream of another one.

        Raises:
            OtherInstance: another one made the ticket, and must not be replaced.
            SessionNotFound: the ticket was used, has expired, or never was.
            NotReady, TooManySessions
        """
        permit = self._read(ticket)
        if permit is None:
            return await self._calls.redeem(ticket)
        if permit.instance == self._instance:
            return await self._calls.redeem(permit.place)
        if not is_told:
            raise OtherInstance(
                "Another instance of the server gave this ticket, and this call's messages are read there: run one "
                "instance, or a fleet."
            )
        if permit.place in self._used:
            raise TicketNotFound
        self._rates.check_subject(permit.subject)
        self._forget_expired()
        # Before waiting: two clients may come at once.
        self._used[permit.place] = self._clock()
        try:
            return await self._calls.listen(permit.form, permit.subject, address, permit.options)
        except BaseException:
            self._used.pop(permit.place, None)
            raise

    def _read(self, ticket: str) -> _Permit | None:
        """Return what a ticket says; None if it is not sealed by the secret, or has expired."""
        if self._seal is None or len(ticket) > MAX_TICKET:
            return None
        text = self._seal.open(ticket, self._clock(), within_s=TICKET_S)
        try:
            return None if text is None else _decoder.decode(text)
        except ValueError:
            # An instance of another version made it, of a format that is not known here.
            return None

    def _forget_expired(self) -> None:
        long_ago = self._clock() - 3 * TICKET_S
        for place, used_at in list(self._used.items()):
            if used_at > long_ago:
                break
            del self._used[place]


def seal_of(auth: AuthOptions) -> "Seal | None":
    """Return the seal of all instances with the same options; None if callers need tokens but there is no secret."""
    secret = auth.jwt_secret or auth.token
    if auth.jwt_keys and not secret:
        return None
    # Imported on demand, because cryptography takes a tenth of a second to import.
    from voxgender.http.seal import Seal

    return Seal(secret)
