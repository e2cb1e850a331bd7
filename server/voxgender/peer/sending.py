"""Send a stream of encoded packets, from payload to socket in one call: no task, no timer and no packet object.

It uses private names of ``RTCRtpSender``; ``tests/peer/test_sending.py`` fails when an upgrade changes one.
"""

import asyncio
import random
import struct
from collections.abc import Callable
from typing import Any

from aiortc import RTCRtpCodecParameters, RTCRtpTransceiver, clock
from aiortc.rtcdtlstransport import State
from aiortc.rtp import RtpPacket

from voxgender.media.aiortc_internals.ice import send_now

_HEADER = struct.Struct("!BBHLL")
_PACKETS_A_REPORT = 50


class RtpWriter:
    """Writes the packets of one RTP stream."""

    def __init__(self, transceiver: RTCRtpTransceiver, codec: RTCRtpCodecParameters) -> None:
        self._sender: Any = transceiver.sender
        self._dtls: Any = transceiver.sender.transport
        self._ice = transceiver.sender.transport.transport
        self._second_byte = codec.payloadType
        self._ssrc = self._sender._ssrc
        # Below half: a wrap before the first packet arrives breaks decryption (RFC 3711 section 3.3.1).
        self._sequence_number = random.randrange(1 << 15)  # noqa: S311
        self._timestamp_origin = random.randrange(1 << 32)  # noqa: S311
        first = RtpPacket()
        first.extensions.mid = transceiver.mid
        serialized = first.serialize(vars(self._sender)["_RTCRtpSender__rtp_header_extensions_map"])
        self._first_byte, self._extensions = serialized[0], serialized[_HEADER.size :]
        self._packets = self._octets = 0

    def write(self, payload: bytes, timestamp: int) -> None:
        """Send one packet; ``timestamp`` in ticks of the RTP clock from the stream's start.

        Without a connection, as at a call's end, the packet is dropped.
        """
        if self._dtls._state is not State.CONNECTED:
            return
        sequence_number = self._sequence_number
        self._sequence_number = (sequence_number + 1) & 0xFFFF
        rtp_timestamp = (self._timestamp_origin + timestamp) & 0xFFFFFFFF
        header = _HEADER.pack(self._first_byte, self._second_byte, sequence_number, rtp_timestamp, self._ssrc)
        send_now(self._ice, self._dtls._tx_srtp.protect(header + self._extensions + payload))
        self._packets += 1
        self._octets += len(payload)
        if self._packets % _PACKETS_A_REPORT == 1:
            self._count_for_reports(rtp_timestamp)

    def _count_for_reports(self, rtp_timestamp: int) -> None:
        """Update the figures of aiortc's sender reports (RFC 3550 section 6.4.1)."""
        sender = self._sender
        sender._RTCRtpSender__ntp_timestamp = clock.current_ntp_time()
        sender._RTCRtpSender__rtp_timestamp = rtp_timestamp
        sender._RTCRtpSender__packet_count = self._packets
        sender._RTCRtpSender__octet_count = self._octets


def write_rtp(transceiver: RTCRtpTransceiver, on_ready: Callable[[RtpWriter], None]) -> None:
    """Replace aiortc's task that reads and encodes a transceiver's track by a writer of encoded packets.

    RTCP sender reports and the goodbye are still sent by aiortc. Call it before the connection is made.

    Args:
        on_ready: called once packets can be sent.
    """
    sender: Any = transceiver.sender

    async def run(codec: RTCRtpCodecParameters) -> None:
        sender._RTCRtpSender__rtp_started.set()
        try:
            on_ready(RtpWriter(transceiver, codec))
            await asyncio.get_running_loop().create_future()
        finally:
            sender._RTCRtpSender__rtp_exited.set()

    sender._run_rtp = run
