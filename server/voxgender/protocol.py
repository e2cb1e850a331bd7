"""Messages to the client, on the data channel and as server-sent events.

This is the contract with clients: JSON texts, each with ``"v": 1`` and ``"type"``. A client ignores fields that
it does not know; a change that would break one raises ``VERSION``. Times are seconds of this call's audio unless
a name ends in ``_ms``. ``docs/protocol.md`` explains each message; ``docs/protocol.schema.json`` is written by
``python -m voxgender.protocol > docs/protocol.schema.json``.
"""

import json
import sys
from math import isfinite
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

import msgspec

from voxgender import received

VERSION: Literal[1] = 1

VoiceLabel = str
"""A label of the model: ``male`` and ``female``, and whatever else it tells apart."""
Label = str
"""A label of the model, ``uncertain`` or ``no_speech``."""
VOICES: tuple[VoiceLabel, ...] = ("male", "female")
NO_VOICE: tuple[Label, ...] = ("uncertain", "no_speech")
LABELS: tuple[Label, ...] = (*VOICES, *NO_VOICE)

RESULTS_CHANNEL = "results"
"""Label of the channel that carries ``result`` (the client opens it unordered, with no retransmits)."""
EVENTS_CHANNEL = "events"
"""Label of the channel that carries all the rest (reliable, ordered)."""


Seconds = Annotated[float, msgspec.Meta(ge=0, description="Seconds of this call's audio.")]
Milliseconds = Annotated[float, msgspec.Meta(ge=0, description="Milliseconds.")]
Probability = Annotated[float, msgspec.Meta(ge=0, le=1)]
Rate = Annotated[
    float, msgspec.Meta(ge=0, description="Windows of this call that are classified in a second of speech.")
]
Scores = dict[VoiceLabel, Probability]
"""One window's probabilities by label, raw from the model. They add up to 1."""

_SECONDS_DECIMALS = 3
_DECIMALS = {"confidence": 4, "scores": 4, "latency_ms": 1, "stages_ms": 1}
"""Decimals of the numbers under these names; all others are seconds."""


class Message(msgspec.Struct, frozen=True, tag_field="type", kw_only=True):
    """Base of all messages."""

    type: ClassVar[str]
    """Name of the message's type on the wire. It is a literal of each type, so that type checkers narrow by it."""
    v: Literal[1] = VERSION
    channel: int | None = None
    """Channel of a room or of a stream that has several, counted from 0; each is judged apart. None if there is one."""

    def to_json(self) -> str:
        return _encoder.encode(self.to_dict()).decode()

    def to_dict(self) -> dict[str, Any]:
        """Return the message as plain dicts, lists and scalars, as they are sent.

        Numbers are rounded here and nowhere else: seconds to the millisecond, probabilities to four decimals,
        milliseconds to a tenth.

        Raises:
            ValueError: a number is infinite or NaN, which JSON has no form for.
        """
        plain = msgspec.to_builtins(self)
        return _rounded({name: value for name, value in plain.items() if value is not None or name not in _LEFT_OUT})


