"""Messages to the client, on the data channel and as server-sent events.

This is the contract with clients: JSON texts, each with ``"v": 1`` and ``"type"``. A client ignores fields that
it does not know; a change that would break one raises ``VERSION``. Times are seconds of this call's audio unless
a name ends in ``_ms``. ``docs/protocol.md`` explains each message, ``docs/protocol.schema.json`` is generated
from here.
"""

from typing import Any, Literal

import msgspec

VERSION: Literal[1] = 1

Voice = Literal["male", "female"]
Label = Literal["male", "female", "uncertain", "no_speech"]
LABELS: tuple[Label, ...] = ("male", "female", "uncertain", "no_speech")

RESULTS_CHANNEL = "results"
"""Label of the channel that carries ``result`` (the client opens it unordered, with no retransmits)."""
EVENTS_CHANNEL = "events"
"""Label of the channel that carries all the rest (reliable, ordered)."""


class Scores(msgspec.Struct, frozen=True):
    """One window's probabilities, raw from the model. They add up to 1."""

    male: float
    female: float


class Message(msgspec.Struct, frozen=True, tag_field="type", kw_only=True):
    """Base of all messages."""

    v: Literal[1] = VERSION

    @property
    def type(self) -> str:
        """The name on the wire: ``hello``, ``result``, …"""
        return str(self.__struct_config__.tag)

    def to_json(self) -> str:
        return _encoder.encode(self).decode()

    def to_dict(self) -> dict[str, Any]:
        """The message as plain dicts, lists and scalars, as it stands on the wire."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain


class Hello(Message, frozen=True, kw_only=True, tag="hello"):
    """First on every channel: what is listening, and how it listens."""

    session: str
    model: str
    labels: tuple[Label, ...] = LABELS
    window_ms: int
    hop_ms: int


class Result(Message, frozen=True, kw_only=True, tag="result"):
    """What is heard now; one each hop. May be lost on the way: the next one replaces it."""

    seq: int
    start: float
    end: float
    label: Label
    confidence: float
    scores: Scores | None
    latency_ms: float
    """From the arrival of the window's last packet to the send."""
    stages_ms: dict[str, float] = {}
    """Parts of ``latency_ms``: ``queue`` (waiting for the model) and ``inference`` (gate and model)."""


class Change(Message, frozen=True, kw_only=True, tag="change", rename={"from_": "from"}):
    """The voice heard has changed; the first voice of a call changes from ``no_speech``."""

    at: float
    from_: Label
    to: Label
    confidence: float


class Segment(Message, frozen=True, kw_only=True, tag="segment"):
    """A finished stretch of one voice."""

    start: float
    end: float
    label: Label
    confidence: float


class Summary(Message, frozen=True, kw_only=True, tag="summary"):
    """The whole call in seconds; the last message. ``segments`` is a count."""

    duration: float
    speech: float
    male: float
    female: float
    uncertain: float
    segments: int


class Warning(Message, frozen=True, kw_only=True, tag="warning"):  # noqa: A001 - the wire's own word
    """Something a user may want to know; the call goes on."""

    code: str
    message: str


class Error(Message, frozen=True, kw_only=True, tag="error"):
    """The call ends after this."""

    code: str
    message: str


AnyMessage = Hello | Result | Change | Segment | Summary | Warning | Error

_encoder = msgspec.json.Encoder(decimal_format="number")
_decoder: msgspec.json.Decoder[AnyMessage] = msgspec.json.Decoder(AnyMessage)


def decode(text: str | bytes) -> AnyMessage:
    """Read one message.

    Raises:
        ValueError: the text is no message of this version.
    """
    return _decoder.decode(text)


def schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of every message."""
    produced: dict[str, Any] = msgspec.json.schema(AnyMessage)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "voxgender messages, v1",
        **produced,
    }
