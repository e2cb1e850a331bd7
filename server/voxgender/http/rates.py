"""Limit how many requests come from one address, or for one token's subject, in a minute."""

import ipaddress
import math
from collections import OrderedDict
from time import monotonic

from aiohttp import web
from aiohttp.typedefs import Handler

from voxgender.http.problem import Problem
from voxgender.http.proxies import Proxies
from voxgender.ratelimit import RateLimit
from voxgender.settings import RateOptions

REQUESTS_AN_OFFER = 10
"""PATCHes and readers of events that go with an offer: a client sends its candidates one by one."""
AT_ONCE_S = 10.0
"""Time whose average number of requests may come at once."""
MAX_COUNTED = 10_000
"""Addresses and subjects whose requests are counted; those that came least recently are forgotten."""

_IPV6_SITE = 64
"""Bits of an IPv6 address that are counted: of the others a client has as many as it likes."""


class Rates:
    """Count requests by address and by subject, and refuse those beyond the limits.

    Args:
        options: how many.
        proxies: tell clients' addresses.
    """

    def __init__(self, options: RateOptions, proxies: Proxies) -> None:
        per_s = options.offers_per_minute / 60.0
        self._proxies = proxies
        self._offers = _Limits(per_s)
        self._others = _Limits(REQUESTS_AN_OFFER * per_s)

    def client(self, request: web.Request) -> str:
        """Return the address that a request comes from."""
        return self._proxies.client(request)

    def check_subject(self, subject: str | None) -> None:
        """Count an offer of a token's subject.

        Raises:
            Problem: 429.
        """
        if subject is not None:
            self._offers.check(("subject", subject), monotonic())

    def check_follower(self, subject: str | None) -> None:
        """Count a reader of events that shows a token of its own.

        Raises:
            Problem: 429.
        """
        if subject is not None:
            self._others.check(("subject", subject), monotonic())

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Count a request by its address, before anything is made of it."""
        limits = self._limits(request)
        if limits is not None and (client := self.client(request)):
            limits.check(("address", _site(client)), monotonic())
        return await handler(request)

    def _limits(self, request: web.Request) -> "_Limits | None":
        resource = request.match_info.route.resource
        match request.method, resource and resource.canonical:
            case ("POST", "/whip" | "/listen") | (
                "GET",
                "/listen" | "/listen/twilio" | "/listen/telnyx" | "/listen/vonage",
            ):
                return self._offers
            case ("PATCH", "/whip/{session}"):
                return self._others
            case ("GET", path) if path and path.endswith("/events") and not path.startswith("/operators/"):
                return self._others
            case ("GET", path) if path and path.endswith("/{ticket}"):
                return self._others
        return None


class _Limits:
    """One limit for each of many callers, of whom the ``max_counted`` latest are remembered."""

    def __init__(self, per_s: float, *, max_counted: int = MAX_COUNTED) -> None:
        self._per_s = per_s
        self._max_counted = max_counted
        self._limits: OrderedDict[tuple[str, str], RateLimit] = OrderedDict()

    def check(self, whose: tuple[str, str], now: float) -> None:
        if not self._per_s:
            return
        limit = self._limits.get(whose)
        if limit is None:
            limit = self._limits[whose] = RateLimit(self._per_s, max(1.0, self._per_s * AT_ONCE_S))
            if len(self._limits) > self._max_counted:
                self._limits.popitem(last=False)
        self._limits.move_to_end(whose)
        if not limit.take(now):
            wait_s = max(1, math.ceil(limit.wait_s(now)))
            who = "this address" if whose[0] == "address" else "this token's subject"
            raise Problem(
                429,
                "too_many_requests",
                f"Too many requests come from {who}: send fewer, and the next one in {wait_s} s.",
                {"Retry-After": str(wait_s)},
            )


def _site(address: str) -> str:
    """Return what is counted as one client's: an IPv4 address, or an IPv6 network."""
    return str(ipaddress.ip_network(f"{address}/{_IPV6_SITE}", strict=False)) if ":" in address else address
