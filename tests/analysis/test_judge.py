import numpy as np
import pytest

from tests.analysis.models import Fixed, Pitch
from tests.support import Samples, frames, noise, silence
from voxgender.analysis.judge import MAX_BEHIND, Ear, Heard, Job, Judge
from voxgender.audio.track import Batch
from voxgender.audio.windows import Picker
from voxgender.inference.classifier import Classifier, ClassLabel
from voxgender.peer.voices import MAN, WOMAN, speak

FULL, SHORT, HOP = 16_000, 8_000, 3_072


class Call:
    """One call's audio, hop by hop."""

    def __init__(self, audio: Samples, *, hop: int = HOP) -> None:
        self.ear = Ear(Picker(full=FULL, short=SHORT, hop=hop), hop)
        self._hops = iter(frames(audio, each_s=hop / 16_000))

    def next(self) -> Job | None:
        made = next(self._hops, None)
        return None if made is None else Job(self.ear, Batch(lambda: [made], made.samples / 16_000, 0.0))

    def last(self) -> Job:
        return Job(self.ear, None)


def heard_in(judge: Judge, *jobs: Job | None) -> list[Heard]:
    return [heard for verdicts in judge([job for job in jobs if job]) for heard in verdicts.hops]


def judge_all(classifier: Classifier | None, audio: Samples, *, hop: int = HOP) -> list[Heard]:
    judge = Judge(classifier)
    call = Call(audio, hop=hop)
    heard = []
    while job := call.next():
        heard += heard_in(judge, job)
    return [*heard, *heard_in(judge, call.last())]


@pytest.fixture(scope="module")
def man() -> Samples:
    return np.concatenate([silence(0.5), speak(MAN, 4.0), silence(1.0)]).astype(np.float32)


@pytest.fixture(scope="module")
def woman() -> Samples:
    return np.concatenate([silence(0.7), speak(WOMAN, 4.0), silence(0.8)]).astype(np.float32)


def test_silence_and_noise_never_reach_the_model() -> None:
    model = Pitch()
    heard = judge_all(model, np.concatenate([silence(3), noise(3)]))
    assert model.heard == []
    assert all((list(one.speech), one.scores, one.voice) == ([], None, 1.0) for one in heard)


def test_a_voice_is_scored_from_its_first_half_second(man: Samples) -> None:
    heard = judge_all(Pitch(), man)
    scored = [number for number, one in enumerate(heard) if one.scores]
    assert scored[0] <= 6
    assert all(heard[number].scores.male > 0.9 for number in scored)
    assert not any(one.dropped for one in heard)


def test_the_model_hears_the_audio_that_ends_with_the_hop(man: Samples) -> None:
    model = Pitch()
    scored = [number for number, one in enumerate(judge_all(model, man)) if one.scores]
    assert len(scored) == len(model.windows) > 10
    for number, window in zip(scored, model.windows, strict=True):
        end = (number + 1) * HOP
        # Frames hold 16 bits.
        np.testing.assert_allclose(window, man[end - window.size : end], atol=1e-4)


@pytest.mark.parametrize("hop", [1_024, 1_600, 5_000, 32_000])
def test_windows_are_right_whatever_the_hop(man: Samples, hop: int) -> None:
    model = Pitch()
    heard = judge_all(model, man, hop=hop)
    assert {window.size for window in model.windows} <= {FULL, SHORT}
    assert model.windows
    assert all(one.scores.male > 0.9 for one in heard if one.scores)


def test_without_a_model_the_gate_still_hears(man: Samples) -> None:
    heard = judge_all(None, man)
    assert any(one.speech for one in heard)
    assert all(one.scores is None and not one.dropped for one in heard)


def test_calls_judged_together_are_judged_as_if_alone(man: Samples, woman: Samples) -> None:
    """The design that this one replaced put the packets of all callers in one buffer."""
    judge = Judge(Pitch())
    calls = [Call(man), Call(woman), Call(noise(5.5))]
    together: list[list[Heard]] = [[], [], []]
    while jobs := [job for call in calls if (job := call.next())]:
        for number, verdicts in enumerate(judge(jobs)):
            together[number] += verdicts.hops
    for number, audio in enumerate((man, woman, noise(5.5))):
        alone = judge_all(Pitch(), audio)[: len(together[number])]
        assert [one.speech for one in together[number]] == [one.speech for one in alone]
        assert [one.scores for one in together[number]] == [one.scores for one in alone]
    assert any(one.scores for one in together[0])
    assert any(one.scores for one in together[1])


