import numpy as np
import pytest

from tools.decision_frontier import listen, observations
from tools.model_card import messages_of
from voxgender.audio.activity import VoiceActivity
from voxgender.audio.frames import Samples
from voxgender.decisions import Decider
from voxgender.engine import Engine
from voxgender.engine.engine import WINDOW_MS
from voxgender.inference.loading import load
from voxgender.peer.voices import MAN, WOMAN, speak
from voxgender.protocol import Result


@pytest.fixture(scope="module")
def audio() -> Samples:
    said = [speak(MAN, 3.0, seed=1), np.zeros(9_000, np.float32), speak(WOMAN, 3.0, seed=2)]
    return np.concatenate(said).astype(np.float32)


def test_what_is_decided_again_is_what_a_call_was_told(audio: Samples) -> None:
    heard = listen(audio, load("embedded"), VoiceActivity())
    decider = Decider(window_s=WINDOW_MS / 1000)
    again = [(seen, decider.observe(seen).label) for seen in observations(heard, WINDOW_MS) if seen.end > seen.start]
    told = _results(audio)
    assert [label for _, label in again] == [result.label for result in told]
    assert any(result.scores for result in told)
    for (seen, _), result in zip(again, told, strict=True):
        assert (seen.scores is None) == (result.scores is None)
        if seen.scores is not None and result.scores is not None:
            assert seen.scores["male"] == pytest.approx(result.scores["male"], abs=1e-3)


def _results(audio: Samples) -> list[Result]:
    engine = Engine(load("embedded"))
    try:
        return [message for message in messages_of(engine, audio) if isinstance(message, Result)]
    finally:
        engine.close()
