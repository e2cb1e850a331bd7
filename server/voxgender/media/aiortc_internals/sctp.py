"""Wait until data channels have delivered what was sent on them."""

import asyncio
import time
from typing import Any

from aiortc import RTCPeerConnection


async def wait_delivered(pc: RTCPeerConnection, timeout_s: float) -> bool:
    """Wait until the peer has acknowledged all that was sent on reliable data channels, or time is up.

    A channel's ``bufferedAmount`` tells of data that was not sent yet, not of data that was not acknowledged.
    """
    sctp: Any = pc.sctp
    if sctp is None or sctp.state != "connected":
        return False
    deadline = time.monotonic() + timeout_s
    while sctp._outbound_queue or sctp._sent_queue or sctp._data_channel_queue:
        if time.monotonic() > deadline or sctp.state != "connected":
            return False
        await asyncio.sleep(0.01)
    return True
