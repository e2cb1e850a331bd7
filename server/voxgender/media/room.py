"""Tell the voices of a room apart: several audio lines of one connection, each judged like a call of its own.

A session of one voice needs none of this: all its packets go to its :class:`AudioReceiver`.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from time import monotonic
from typing import Any

import msgspec
from aiortc import RTCRtpCodecParameters

from voxgender.engine import Call, Engine
from voxgender.engine.call import OnEnd, OnMessages
from voxgender.engine.messages import NO_MEDIA_S, Messages
from voxgender.engine.schedule import Phase
from voxgender.media.audiobudget import Excess
from voxgender.media.decoder import Decoders
from voxgender.media.receiver import AudioReceiver
from voxgender.media.rtp import Rtp
from voxgender.protocol import Hello, Message, NamedVoice, Summary
from voxgender.sdp import CLOCK_RATES_HZ, MAX_SSRCS, MAX_VOICES, Codec, VoiceLine

_MAX_STREAMS = MAX_VOICES * MAX_SSRCS
"""SSRCs whose line is remembered; the oldest of more is forgotten."""


@dataclass(eq=False)
class RoomVoice:
    """One voice of a room, from the offer that has its line to the one that has it no more."""

    line: VoiceLine
    channel: int
    call: Call
    receiver: AudioReceiver
    messages: Messages
    opened_at: float = field(default_factory=monotonic)


class Room:
    """The voices of one session. It is a ``PacketSink``: it hands each packet to the receiver of its voice.

    A voice has the same channel as long as its line sends, and no other voice of the session ever has that channel. The
    clock of all of them begins with the first packet of the room. A goodbye (RTCP BYE) ends no voice: its line is still
    negotiated, and may send again.

    Args:
        engine: analyses the voices.
        phase: when they have their turns, all together because their packets come together.
        on_messages: called with the voices' messages.
        on_excess: called with the reason for which a packet was dropped, and the fields that name its voice, if it is
            known.
        on_end: called once no voice is left, or with the error that ended one.
    """

    def __init__(
        self,
        engine: Engine,
        phase: Phase,
        on_messages: OnMessages,
        on_excess: Callable[[Excess, Mapping[str, Any]], None],
        on_end: OnEnd,
    ) -> None:
        self.voices: dict[str, RoomVoice] = {}
        """The present voices by their ``mid``."""
        self.phase = phase
        self._engine = engine
        self._on_messages: OnMessages | None = on_messages
        self._on_excess = on_excess
        self._on_end: OnEnd | None = on_end
        self._leaving: set[RoomVoice] = set()
        """Voices whose line has ended, and whose last audio is analysed."""
        self._by_ssrc: dict[int, RoomVoice | None] = {}
        """Voices by their streams; None for a stream whose voice has left."""
        self._by_format: dict[int, RoomVoice] = {}
        """Voices by the payload types that none of the others has."""
        self._channels = 0
        self._began_at: float | None = None
        self._last_arrival = 0.0
        self._lost = 0
        """Packets lost by voices that have left."""
        self._sums: Counter[str] = Counter()
        self._others: Counter[str] = Counter()
        self._duration_s = 0.0

    @property
    def places(self) -> int:
        """Voices that are analysed."""
        return len(self.voices) + len(self._leaving)

    @property
    def last_arrival(self) -> float:
        """Arrival of the last packet, seconds of ``time.monotonic``; 0 before the first."""
        return self._last_arrival

    @property
    def lost(self) -> int:
        """Packets given up so far."""
        return self._lost + sum(voice.receiver.lost for voice in self._all())

    @property
    def summary(self) -> Summary:
        """The sums of all voices that have ended; ``duration`` is that of the room."""
        return Summary(
            duration=self._duration_s,
            speech=self._sums["speech"],
            male=self._sums["male"],
            female=self._sums["female"],
            uncertain=self._sums["uncertain"],
            segments=self._sums["segments"],
            others=dict(self._others),
        )

    @property
    def closed(self) -> bool:
        """True once nothing more is told of any voice."""
        return not self.places

    def unheard(self, now: float) -> list[dict[str, Any]]:
        """Return the fields that name each voice of which no packet has come, though its line is there long enough."""
        return [
            voice.messages.about
            for voice in self.voices.values()
            if not voice.receiver.last_arrival and now - voice.opened_at >= NO_MEDIA_S
        ]

    def hello(self, hello: Hello) -> Hello:
        """Return a call's first message with the present voices."""
        voices = tuple(
            NamedVoice(channel=voice.channel, mid=voice.line.mid, name=voice.line.name or msgspec.UNSET)
            for voice in self.voices.values()
        )
        return msgspec.structs.replace(hello, channels=len(voices), voices=voices)

    def status(self) -> list[dict[str, Any]]:
        """Return the state of each voice, for operators."""
        return [
            {"channel": voice.channel, "mid": voice.line.mid, "packets_lost": voice.receiver.lost}
            for voice in self.voices.values()
        ]

    def new_lines(self, lines: Iterable[VoiceLine]) -> int:
        """Return how many of an offer's lines are no voices yet."""
        return sum(line.mid not in self.voices for line in lines)

    def update(self, lines: Sequence[VoiceLine]) -> None:
        """Begin the voices of lines that are new, and end those whose lines are gone."""
        for mid in self.voices.keys() - {line.mid for line in lines}:
            self._remove(self.voices[mid])
        formats = Counter(codec.payload_type for line in lines for codec in line.codecs)
        self._by_format.clear()
        for line in lines:
            voice = self.voices.get(line.mid)
            if voice is None:
                voice = self.voices[line.mid] = self._open(line)
            elif voice.line.name != line.name:
                voice.messages.about["name"] = line.name
            if new := [codec for codec in line.codecs if codec not in voice.line.codecs]:
                voice.receiver.configure([_parameters(codec) for codec in new])
            voice.line = line
            for ssrc in line.ssrcs:
                self._note_stream(ssrc, voice)
            self._by_format |= {codec.payload_type: voice for codec in line.codecs if formats[codec.payload_type] == 1}

    def observe(self, message: Message) -> None:
        """Add a voice's summary to that of the room."""
        if not isinstance(message, Summary):
            return
        for name in ("speech", "male", "female", "uncertain", "segments"):
            self._sums[name] += getattr(message, name)
        self._others.update(message.others)
        for voice in self._all():
            if voice.channel == message.channel:
                self._duration_s = max(self._duration_s, voice.messages.start_s + message.duration)

    def abandon(self) -> None:
        """Drop all voices at once."""
        # They refer to the session, which refers to the room: such a cycle would wait for the garbage collector.
        self._on_messages = self._on_end = None
        for voice in self._all():
            voice.call.abandon()

    # The protocol of a PacketSink.

    def configure(self, codecs: Sequence[RTCRtpCodecParameters]) -> None:
        """Do nothing: each voice has the codecs of its own line."""

    def feed(self, packet: Rtp, arrived_at: float) -> None:
        """Hand a packet to its voice (RFC 8843 section 9.2): by the line that it names, its SSRC or its format."""
        if packet.mid:
            voice = self.voices.get(packet.mid)
        elif packet.ssrc in self._by_ssrc:
            voice = self._by_ssrc[packet.ssrc]
        else:
            voice = self._by_format.get(packet.payload_type)
        if voice is None:
            return
        if self._by_ssrc.get(packet.ssrc) is not voice:
            self._note_stream(packet.ssrc, voice)
        if not voice.receiver.last_arrival:
            self._began_at = arrived_at if self._began_at is None else min(arrived_at, self._began_at)
            voice.messages.start_s = arrived_at - self._began_at
        voice.receiver.feed(packet, arrived_at)
        self._last_arrival = max(self._last_arrival, voice.receiver.last_arrival)

    def _note_stream(self, ssrc: int, voice: RoomVoice) -> None:
        if ssrc not in self._by_ssrc:
            mine = [one for one, whose in self._by_ssrc.items() if whose is voice]
            left = [one for one, whose in self._by_ssrc.items() if whose is None]
            if len(mine) >= MAX_SSRCS:
                del self._by_ssrc[mine[0]]
            elif len(self._by_ssrc) >= _MAX_STREAMS:
                del self._by_ssrc[next(iter(left or self._by_ssrc))]
        self._by_ssrc[ssrc] = voice

    def exceed(self, excess: Excess, ssrc: int = 0) -> None:
        """Tell that a packet was dropped before it was decrypted."""
        voice = self._by_ssrc.get(ssrc)
        self._on_excess(excess, voice.messages.about if voice else {})

    def bye(self) -> None:
        """Do nothing: the line may send again until it is negotiated away."""

    def end(self) -> None:
        """End the audio of all voices."""
        for voice in self.voices.values():
            voice.receiver.end()

    def _all(self) -> list[RoomVoice]:
        return [*self.voices.values(), *self._leaving]

    def _open(self, line: VoiceLine) -> RoomVoice:
        assert self._on_messages is not None
        channel, self._channels = self._channels, self._channels + 1
        decoders = Decoders()
        about = {"channel": channel, "mid": line.mid, "name": line.name}
        messages = Messages(about=about)
        call = self._engine.open(
            self._on_messages,
            partial(self._on_call_end, channel),
            decode=decoders.decode,
            messages=messages,
            beside=self.phase,
        )
        # It must not hold the room, which holds it.
        on_excess = self._on_excess
        receiver = AudioReceiver(call, decoders, lambda excess: on_excess(excess, about))
        receiver.configure([_parameters(codec) for codec in line.codecs])
        return RoomVoice(line, channel, call, receiver, messages)

    def _remove(self, voice: RoomVoice) -> None:
        del self.voices[voice.line.mid]
        self._by_ssrc = {ssrc: None if one is voice else one for ssrc, one in self._by_ssrc.items()}
        self._leaving.add(voice)
        voice.receiver.end()

    def _on_call_end(self, channel: int, error: Exception | None) -> None:
        for voice in self._all():
            if voice.channel == channel:
                self._lost += voice.receiver.lost
                self._leaving.discard(voice)
                if self.voices.get(voice.line.mid) is voice:
                    del self.voices[voice.line.mid]
        if self._on_end is not None and (error is not None or not self.places):
            on_end, self._on_end = self._on_end, None
            on_end(error)


def _parameters(codec: Codec) -> RTCRtpCodecParameters:
    return RTCRtpCodecParameters(
        mimeType=f"audio/{codec.name.lower()}", clockRate=CLOCK_RATES_HZ[codec.name], payloadType=codec.payload_type
    )
