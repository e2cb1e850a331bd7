"""Hops of many calls through gate and model together."""

from collections.abc import Iterator

import numpy as np
import pytest

from tests.engine.models import Fixed, Pitch
from tests.support import Samples, noise, silence
from voxgender.audio.frames import Wave
from voxgender.engine import Engine
from voxgender.engine.call_state import Hop
from voxgender.engine.pace import MAX_BEHIND
from voxgender.inference.classifier import Classifier
from voxgender.peer.voices import MAN, WOMAN, speak

FULL, SHORT, HOP = 16_000, 8_000, 3_072


class Source:
    """One call's audio, hop by hop."""

    def __init__(self, engine: Engine, audio: Samples) -> None:
        self.state = engine.new_state()
        self._audio = audio
        self._at = 0

    def next(self, hops: int = 1) -> list[Hop]:
        """The next few hops, none once all was given."""
        part = self._audio[self._at : self._at + hops * HOP]
        self._at += hops * HOP
        return [*self.state.place([Wave(part)]), *self.state.cut(exact=True)]

    def rest(self) -> Iterator[list[Hop]]:
        """The other hops one at a time, and the end of the call."""
        while hops := self.next():
            yield hops
        yield list(self.state.finish())


def judge_all(classifier: Classifier | None, audio: Samples) -> list[Hop]:
    engine = Engine(classifier)
    source = Source(engine, audio)
    judged = []
    for hops in source.rest():
        engine.process({source.state: hops})
        judged += hops
    return judged


@pytest.fixture(scope="module")
def woman() -> Samples:
    return np.concatenate([silence(0.7), speak(WOMAN, 4.0), silence(0.8)]).astype(np.float32)


def test_silence_and_noise_never_reach_the_model() -> None:
    model = Pitch()
    hops = judge_all(model, np.concatenate([silence(3), noise(3)]))
    assert model.heard == []
    assert all((list(hop.speech), hop.scores, hop.p_voice) == ([], None, 1.0) for hop in hops)


def test_a_voice_is_scored_from_its_first_half_second(man: Samples) -> None:
    hops = judge_all(Pitch(), man)
    scored = [number for number, hop in enumerate(hops) if hop.scores]
    assert scored[0] <= 6
    assert all(hops[number].scores["male"] > 0.9 for number in scored)  # type: ignore[index]
    assert not any(hop.skipped for hop in hops)


def test_without_a_model_the_gate_still_hears(man: Samples) -> None:
    hops = judge_all(None, man)
    assert any(hop.speech for hop in hops)
    assert all(hop.scores is None and not hop.skipped for hop in hops)


def test_calls_judged_together_are_judged_as_if_alone(man: Samples, woman: Samples) -> None:
    """The design that this one replaced put the packets of all callers in one buffer."""
    engine = Engine(Pitch())
    audios = (man, woman, noise(5.5))
    sources = [Source(engine, audio) for audio in audios]
    together: list[list[Hop]] = [[] for _ in sources]
    while any(turn := [source.next() for source in sources]):
        engine.process({source.state: hops for source, hops in zip(sources, turn, strict=True)})
        for one, hops in zip(together, turn, strict=True):
            one += hops
    for one, audio in zip(together, audios, strict=True):
        alone = judge_all(Pitch(), audio)[: len(one)]
        assert [hop.speech for hop in one] == [hop.speech for hop in alone]
        assert [hop.scores for hop in one] == [hop.scores for hop in alone]
    assert any(hop.scores for hop in together[0])
    assert any(hop.scores for hop in together[1])


def test_only_windows_of_one_size_share_a_batch(man: Samples) -> None:
    model = Pitch()
    engine = Engine(model)
    early, late = Source(engine, man[8_000:]), Source(engine, man)
    for _ in range(5):
        engine.process({early.state: early.next()})
    model.heard.clear()
    for _ in range(14):
        engine.process({early.state: early.next(), late.state: late.next()})
    shapes = {batch.shape for batch in model.heard}
    assert (1, SHORT) in shapes
    assert (2, FULL) in shapes
    assert all(batch.shape[1] in (SHORT, FULL) for batch in model.heard)


