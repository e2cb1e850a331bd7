import pytest

from voxgender.errors import ModelError, SettingsError
from voxgender.inference.labels import MAX_LABELS, LabelPair, guess, name_outputs, parse


@pytest.mark.parametrize(
    ("label", "names"),
    [
        (
            "female",
            [
                "F",
                "female",
                "FEMALE",
                "Female_voice",
                "femme",
                "Féminin",
                "mujer",
                "weiblich",
                "женский",
                "女性",
                "여성",
                "gender:female",
            ],
        ),
        ("male", ["M", "male", "MaleVoice", "man", "hombre", "männlich", "мужской", "男", "남자", "speaker-male"]),
        ("child", ["child", "Kids", "enfant"]),
        ("other", ["noise", "Music", "no speech", "non-voice", "NO_SPEECH", "Background noise", "silence"]),
        ("happy", ["happy"]),
        ("female_happy", ["female_happy"]),
        ("female child", ["female child"]),
        ("no", ["no"]),
        ("is", ["is"]),
        (None, ["LABEL_0", "label 12", "3", "", " "]),
    ],
)
def test_a_name_is_guessed_at_if_it_says_something(label: str | None, names: list[str]) -> None:
    assert {guess(name) for name in names} == {label}


def test_names_that_say_nothing_are_told_with_the_remedy() -> None:
    """winml-cli#1329: checkpoints with LABEL_0 and LABEL_1 were refused, and there was no option to name them."""
    with pytest.raises(
        ModelError, match=r"its labels are 'LABEL_0', 'LABEL_1', and 'LABEL_0' says too little.*--labels"
    ):
        name_outputs("m", ["LABEL_0", "LABEL_1"])
    assert name_outputs("m", ["LABEL_0", "LABEL_1"], parse(["female=LABEL_0,male=LABEL_1"])) == ("female", "male")


def test_several_outputs_may_be_one_label() -> None:
    asked = parse(["female=Woman", "female=girl,male=Man", "male=boy"])
    assert name_outputs("m", ["woman", "Man", "Girl", "BOY"], asked) == ("female", "male", "female", "male")


def test_what_is_not_asked_for_is_guessed() -> None:
    names = ["F", "spk1", "child", "humming"]
    assert name_outputs("m", names, [LabelPair("male", "spk1"), LabelPair("other", "humming")]) == (
        "female", "male", "child", "other",
    )  # fmt: skip


def test_a_label_of_another_kind_stays() -> None:
    assert name_outputs("m", ["ang", "hap", "neu"]) == ("ang", "hap", "neu")


@pytest.mark.parametrize("names", [["male", "noise"], ["male", "man"], ["noise", "music"], ["male"]])
def test_fewer_than_two_voices_are_nothing_to_tell(names: list[str]) -> None:
    with pytest.raises(ModelError, match=f"two labels of voices at least; its labels are '{names[0]}'"):
        name_outputs("m", names)


def test_a_name_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(
        ModelError, match=r"has no label 'LABEL_7', as --labels says; its labels are 'LABEL_0', 'LABEL_1'"
    ):
        name_outputs("m", ["LABEL_0", "LABEL_1"], parse(["male=LABEL_7"]))


def test_a_label_and_an_output_that_changed_places_are_told() -> None:
    with pytest.raises(ModelError, match=r"has no label 'female', .* which come after the =$"):
        name_outputs("m", ["LABEL_0", "LABEL_1"], parse(["LABEL_0=female,LABEL_1=male"]))


def test_an_output_with_two_labels_is_told() -> None:
    """The second was taken, and the error told that another output says too little."""
    with pytest.raises(ModelError, match="--labels gives 'LABEL_0' two labels, female and male"):
        name_outputs("m", ["LABEL_0", "LABEL_1"], parse(["female=LABEL_0,male=LABEL_0"]))
    assert name_outputs("m", ["LABEL_0", "b"], parse(["a=LABEL_0,a=label_0"])) == ("a", "b")


def test_male_and_female_are_known_in_capitals_too() -> None:
    """``MALE`` was a label of another kind: no seconds of it in the summary, no colour of its own on the page."""
    pairs = parse(["Female=LABEL_0,MALE=LABEL_1,Other=LABEL_2,Happy=LABEL_3"])
    assert [pair.label for pair in pairs] == ["female", "male", "other", "Happy"]


@pytest.mark.parametrize("name", ["uncertain", "a\nb", "x" * 65])
def test_a_name_that_cannot_be_sent_has_to_be_changed(name: str) -> None:
    with pytest.raises(ModelError, match="--labels"):
        name_outputs("m", ["happy", name])
    assert name_outputs("m", ["happy", name], [LabelPair("sad", name)]) == ("happy", "sad")


def test_too_many_labels_are_refused_with_some_of_them() -> None:
    with pytest.raises(ModelError, match=rf"has {MAX_LABELS + 1} labels; at most"):
        name_outputs("m", [f"word {index}" for index in range(MAX_LABELS + 1)])


@pytest.mark.parametrize(
    "text", ["female", "=LABEL_0", "female=", "no_speech=x", "uncertain=x", "a\tb=x", "x" * 65 + "=y"]
)
def test_a_malformed_assignment_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="--labels"):
        parse([text])


def test_an_output_may_have_an_equals_sign_in_its_name() -> None:
    assert parse(["male=sex=m", ""]) == (LabelPair("male", "sex=m"),)
