"""The main job, whole: synthesised voices over WebRTC to the embedded model, and its words back."""

from collections.abc import Iterator

import pytest

from tests.peer.conftest import Serve
from voxgender.engine import Engine
from voxgender.peer import speech
from voxgender.peer.caller import Caller
from voxgender.protocol import AnyMessage, Change
from voxgender.roles.serve import make_engine
from voxgender.settings import ModelOptions


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    made = make_engine(ModelOptions())
    yield made
    made.close()


async def test_the_man_and_the_woman_are_told_apart_and_the_pause_is_silent(serve: Serve) -> None:
    server = await serve()
    messages: list[AnyMessage] = []

    report = await Caller(server.url, speech.synthesised()).run(messages.append)

    voices = [message.to for message in messages if isinstance(message, Change) and message.to != "no_speech"]
    assert voices == ["male", "female"]
    assert all(turn.delay_ms is not None for turn in report.turns)
    assert report.summary is not None
    assert report.summary.male == pytest.approx(4.5, abs=0.5)
    assert report.summary.female == pytest.approx(4.5, abs=0.5)
