import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
from jsonschema import Draft202012Validator

from voxgender import protocol
from voxgender.protocol import (
    AnyMessage,
    Change,
    End,
    Error,
    Hello,
    Limits,
    NamedVoice,
    Result,
    Scores,
    Segment,
    Start,
    Summary,
    Usage,
    Warning,
    decode,
    schema,
)

DOCS = Path(__file__).parent.parent / "docs"
GUIDE = (DOCS / "protocol.md").read_text()

MESSAGES: list[AnyMessage] = [
    Hello(session="abc", model="embedded", window_ms=1000, hop_ms=192),
    Hello(
        session="abc",
        model="embedded",
        window_ms=1000,
        hop_ms=384,
        tags=("pilot", "team a"),
        messages=("change", "summary"),
        limits=Limits(
            hop_step_ms=192, max_hop_ms=1_920, max_voices=8, max_followers=16, silence_s=15.0, messages_per_s=200.0
        ),
    ),
    Result(
        seq=7,
        start=1.152,
        end=1.344,
        label="female",
        confidence=0.9712,
        scores=Scores(male=0.0642, female=0.9358),
        latency_ms=38.4,
        stages_ms={"queue": 1.2, "inference": 4.9},
    ),
    Result(seq=8, start=1.344, end=1.536, label="no_speech", confidence=1.0, scores=None, latency_ms=30.0),
    Change(at=0.5, from_="no_speech", to="male", confidence=0.9),
    Segment(start=0.5, end=2.25, label="uncertain", confidence=0.7),
    Summary(duration=10.0, speech=4.0, male=3.0, female=0.5, uncertain=0.5, segments=3),
    Summary(
        duration=10.0,
        speech=4.0,
        male=3.0,
        female=0.5,
        uncertain=0.5,
        segments=3,
        tags=("pilot",),
        subject="ann",
        usage=Usage(10.0, 4.0),
    ),
    Warning(code="overloaded", message="The server cannot keep up."),
    Error(code="silent_peer", message="Nothing was heard for too long."),
    Start(name="studio", subject="ann"),
    Start(),
    End(reason="left"),
]
by_type = pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.type)


def examples() -> list[dict[str, Any]]:
    return [json.loads(block) for block in re.findall(r"```json\n(.*?)```", GUIDE, re.DOTALL)]


def without_pings() -> list[dict[str, Any]]:
    return [example for example in examples() if example["type"] != "ping"]


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    Draft202012Validator.check_schema(schema())
    return Draft202012Validator(json.loads(json.dumps(schema())))


class TestWire:
    @by_type
    def test_a_message_comes_back_as_it_went(self, message: AnyMessage) -> None:
        assert decode(message.to_json()) == message
        assert decode(message.to_json().encode()) == message

    @by_type
    def test_a_message_says_its_version_and_type(self, message: AnyMessage) -> None:
        wire = json.loads(message.to_json())
        assert (wire["v"], wire["type"]) == (1, message.type)
        assert wire == message.to_dict()

    @by_type
    def test_unknown_fields_are_ignored(self, message: AnyMessage) -> None:
        assert decode(json.dumps(message.to_dict() | {"colour": "blue", "more": {"v": 2}})) == message

    def test_from_is_called_from(self) -> None:
        assert Change(at=0, from_="male", to="female", confidence=1).to_dict()["from"] == "male"

    def test_numbers_are_rounded_to_what_they_are_worth(self) -> None:
        result = Result(
            seq=1,
            start=0.19200000000000003,
            end=1 / 3,
            label="male",
            confidence=2 / 3,
            scores=Scores(male=2 / 3, female=1 / 3),
            latency_ms=100 / 3,
            stages_ms={"queue": 20 / 3},
        )
        assert result.to_dict() == {
            "v": 1,
            "type": "result",
            "seq": 1,
            "start": 0.192,
            "end": 0.333,
            "label": "male",
            "confidence": 0.6667,
            "scores": {"male": 0.6667, "female": 0.3333},
            "latency_ms": 33.3,
            "stages_ms": {"queue": 6.7},
        }
        seconds = Summary(duration=10 / 3, speech=2 / 3, male=2 / 3, female=0, uncertain=0, segments=1).to_dict()
        assert (seconds["duration"], seconds["male"]) == (3.333, 0.667)

    @pytest.mark.parametrize("number", [float("nan"), float("inf")])
    def test_what_json_cannot_say_is_refused(self, number: float) -> None:
        with pytest.raises(ValueError, match="JSON"):
            Segment(start=0.0, end=1.0, label="male", confidence=number).to_json()

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "hello",
            "null",
            "[]",
            "{}",
            b"\xff",
            '{"v":1}',
            '{"v":1,"type":"ping"}',
            '{"v":1,"type":"warning","code":"overloaded"}',
            '{"v":2,"type":"warning","code":"overloaded","message":""}',
            '{"v":1,"type":"warning","code":1,"message":""}',
            '{"v":1,"type":"segment","start":0,"end":1,"label":3,"confidence":1}',
            '{"v":1,"type":"segment","start":0,"end":1,"label":"male","confidence":1.5}',
            '{"v":1,"type":"segment","start":0,"end":1,"label":"male","confidence":1}}',
        ],
    )
    def test_a_broken_text_is_a_value_error(self, text: str | bytes) -> None:
        with pytest.raises(ValueError):  # noqa: PT011 - the reasons differ
            decode(text)


class TestSchema:
    def test_the_published_one_is_current(self) -> None:
        written = subprocess.run(
            [sys.executable, "-m", "voxgender.protocol"], capture_output=True, check=True, text=True, encoding="utf-8"
        ).stdout
        assert (DOCS / "protocol.schema.json").read_text() == written, (
            "write it anew: python -m voxgender.protocol > docs/protocol.schema.json"
        )

    @by_type
    def test_messages_keep_to_it(self, message: AnyMessage, validator: Draft202012Validator) -> None:
        validator.validate(json.loads(message.to_json()))
        validator.validate(message.to_dict() | {"unknown": True})

    @by_type
    @pytest.mark.parametrize("field", ["v", "type"])
    def test_version_and_type_are_required(
        self, message: AnyMessage, field: str, validator: Draft202012Validator
    ) -> None:
        wire = message.to_dict()
        del wire[field]
        assert not validator.is_valid(wire)
        assert not validator.is_valid(wire | {field: 99})


class TestGuide:
    def test_its_examples_keep_to_the_schema(self, validator: Draft202012Validator) -> None:
        for example in without_pings():
            validator.validate(example)

    def test_its_examples_are_written_as_the_server_writes_them(self) -> None:
        for example in without_pings():
            assert decode(json.dumps(example)).to_dict() == example

    def test_it_shows_every_message(self) -> None:
        types = {str(kind.__struct_config__.tag) for kind in get_args(AnyMessage)}
        assert {example["type"] for example in without_pings()} == types

    def test_it_explains_every_field(self) -> None:
        explained = set(re.findall(r"`(\w+)`", re.sub(r"```json\n.*?```", "", GUIDE, flags=re.DOTALL)))
        for kind in (*get_args(AnyMessage), Limits, NamedVoice, Usage):
            assert {*kind.__struct_encode_fields__} - {"v"} <= explained | {"type"}

    def test_it_names_the_channels_and_labels(self) -> None:
        for word in (protocol.RESULTS_CHANNEL, protocol.EVENTS_CHANNEL, *protocol.LABELS):
            assert f"`{word}`" in GUIDE
