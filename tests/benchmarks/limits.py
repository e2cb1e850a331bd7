"""Measure the least cost of a call: the parts that no server can leave out, each alone, on one thread."""

import asyncio
import socket
import time
from collections.abc import Callable
from os import urandom
from typing import NamedTuple

import numpy as np
import pylibsrtp
import uvloop
from aiortc.rtp import RtpPacket
from av import CodecContext
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.packet import Packet

from tests.benchmarks.tables import Measured, markdown
from voxgender.audio.activity import VoiceActivity
from voxgender.audio.frames import SAMPLE_RATE_HZ
from voxgender.audio.gate import Gate
from voxgender.audio.resampler import Resampler
from voxgender.engine import HOP_MS
from voxgender.media.negotiation import PTIME_MS
from voxgender.media.opus import Buffer, OpusDecoder
from voxgender.peer import speech

_BURST = 100
_PACKETS_PER_S = 1000 / PTIME_MS
_TOGETHER = 8
"""Calls that the gate judges in one run."""
_HOPS_PER_S = 1000 / HOP_MS


class Part(NamedTuple):
    """One thing that has to be done for a call."""

    name: str
    cost_us: float
    per_s: float
    counted: bool = True

    @property
    def percent(self) -> float:
        return self.cost_us * self.per_s / 1e6 * 100


async def measure(brief: bool) -> Measured:
    return await asyncio.to_thread(_measure, 3 if brief else 40)


def _measure(rounds: int) -> Measured:
    words = speech.synthesised()
    payloads, asked_for = list(words.packets), list(words.wideband or ())
    hop_packets = round(HOP_MS / 1000 / speech.PACKET_S)
    frames = _ffmpeg_decoded(payloads)
    resampler, activity, opus = Resampler(), VoiceActivity(), OpusDecoder()
    gates = [Gate() for _ in range(_TOGETHER)]
    hop = np.random.default_rng(0).normal(0, 0.1, HOP_MS * SAMPLE_RATE_HZ // 1000).astype(np.float32)

    def decode() -> None:
        pcm = Buffer()
        for payload in asked_for[:_BURST]:
            opus.decode(payload, pcm)

    def listen() -> None:
        frames = [gate.frames(hop) for gate in gates]
        activity(frames, [gate.state for gate in gates])

    parts = [
        Part("UDP through uvloop: a callback a packet", _uvloop_us(rounds), _PACKETS_PER_S),
        Part("of it the kernel: recvfrom alone", _udp_us(rounds), _PACKETS_PER_S, counted=False),
        Part("SRTP: decrypt and check a packet (AES-256-GCM)", _srtp_us(asked_for, rounds), _PACKETS_PER_S),
        Part(
            f"Opus: libopus decodes {PTIME_MS} ms of wideband",
            _each_us(decode, _BURST, rounds),
            _PACKETS_PER_S,
        ),
        Part(
            f"speech gate: a hop of {HOP_MS} ms, {_TOGETHER} calls at once",
            _each_us(listen, 1, rounds * 10) / _TOGETHER,
            _HOPS_PER_S,
        ),
    ]
    others = [
        Part(
            "instead: FFmpeg decodes 20 ms of full band to 48 kHz",
            _each_us(lambda: _ffmpeg_decoded(payloads[:_BURST]), _BURST, rounds),
            1 / speech.PACKET_S,
        ),
        Part(
            f"and FFmpeg resamples {hop_packets} packets at once to 16 kHz",
            _each_us(lambda: resampler.convert(frames[:hop_packets]), 1, rounds * 10),
            _HOPS_PER_S,
        ),
    ]
    total = sum(part.percent for part in parts if part.counted)
    rows = [
        *((part.name, part.cost_us, part.per_s, part.percent) for part in parts),
        ("**together**", None, None, total),
        *((part.name, part.cost_us, part.per_s, part.percent) for part in others),
    ]
    head = ("what", "µs each", "times a second and call", "% of a core a call")
    return Measured({"rows": rows, "total_percent": total}, markdown(head, rows))


def _each_us(run: Callable[[], object], number: int, rounds: int) -> float:
    """Median thread time of one out of ``number``."""
    run()
    taken = []
    for _ in range(rounds):
        began = time.thread_time()
        run()
        taken.append(time.thread_time() - began)
    return float(np.median(taken)) / number * 1e6


def _ffmpeg_decoded(payloads: list[bytes]) -> list[AudioFrame]:
    context = CodecContext.create("libopus", "r")
    assert isinstance(context, AudioCodecContext)
    context.format, context.layout, context.sample_rate = "s16", "mono", 48_000
    return [frame for payload in payloads for frame in context.decode(Packet(payload))]


def _udp_us(rounds: int) -> float:
    with _udp() as receiving, _udp() as sending:
        target, datagram = receiving.getsockname(), bytes(120)

        def receive() -> None:
            for _ in range(_BURST):
                receiving.recvfrom(2048)

        taken = []
        for _ in range(rounds):
            for _ in range(_BURST):
                sending.sendto(datagram, target)
            began = time.thread_time()
            receive()
            taken.append(time.thread_time() - began)
    return float(np.median(taken)) / _BURST * 1e6


def _uvloop_us(rounds: int) -> float:
    """One packet a wake-up, as packets of a call come."""

    class Protocol(asyncio.DatagramProtocol):
        def __init__(self) -> None:
            self.received = asyncio.get_running_loop().create_future()

        def datagram_received(self, data: bytes, address: object) -> None:
            self.received.set_result(None)

    async def run() -> float:
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.create_datagram_endpoint(Protocol, local_addr=("127.0.0.1", 0))
        target, datagram = transport.get_extra_info("sockname"), bytes(120)
        taken = []
        with _udp() as sending:
            for _ in range(rounds * 10):
                protocol.received = loop.create_future()
                sending.sendto(datagram, target)
                began = time.thread_time()
                await protocol.received
                taken.append(time.thread_time() - began)
        transport.close()
        return float(np.median(taken)) * 1e6

    return uvloop.run(run())


def _srtp_us(payloads: list[bytes], rounds: int) -> float:
    key = urandom(44)
    profile = pylibsrtp.Policy.SRTP_PROFILE_AEAD_AES_256_GCM
    outbound, inbound = (
        pylibsrtp.Session(pylibsrtp.Policy(key=key, ssrc_type=direction, srtp_profile=profile))
        for direction in (pylibsrtp.Policy.SSRC_ANY_OUTBOUND, pylibsrtp.Policy.SSRC_ANY_INBOUND)
    )
    taken = []
    for turn in range(rounds):
        sealed = []
        for index in range(_BURST):
            number = turn * _BURST + index
            packet = RtpPacket(payload_type=96, sequence_number=number & 0xFFFF, timestamp=number * 960, ssrc=1)
            packet.payload = payloads[number % len(payloads)]
            sealed.append(outbound.protect(packet.serialize()))
        began = time.thread_time()
        for data in sealed:
            inbound.unprotect(data)
        taken.append(time.thread_time() - began)
    return float(np.median(taken)) / _BURST * 1e6


def _udp() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind(("127.0.0.1", 0))
    return made
