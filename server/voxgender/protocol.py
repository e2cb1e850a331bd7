"""Messages to the client, on the data channel and as server-sent events.

This is the contract with clients: JSON texts, each with ``"v": 1`` and ``"type"``. A client ignores fields that
it does not know; a change that would break one raises ``VERSION``. Times are seconds of this call's audio unless
a name ends in ``_ms``. ``docs/protocol.md`` explains each message; ``docs/protocol.schema.json`` is written by
``python -m voxgender.protocol > docs/protocol.schema.json``.
"""

import json
import math
import sys
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
    """Channel of a stream that has several, counted from 0; each is judged apart. None if there is one."""

    def to_json(self) -> str:
        return _encoder.encode(self.to_dict()).decode()

    def to_dict(self) -> dict[str, Any]:
        """Return the message as plain dicts, lists and scalars, as they are sent.

        Numbers are rounded here and nowhere else: seconds to the millisecond, probabilities to four decimals,
        milliseconds to a tenth.

        Raises:
            ValueError: a number is infinite or NaN, which JSON has no form for.
        """
        plain: dict[str, Any] = _rounded(msgspec.to_builtins(self), _SECONDS_DECIMALS)
        for name in _LEFT_OUT:
            if plain.get(name, "") is None:
                del plain[name]
        return plain


class Hello(Message, frozen=True, kw_only=True, tag="hello"):
    """First message on every channel: the model that listens, its labels, window and hop."""

    type: ClassVar[Literal["hello"]] = "hello"
    session: str
    model: str
    labels: tuple[Label, ...] = LABELS
    window_ms: int
    hop_ms: int
    channels: int | None = None
    """How many channels of a stream are judged apart; None if there is one."""
    name: str | None = None
    """The name that the call's client gave it, if any."""
    reference: str | None = None
    """The name of the call in the caller's own system, if that was told."""
    windows_per_s: Rate | msgspec.UnsetType = msgspec.UNSET
    """Less than one each hop while the model cannot keep up."""


class Result(Message, frozen=True, kw_only=True, tag="result"):
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


class Change(Message, frozen=True, kw_only=True, tag="change", rename={"from_": "from"}):
    """The voice heard has changed; the first voice of a call changes from ``no_speech``."""

    type: ClassVar[Literal["change"]] = "change"
    at: Seconds
    from_: Label
    to: Label
    confidence: Probability


class Segment(Message, frozen=True, kw_only=True, tag="segment"):
    """A finished stretch of one voice."""

    type: ClassVar[Literal["segment"]] = "segment"
    start: Seconds
    end: Seconds
    label: Label
    confidence: Probability


class Summary(Message, frozen=True, kw_only=True, tag="summary"):
    """The whole call in seconds; the last message. ``segments`` is a count, ``others`` by label."""

    type: ClassVar[Literal["summary"]] = "summary"
    duration: Seconds
    speech: Seconds
    male: Seconds
    female: Seconds
    uncertain: Seconds
    segments: int
    others: dict[VoiceLabel, Seconds] = {}


class Warning(Message, frozen=True, kw_only=True, tag="warning"):  # noqa: A001 - the wire's own word
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


class End(Message, frozen=True, kw_only=True, tag="end"):
    """A call has ended, and nothing more is told of it. Told to followers and webhooks, not to the call itself."""

    type: ClassVar[Literal["end"]] = "end"
    reason: str


AnyMessage: TypeAlias = Hello | Result | Change | Segment | Summary | Warning | Error | Start | End

_LEFT_OUT: dict[str, dict[str, Any]] = {
    "channel": {
        "type": "integer",
        "minimum": 0,
        "description": "Channel of a stream that has several, counted from 0; each is judged apart.",
    },
    "channels": {"type": "integer", "minimum": 2, "description": "How many channels are judged apart, if several."},
    "name": {"type": "string", "description": "The name that the call's client gave it, if any."},
    "subject": {"type": "string", "description": "Subject of the caller's token, if it has one."},
    "reference": {
        "type": "string",
        "description": "The name of the call in the caller's own system, if that was told.",
    },
}
"""Fields that are not sent where they are None, and their schema."""

_ROUNDED = frozenset((float, dict, list, tuple))
"""Types that are rounded, or may hold numbers to round."""

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


def _rounded(value: Any, decimals: int) -> Any:
    # Compared by exact type, and without a call for other values, because this runs for every field of every result.
    kind = type(value)
    if kind is float:
        if not math.isfinite(value):
            raise ValueError(f"{value} cannot be sent as JSON.")
        return round(value, decimals)
    if kind is dict:
        return {
            name: _rounded(inner, _DECIMALS.get(name, decimals)) if type(inner) in _ROUNDED else inner
            for name, inner in value.items()
        }
    if kind is list or kind is tuple:
        return [_rounded(inner, decimals) for inner in value]
    return value


if __name__ == "__main__":
    sys.stdout.write(json.dumps(schema(), indent=2) + "\n")
