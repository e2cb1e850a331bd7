"""Exchange messages with a pool over HTTP, and say in words why that fails."""

import asyncio
import io
import os
from typing import NoReturn

import aiohttp
import msgspec

from voxgender import metrics
from voxgender.pool import wire
from voxgender.settings import POOL_PORT
from voxgender.version import __version__

DESCRIBE_S = 3.0
"""Time for a description."""

Reason = metrics.PoolFailure


class Failed(Exception):
    """A request failed; the message says how.

    Attributes:
        reason: the kind of failure.
        present: what the pool runs now, where that is why.
    """

    def __init__(self, reason: Reason, message: str, *, present: wire.Description | None = None) -> None:
        super().__init__(message)
        self.reason: Reason = reason
        self.present = present


class PoolHttp:
    """An HTTP client of a pool; of one event loop, on which it is made.

    Args:
        url: of the pool's resource.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        # The number of windows on their way is limited, and thereby that of connections.
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60),
            headers={"Content-Type": wire.MEDIA_TYPE},
            auto_decompress=False,
            trust_env=False,
        )

    async def close(self) -> None:
        await self._http.close()

    async def describe(self) -> wire.Description:
        """Ask what the pool runs.

        Raises:
            Failed: there is no pool, or one of another version.
        """
        try:
            async with asyncio.timeout(DESCRIBE_S):
                async with self._http.get(self._url) as response:
                    body = await response.content.read(1 << 16)
                    status = response.status
        except TimeoutError:
            raise Failed("late", f"it does not answer within {DESCRIBE_S:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise Failed("unreachable", _why(error)) from None
        if status != 200:
            _refuse_stranger(status)
        return _description(body)

    async def classify(self, request: wire.Request, within_s: float) -> wire.Answer:
        """Have windows classified.

        Raises:
            Failed
        """
        body = msgspec.msgpack.encode(request)
        try:
            # Ended here, the request is ended in the pool as well.
            async with asyncio.timeout(within_s):
                # As a file: aiohttp warns of bytes that are large, as some requests are.
                async with self._http.post(self._url, data=io.BytesIO(body)) as response:
                    answer = await response.read()
                    status = response.status
        except TimeoutError:
            raise Failed("late", "not answered in time") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise Failed("unreachable", _why(error)) from None
        if status == 503:
            raise Failed("busy", "it has too much to do")
        if status == 409:
            raise Failed("refused", "it has another model now", present=_description(answer))
        if status != 200:
            raise Failed("failed", f"it answered with HTTP status {status}")
        try:
            return msgspec.msgpack.decode(answer, type=wire.Answer)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise Failed("malformed", "its answer is malformed") from None


def _description(body: bytes) -> wire.Description:
    try:
        hail = msgspec.msgpack.decode(body, type=wire.Hail)
        if hail.version != wire.VERSION:
            raise Failed(
                "refused",
                f"it speaks version {hail.version} of the pool's protocol (voxgender {hail.release}), this node "
                f"version {wire.VERSION} (voxgender {__version__}): install the same release for both",
            )
        return msgspec.msgpack.decode(body, type=wire.Description)
    except (msgspec.DecodeError, UnicodeDecodeError):
        _refuse_stranger(200)


def _refuse_stranger(status: int) -> NoReturn:
    raise Failed(
        "failed",
        f"what answers there is no pool (HTTP status {status}); give the port of Ray Serve's HTTP proxy, which is "
        f"{POOL_PORT} unless it was changed, of a pool that is up",
    )


def _why(error: Exception) -> str:
    """Say in a few words why there was no answer."""
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "there is no such host; look at --inference"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"no answer ({_told_by_system(error.os_error)}); start it by voxgender pool, or look at --inference"
    if isinstance(error, aiohttp.ServerDisconnectedError | ConnectionError):
        return "it closed the connection"
    if isinstance(error, aiohttp.ClientResponseError | aiohttp.ClientPayloadError):
        return f"it speaks no HTTP; give the port of Ray Serve's HTTP proxy, which is {POOL_PORT} unless it was changed"
    return f"no answer ({type(error).__name__})"


def _told_by_system(error: OSError) -> str:
    return os.strerror(error.errno).lower() if error.errno else type(error).__name__
