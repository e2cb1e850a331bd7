from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from voxgender.training.manifest import Clip, Kind
from voxgender.training.recordings import Recording
from voxgender.training.sampling import SpeakerSampler, spread


def clips(sex: Kind, speakers: int, *, corpus: str = "read", language: str = "en", each: int = 1) -> list[Clip]:
    return [
        Clip(Path(f"{language}-{sex}-{speaker}-{number}"), sex, "", f"{sex}{speaker}", corpus, language)
        for speaker in range(speakers)
        for number in range(each)
    ]


def heard(people: list[Clip], sex: Kind, times: int = 4000) -> Counter[str]:
    rng = np.random.default_rng(0)
    drawn = SpeakerSampler([Recording(clip, clip.path, 1) for clip in people])
    return Counter(drawn.draw(sex, rng).clip.language for _ in range(times))


def test_a_language_comes_up_as_often_for_both_sexes_however_few_its_women_are() -> None:
    people = [
        *clips("male", 90),
        *clips("female", 80),
        *clips("male", 40, language="fi"),
        *clips("female", 3, language="fi"),
    ]
    men, women = heard(people, "male"), heard(people, "female")
    # The roots of 81 and of 4.
    assert men["fi"] / 4000 == pytest.approx(2 / 11, abs=0.03)
    assert women["fi"] / 4000 == pytest.approx(2 / 11, abs=0.03)


def test_speakers_come_up_alike_however_much_there_is_of_them() -> None:
    people = [*clips("male", 1, each=50), *clips("female", 2), *clips("male", 4)[1:]]
    rng = np.random.default_rng(0)
    drawn = SpeakerSampler([Recording(clip, clip.path, 1) for clip in people])
    found = Counter(drawn.draw("male", rng).clip.speaker for _ in range(4000))
    assert all(count == pytest.approx(1000, abs=120) for count in found.values())
    assert len(found) == 4


def test_it_is_told_of_which_sex_nobody_is() -> None:
    people = SpeakerSampler([Recording(clip, clip.path, 1) for clip in clips("male", 2)])
    assert "male" in people
    assert "female" not in people


def test_speakers_to_resynthesise_are_of_both_sexes_and_of_all_corpora_and_languages() -> None:
    people = [
        *clips("male", 50, each=2),
        *clips("male", 50, language="de"),
        *clips("male", 2, corpus="phone"),
        *clips("female", 4),
    ]
    chosen = spread(people, 20)
    assert Counter(clip.label for clip in chosen) == {"male": 10, "female": 4}
    men = Counter((clip.corpus, clip.language) for clip in chosen if clip.label == "male")
    assert men == {("read", "en"): 4, ("read", "de"): 4, ("phone", "en"): 2}
    assert len({(clip.corpus, clip.language, clip.speaker) for clip in chosen}) == 14