def test_only_windows_of_one_size_share_a_batch(man: Samples) -> None:
    model = Pitch()
    judge = Judge(model)
    early, late = Call(man[8_000:]), Call(man)
    for _ in range(5):
        judge([early.next()])
    model.heard.clear()
    for _ in range(14):
        judge([early.next(), late.next()])
    shapes = {batch.shape for batch in model.heard}
    assert (1, SHORT) in shapes
    assert (2, FULL) in shapes
    assert all(batch.shape[1] in (SHORT, FULL) for batch in model.heard)


def test_of_a_call_that_fell_behind_the_gate_hears_all_and_the_model_the_newest(man: Samples) -> None:
    model = Pitch()
    judge = Judge(model)
    behind = Call(man)
    for _ in range(10):
        judge([behind.next()])
    model.heard.clear()
    heard = heard_in(judge, *(behind.next() for _ in range(MAX_BEHIND + 3)))
    assert len(model.windows) == 1
    assert heard[-1].scores is not None
    assert [one.dropped for one in heard] == [True] * (MAX_BEHIND + 2) + [False]
    assert [one.speech for one in heard] == [one.speech for one in judge_all(Pitch(), man)[10 : 13 + MAX_BEHIND]]


def test_a_call_that_is_a_little_behind_loses_nothing(man: Samples) -> None:
    judge = Judge(Pitch())
    call = Call(man)
    for _ in range(10):
        judge([call.next()])
    heard = heard_in(judge, *(call.next() for _ in range(MAX_BEHIND)))
    assert all(one.scores and not one.dropped for one in heard)


def test_the_call_that_is_behind_takes_nothing_from_the_others(man: Samples, woman: Samples) -> None:
    judge = Judge(Pitch())
    behind, prompt = Call(man), Call(woman)
    for _ in range(10):
        judge([behind.next(), prompt.next()])
    heard = heard_in(judge, *(behind.next() for _ in range(MAX_BEHIND + 1)), prompt.next())
    assert heard[-1].scores is not None
    assert heard[-1].scores.female > 0.9


@pytest.mark.parametrize("labels", [("male", "female"), ("female", "male"), ("other", "female", "male")])
def test_columns_are_those_of_the_model(labels: tuple[ClassLabel, ...]) -> None:
    said = {"male": 0.6, "female": 0.2, "other": 0.2}
    judge = Judge(Fixed(labels, tuple(said[label] for label in labels)))
    ((scores, voice),) = judge._classify(np.zeros((1, FULL), dtype=np.float32))
    assert scores.male == pytest.approx(0.75)
    assert scores.female == pytest.approx(0.25)
    assert voice == pytest.approx(0.8)


def test_a_model_sure_of_no_voice_still_gives_scores_that_add_up() -> None:
    judge = Judge(Fixed(("male", "female", "other"), (0.0, 0.0, 1.0)))
    ((scores, voice),) = judge._classify(np.zeros((1, FULL), dtype=np.float32))
    assert 0 <= scores.male <= 1
    assert scores.male + scores.female == 1
    assert voice < 1e-5


@pytest.mark.parametrize("cut", [0, 100, 3_000])
def test_the_end_of_a_call_judges_a_word_that_was_never_judged(cut: int) -> None:
    word = np.concatenate([silence(1.0), speak(WOMAN, 0.6)[: 4_800 + cut]]).astype(np.float32)
    heard = judge_all(Pitch(), word)
    assert sum(one.scores is not None for one in heard) >= 1
    assert all(one.scores.female > 0.9 for one in heard if one.scores)


def test_a_call_that_gives_many_hops_at_once_is_heard_as_hop_by_hop(man: Samples) -> None:
    judge = Judge(Pitch())
    ear = Ear(Picker(full=FULL, short=SHORT, hop=HOP), HOP)
    at_once = heard_in(judge, Job(ear, Batch(lambda: frames(man), man.size / 16_000, 0.0)), Job(ear, None))
    slowly = judge_all(Pitch(), man)
    assert [(one.start_s, one.end_s, one.speech) for one in at_once] == [
        (one.start_s, one.end_s, one.speech) for one in slowly
    ]


def test_the_time_of_each_stage_is_told(man: Samples) -> None:
    judge = Judge(Pitch())
    call = Call(man)
    (verdicts,) = judge([call.next()])
    assert min(verdicts.decode_s, verdicts.gate_s, verdicts.inference_s) >= 0
    assert verdicts.gate_s > 0