def hear_all(engine: Engine, source: Source, hops: int = 10) -> None:
    source.state.is_whole = True
    engine.process({source.state: source.next(hops)})
    source.state.is_whole = False


def test_of_a_call_that_fell_behind_the_gate_hears_all_and_the_model_the_newest(man: Samples) -> None:
    model = Pitch()
    engine = Engine(model)
    behind = Source(engine, man)
    hear_all(engine, behind)
    model.heard.clear()
    hops = behind.next(MAX_BEHIND + 3)
    engine.process({behind.state: hops})
    assert len(model.windows) == 1
    assert hops[-1].scores is not None
    assert [hop.skipped for hop in hops] == [True] * (MAX_BEHIND + 2) + [False]
    assert [hop.speech for hop in hops] == [hop.speech for hop in judge_all(Pitch(), man)[10 : 13 + MAX_BEHIND]]


def test_a_call_that_is_a_little_behind_loses_nothing(man: Samples) -> None:
    engine = Engine(Pitch())
    source = Source(engine, man)
    hear_all(engine, source)
    hops = source.next(MAX_BEHIND)
    engine.process({source.state: hops})
    assert all(hop.scores and not hop.skipped for hop in hops)


def test_the_call_that_is_behind_takes_nothing_from_the_others(man: Samples, woman: Samples) -> None:
    engine = Engine(Pitch())
    behind, prompt = Source(engine, man), Source(engine, woman)
    hear_all(engine, behind)
    hear_all(engine, prompt)
    (hop,) = hops = prompt.next()
    engine.process({behind.state: behind.next(MAX_BEHIND + 1), prompt.state: hops})
    assert hop.scores is not None
    assert hop.scores["female"] > 0.9


def window() -> Hop:
    return Hop(0.0, 0.192, silence(0.192), window=np.zeros(FULL, dtype=np.float32))


@pytest.mark.parametrize("labels", [("male", "female"), ("female", "male"), ("other", "female", "male")])
def test_columns_are_those_of_the_model(labels: tuple[str, ...]) -> None:
    said = {"male": 0.6, "female": 0.2, "other": 0.2}
    hop = window()
    Engine(Fixed(labels, tuple(said[label] for label in labels)))._networks._classify([hop])
    assert hop.scores is not None
    assert hop.scores["male"] == pytest.approx(0.75)
    assert hop.scores["female"] == pytest.approx(0.25)
    assert hop.p_voice == pytest.approx(0.8)


def test_a_model_sure_of_no_voice_still_gives_scores_that_add_up() -> None:
    hop = window()
    Engine(Fixed(("male", "female", "other"), (0.0, 0.0, 1.0)))._networks._classify([hop])
    assert hop.scores is not None
    assert 0 <= hop.scores["male"] <= 1
    assert hop.scores["male"] + hop.scores["female"] == pytest.approx(1)
    assert hop.p_voice < 1e-5


@pytest.mark.parametrize(("level", "wanted"), [(1.0, False), (0.004, True)])
def test_a_voice_that_is_too_quiet_is_noticed_beside_one_that_is_not(level: float, *, wanted: bool) -> None:
    """The other call shares the run of the network, and nothing is told of it."""
    engine = Engine(None)
    quiet, other = Source(engine, speak(WOMAN, 4.0) * np.float32(level)), Source(engine, speak(MAN, 4.0))
    told: list[bool] = []
    for hops, of_other in zip(quiet.rest(), other.rest(), strict=True):
        engine.process({quiet.state: hops, other.state: of_other})
        told += [hop.too_quiet for hop in hops]
        assert not any(hop.too_quiet for hop in of_other)
    assert any(told) is wanted
