"""Serve the messages of calls by the name that their publishers gave them, or by the subject of their callers."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable

from aiohttp import web

from voxgender.calloptions import NAME_RULE, is_name, read_messages
from voxgender.errors import OptionRefused
from voxgender.http.auth import Authenticator
from voxgender.http.calls import Calls
from voxgender.http.cors import preflight
from voxgender.http.eventstream import KEEPALIVE_S, send_events
from voxgender.http.follower import Follower, read_positions
from voxgender.http.problems import Problem
from voxgender.http.rates import Rates
from voxgender.roster import LiveCall

MAX_FOLLOWERS = 256
"""Followers of names and subjects at a time; more are refused."""
MAX_FOLLOWERS_EACH = 16
"""Followers of one name or subject at a time, as many as of a call's own messages; more are refused."""
MAX_FOLLOWED_BY_ONE = 128
"""Names and subjects that the holders of one subject's tokens follow at a time: half of all, so others can follow."""


class Follow:
    """``GET /names/{name}/events`` and ``GET /subjects/{subject}/events``, for holders of a token that allows it.

    Whoever asks for what a token does not allow is told the same whether there is such a call or not.

    Args:
        calls: holds the sessions.
        authenticator: checks the followers' tokens.
        rates: bounds how often the holders of one subject's tokens may come.
        keepalive_s: time without a message after which a comment is sent.
        max_followed_by_one: names and subjects that the holders of one subject's tokens follow at a time.
    """

    def __init__(
        self,
        calls: Calls,
        authenticator: Authenticator,
        rates: Rates,
        *,
        keepalive_s: float = KEEPALIVE_S,
        max_followed_by_one: int = MAX_FOLLOWED_BY_ONE,
    ) -> None:
        self._calls = calls
        self._authenticator = authenticator
        self._rates = rates
        self._keepalive_s = keepalive_s
        self._max_followed_by_one = max_followed_by_one
        self._followers: Counter[str] = Counter()
        """By what they follow."""
        self._followers_of: Counter[str] = Counter()
        """By the subject of their own tokens."""
        self._stopping = asyncio.Event()

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/names/{name}/events", self.name, allow_head=False),
            web.options("/names/{name}/events", self.options),
            web.get("/subjects/{subject:[^/]+}/events", self.subject, allow_head=False),
            web.options("/subjects/{subject:[^/]+}/events", self.options),
        ]

    async def shut_down(self, _: web.Application) -> None:
        """End all streams, since the server stops (an ``on_shutdown`` signal)."""
        self._stopping.set()

    async def name(self, request: web.Request) -> web.StreamResponse:
        """Send the messages of the newest call that has a name, and of those that follow it."""
        name = request.match_info["name"]
        if not is_name(name):
            raise OptionRefused(NAME_RULE)
        return await self._serve(request, f"names/{name}", lambda call: call.name == name, newest=True)

    async def subject(self, request: web.Request) -> web.StreamResponse:
        """Send the messages of all calls of a subject."""
        subject = request.match_info["subject"]
        return await self._serve(request, f"subjects/{subject}", lambda call: call.subject == subject, newest=False)

    async def options(self, request: web.Request) -> web.Response:
        return preflight(request, "GET, OPTIONS", {})

    async def _serve(
        self, request: web.Request, followed: str, is_wanted: Callable[[LiveCall], bool], *, newest: bool
    ) -> web.StreamResponse:
        identity = await self._authenticator.require_follower(request, followed)
        subject = None if identity is None else identity.subject
        self._rates.check_follower(subject)
        if self._followers.total() >= MAX_FOLLOWERS or self._followers[followed] >= MAX_FOLLOWERS_EACH:
            raise Problem(503, "at_capacity", "As many followers are told as can be.", {"Retry-After": "10"})
        most = self._max_followed_by_one
        if subject is not None and self._followers_of[subject] >= most:
            raise Problem(
                429,
                "too_many_requests",
                f"This token's subject follows {most} already, as many as one may: end another first.",
                {"Retry-After": "10"},
            )
        positions = read_positions(request.headers.get("Last-Event-ID", ""))
        messages = read_messages(request.query.get("messages"))
        follower = Follower(self._calls, is_wanted, newest=newest, positions=positions, messages=messages)
        for_s = None if identity is None else max(0.0, identity.expires_at - time.time())
        self._followers[followed] += 1
        counted = [] if subject is None else [subject]
        self._followers_of.update(counted)
        try:
            return await send_events(
                request, follower.events(), keepalive_s=self._keepalive_s, for_s=for_s, stopping=self._stopping
            )
        finally:
            self._followers.subtract([followed])
            self._followers_of.subtract(counted)
            # Drops what nobody follows any more.
            self._followers += Counter()
            self._followers_of += Counter()
