"""TURN servers as a caller takes them: one, and one that works."""

import asyncio
import ssl
from collections.abc import Sequence

from aioice import stun, turn
from aiortc import RTCIceServer
from aiortc.rtcicetransport import parse_stun_turn_uri

from voxgender.errors import CallError

ALLOCATE_TIMEOUT_S = 3.0
"""Answers take two round trips, over TLS four. A call that could do without a relay waits so long at most."""
_RELEASE_TIMEOUT_S = 1.0


async def working_relay(servers: Sequence[RTCIceServer], *, timeout_s: float = ALLOCATE_TIMEOUT_S) -> RTCIceServer:
    """Return the first of these TURN servers that allocates a relay address.

    aioice takes one alone, and keeps to itself why it gave none. So all are asked, at the same time.

    Args:
        servers: in the order of preference.
        timeout_s: how long each is waited for.

    Raises:
        CallError: none did; the message says of each why.
    """
    asking = [asyncio.create_task(_allocate(server, timeout_s)) for server in servers]
    reasons = []
    try:
        for server, task in zip(servers, asking, strict=True):
            try:
                await task
            except (stun.TransactionError, OSError, ValueError) as error:
                reasons.append(f"{server.urls}: {_reason(error)}")
            else:
                return server
    finally:
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
    raise CallError(f"no relay: {'; '.join(reasons)}")


class _Relayed(asyncio.DatagramProtocol):
    """Receives datagrams by a relay and ignores them."""

    def __init__(self) -> None:
        self.closed = asyncio.get_running_loop().create_future()

    def connection_lost(self, _: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(None)


async def _allocate(server: RTCIceServer, timeout_s: float) -> None:
    """Ask for a relay and give it back."""
    parsed = parse_stun_turn_uri(str(server.urls))
    async with asyncio.timeout(timeout_s):
        transport, relayed = await turn.create_turn_endpoint(
            _Relayed,
            (parsed["host"], parsed["port"]),
            server.username,
            server.credential,
            ssl=parsed["scheme"] == "turns" or None,
            transport=parsed["transport"],
        )
    transport.close()
    await asyncio.wait((relayed.closed,), timeout=_RELEASE_TIMEOUT_S)


def _reason(error: Exception) -> str:
    match error:
        case stun.TransactionFailed() if error.response.error_code == 401:
            return "it does not take this login (401): it has expired, or the TURN server has another secret"
        case stun.TransactionFailed():
            code, words = error.response.attributes.get("ERROR-CODE", ("", "refused"))
            return f"{words} ({code})"
        case ssl.SSLCertVerificationError():
            return f"its certificate is not trusted: {error.verify_message}"
        case stun.TransactionTimeout() | TimeoutError():
            return "no answer"
        case OSError():
            return error.strerror or str(error)
    return str(error)