class NamedVoice(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A voice of a room: one of its audio lines."""

    channel: int
    mid: str
    """Name of its media line in the offer (``a=mid``)."""
    name: str | msgspec.UnsetType = msgspec.UNSET
    """Name that the offer gives it, if any."""


class Limits(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The bounds of a call."""

    hop_step_ms: Annotated[int, msgspec.Meta(description="The server's own hop; a call's is a multiple of it.")]
    max_hop_ms: Annotated[int, msgspec.Meta(description="The longest hop that a call may ask for.")]
    max_voices: Annotated[int, msgspec.Meta(description="Voices that a call may have.")]
    max_followers: Annotated[int, msgspec.Meta(description="Readers that the call may have at a time.")]
    silence_s: Annotated[float, msgspec.Meta(description="With nothing from the client for so long the call ends.")]
    messages_per_s: Annotated[float, msgspec.Meta(description="Messages without audio that the client may send.")]
    longest_s: (
        Annotated[float, msgspec.Meta(description="Time after which the call ends, if there is one.")]
        | msgspec.UnsetType
    ) = msgspec.UNSET


class Usage(msgspec.Struct, frozen=True):
    """Audio and speech of a call, all of its voices or channels together."""

    audio_s: Annotated[float, msgspec.Meta(ge=0, description="Seconds of audio that was analysed.")]
    speech_s: Annotated[float, msgspec.Meta(ge=0, description="Seconds of speech in it.")]


class VoiceMessage(Message, frozen=True, kw_only=True):
    """Base of messages that may be about one voice of a room."""

    mid: str | None = None
    """Name of the voice's media line in the offer (``a=mid``); None outside a room."""
    name: str | None = None
    """Name that the offer gives the voice, if any."""


class Hello(Message, frozen=True, kw_only=True, tag="hello"):
    """First message on every channel: the model that listens, its labels, window and hop."""

    type: ClassVar[Literal["hello"]] = "hello"
    session: str
    model: str
    labels: tuple[Label, ...] = LABELS
    window_ms: int
    hop_ms: int
    channels: int | None = None
    """How many channels of a stream or a room are judged apart; None if there is one."""
    voices: tuple[NamedVoice, ...] | None = None
    """The voices of a room, as they are when the message is sent; None outside a room."""
    name: str | None = None
    """The name that the call's client gave it, if any."""
    reference: str | None = None
    """The name of the call in the caller's own system, if that was told."""
    tags: tuple[str, ...] | None = None
    """Tags that the call's client or its token gave it, if any."""
    messages: tuple[str, ...] | None = None
    """Types of messages that are told, of those that can be chosen; None for all."""
    limits: Limits | None = None
    """The bounds of the call."""
    windows_per_s: Rate | msgspec.UnsetType = msgspec.UNSET
    """Less than one each hop while the model cannot keep up."""


class Result(VoiceMessage, frozen=True, kw_only=True, tag="result"):
    """The label at the end of a hop. A result may be lost on the way: the next one replaces it."""

    type: ClassVar[Literal["result"]] = "result"
    seq: int
    start: Seconds
    end: Seconds
    label: Label
    confidence: Probability
    scores: Scores | None
    latency_ms: Milliseconds
    """From the arrival of the window's last packet to the send."""
    stages_ms: dict[str, Milliseconds] = {}
    """Parts of ``latency_ms``, in order: receive, reorder, queue, decode, gate, inference, send."""


class Change(VoiceMessage, frozen=True, kw_only=True, tag="change", rename={"from_": "from"}):
    """The voice heard has changed; the first voice of a call changes from ``no_speech``."""

    type: ClassVar[Literal["change"]] = "change"
    at: Seconds
    from_: Label
    to: Label
    confidence: Probability


class Segment(VoiceMessage, frozen=True, kw_only=True, tag="segment"):
    """A finished stretch of one voice."""

    type: ClassVar[Literal["segment"]] = "segment"
    start: Seconds
    end: Seconds
    label: Label
    confidence: Probability


class Summary(VoiceMessage, frozen=True, kw_only=True, tag="summary"):
    """The whole call in seconds; the last message. ``segments`` is a count, ``others`` by label."""

    type: ClassVar[Literal["summary"]] = "summary"
    duration: Seconds
    speech: Seconds
    male: Seconds
    female: Seconds
    uncertain: Seconds
    segments: int
    others: dict[VoiceLabel, Seconds] = {}
    tags: tuple[str, ...] | None = None
    """Tags of the call, if it has any."""
    subject: str | None = None
    """Subject of the caller's token, if it has one."""
    usage: Usage | None = None
    """Audio and speech that count as used. Those of all summaries of a call add up; a room's voices have none."""


class Warning(VoiceMessage, frozen=True, kw_only=True, tag="warning"):  # noqa: A001 - the wire's own word
    """Something a user may want to know; the call goes on."""

    type: ClassVar[Literal["warning"]] = "warning"
    code: Annotated[str, msgspec.Meta(description="For programs: overloaded, no_media, low_level, draining, …")]
    message: str
    windows_per_s: Rate | msgspec.UnsetType = msgspec.UNSET
    """Present in the warning ``overloaded`` alone."""


class Error(Message, frozen=True, kw_only=True, tag="error"):
    """The call ends after this."""

    type: ClassVar[Literal["error"]] = "error"
    code: str
    message: str


class Start(Message, frozen=True, kw_only=True, tag="start"):
    """A call has begun. Told to followers of a name or a subject and to webhooks, not to the call itself."""

    type: ClassVar[Literal["start"]] = "start"
    name: str | None = None
    """The name that the call's client gave it, if any."""
    subject: str | None = None
    """Subject of the caller's token, if it has one."""
    reference: str | None = None
    """The name of the call in the caller's own system, if that was told."""
    tags: tuple[str, ...] | None = None
    """Tags of the call, if it has any."""


class End(Message, frozen=True, kw_only=True, tag="end"):
    """A call has ended, and nothing more is told of it. Told to followers and webhooks, not to the call itself."""

    type: ClassVar[Literal["end"]] = "end"
    reason: str


AnyMessage: TypeAlias = Hello | Result | Change | Segment | Summary | Warning | Error | Start | End

_LEFT_OUT: dict[str, dict[str, Any]] = {
    "channel": {
        "type": "integer",
        "minimum": 0,
        "description": "Channel of a room or of a stream that has several, counted from 0; each is judged apart.",
    },
    "channels": {
        "type": "integer",
        "minimum": 1,
        "description": "How many channels are judged apart, if several, or in a room.",
    },
    "voices": {
        "type": "array",
        "items": {"$ref": "#/$defs/NamedVoice"},
        "description": "The voices of a room, as they are when the message is sent.",
    },
    "mid": {"type": "string", "description": "Name of the voice's media line in a room's offer (a=mid)."},
    "name": {"type": "string", "description": "Name of the call, or of a voice of a room, if it was given one."},
    "subject": {"type": "string", "description": "Subject of the caller's token, if it has one."},
    "reference": {
        "type": "string",
        "description": "The name of the call in the caller's own system, if that was told.",
    },
    "tags": {"type": "array", "items": {"type": "string"}, "description": "Tags of the call, if it has any."},
    "messages": {
        "type": "array",
        "items": {"type": "string"},
        "description": "Types of messages that are told, of those that can be chosen, if not all.",
    },
    "limits": {"$ref": "#/$defs/Limits"},
    "usage": {"$ref": "#/$defs/Usage"},
}
"""Fields that are not sent where they are None, and their schema."""

_encoder = msgspec.json.Encoder()


def decode(text: str | bytes) -> AnyMessage:
    """Read one message.

    Raises:
        ValueError: the text is no message of this version, or of an unknown type.
    """
    message: AnyMessage = received.decode(text, AnyMessage)
    return message


def schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of every message."""
    produced: dict[str, Any] = msgspec.json.schema(AnyMessage)
    for definition in produced["$defs"].values():
        if "v" in definition["properties"]:
            # It is always sent, though the class has a default.
            definition["required"].append("v")
        for name in _LEFT_OUT.keys() & definition["properties"]:
            definition["properties"][name] = _LEFT_OUT[name]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"voxgender messages, v{VERSION}",
        **produced,
    }


def _rounded(values: dict[str, Any], decimals: int = _SECONDS_DECIMALS) -> dict[str, Any]:
    # Compared by exact type, and without a call for each value, because this runs for every field of every result.
    plain = {}
    for name, value in values.items():
        kind = type(value)
        if kind is float:
            if not isfinite(value):
                raise ValueError(f"{value} cannot be sent as JSON.")
            plain[name] = round(value, _DECIMALS.get(name, decimals))
        elif kind is dict:
            plain[name] = _rounded(value, _DECIMALS.get(name, decimals))
        elif kind is list or kind is tuple:
            plain[name] = [_rounded({name: inner}, decimals)[name] for inner in value]
        else:
            plain[name] = value
    return plain


if __name__ == "__main__":
    sys.stdout.write(json.dumps(schema(), indent=2) + "\n")
