"""Name a checkpoint's outputs: as its user says, else by a guess from the checkpoint's own names."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from voxgender.errors import ModelError, SettingsError

OTHER = "other"
"""Label of the outputs that are no voice: noise, music, silence. It is never sent to a client."""
MAX_LABELS = 1_000
MAX_NAME = 64
"""Greatest length of a label, in characters."""

_VERDICTS = ("uncertain", "no_speech")
"""Labels of the decisions themselves, so that no label of a model may be called so."""
_SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "male": (
        "male", "males", "m", "man", "men", "masculine", "masc", "homme", "masculin", "hombre", "masculino", "varon",
        "mann", "mannlich", "maennlich", "uomo", "maschio", "maschile", "homem", "мужчина", "мужской", "муж",
        "男", "男性", "남성", "남자", "ذكر", "पुरुष",
    ),
    "female": (
        "female", "females", "f", "fem", "w", "woman", "women", "feminine", "femme", "feminin", "femenino", "feminino",
        "mujer", "frau", "weiblich", "donna", "femmina", "femminile", "mulher", "женщина", "женский", "жен",
        "女", "女性", "여성", "여자", "أنثى", "महिला",
    ),
    "child": ("child", "children", "kid", "kids", "enfant", "nino", "bambino", "crianca"),
    OTHER: (
        "other", "others", "noise", "noisy", "music", "silence", "silent", "background", "none", "noenergy",
        "nonspeech", "nospeech", "nonvoice", "novoice",
    ),
}  # fmt: skip
_FILLERS = frozenset({
    "voice", "voices", "speaker", "speakers", "speech", "gender", "sex", "label", "class", "adult", "audio", "voix",
    "stimme", "voz", "voce", "the", "a", "is",
})  # fmt: skip
_KNOWN = ("male", "female", OTHER)
_UNNAMED = re.compile(r"label[ _-]?\d+|\d+", re.IGNORECASE)
_WORD = re.compile(r"[^\W_]+")


class LabelPair(NamedTuple):
    """One assignment of ``--labels``: an output of the checkpoint, by its own name, gets a label."""

    label: str
    output: str


def parse(texts: Sequence[str]) -> tuple[LabelPair, ...]:
    """Read the values of ``--labels``: ``female=LABEL_0,male=LABEL_1``.

    Raises:
        SettingsError: a value is not of this form, or names a label that no model may have.
    """
    pairs = []
    for text in ",".join(texts).split(","):
        label, equals, output = (part.strip() for part in text.partition("="))
        if not text.strip():
            continue
        if not (label and equals and output):
            raise SettingsError("--labels (VOXGENDER_LABELS) takes LABEL=OUTPUT[,LABEL=OUTPUT...], as male=LABEL_1")
        if _unsendable(label):
            raise SettingsError(
                f"--labels (VOXGENDER_LABELS) takes labels of at most {MAX_NAME} printable characters "
                f"that are neither {' nor '.join(_VERDICTS)}"
            )
        # These are known to clients by exactly these names.
        pairs.append(LabelPair(label.casefold() if label.casefold() in _KNOWN else label, output))
    return tuple(pairs)


def name_outputs(model: str, names: Sequence[str], asked: Sequence[LabelPair] = ()) -> tuple[str, ...]:
    """Return a label for each output of a checkpoint. Several outputs may share one, whose probability is their sum.

    Args:
        model: the model as the user named it, for errors.
        names: the checkpoint's own names, by output.
        asked: what the user says; an output that is not among them is named by a guess.

    Raises:
        ModelError: an output has no name that says anything, a name that was asked for is not there, or fewer than two
            labels are left to tell apart.
    """
    shown = ", ".join(repr(name) for name in names[:20]) + (", ..." if len(names) > 20 else "")
    if len(names) > MAX_LABELS:
        raise ModelError(f"model {model}: has {len(names)} labels; at most {MAX_LABELS} can be told")
    outputs_of: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        outputs_of.setdefault(_folded(name), []).append(index)
    given: dict[int, str] = {}
    for pair in asked:
        found = outputs_of.get(_folded(pair.output))
        if found is None:
            turned = ", which come after the =" if _folded(pair.label) in outputs_of else ""
            raise ModelError(
                f"model {model}: has no label {pair.output!r}, as --labels says; its labels are {shown}{turned}"
            )
        if given.get(found[0], pair.label) != pair.label:
            raise ModelError(
                f"model {model}: --labels gives {pair.output!r} two labels, {given[found[0]]} and {pair.label}; "
                "only one can be told"
            )
        given |= dict.fromkeys(found, pair.label)
    labels = []
    for index, name in enumerate(names):
        label = given.get(index) or guess(name)
        if label is None or _unsendable(label):
            raise ModelError(
                f"model {model}: its labels are {shown}, and {name!r} says too little: "
                f"name it by --labels, as --labels female={names[0]},male={names[-1]}, or {OTHER}={name} for no voice"
            )
        labels.append(label)
    if len({label for label in labels if label != OTHER}) < 2:
        raise ModelError(
            f"model {model}: needs two labels of voices at least; its labels are {shown}, which say "
            f"{', '.join(dict.fromkeys(labels))}: --labels may say otherwise"
        )
    return tuple(labels)


def guess(name: str) -> str | None:
    """Return the label that a checkpoint's name for an output stands for; None if the name says nothing.

    ``Female voice``, ``femme`` and ``F`` are ``female``; ``happy`` stays ``happy``; ``LABEL_0`` says nothing.
    """
    name = name.strip()
    if not name or _UNNAMED.fullmatch(name):
        return None
    words = [word for word in _WORD.findall(_plain(name)) if word not in _FILLERS]
    meant = {_LABEL_OF.get(word) for word in words}
    if len(meant) == 1 and (label := meant.pop()) is not None:
        return label
    return name


def _unsendable(label: str) -> bool:
    return len(label) > MAX_NAME or not label.isprintable() or label.casefold() in _VERDICTS


def _folded(text: str) -> str:
    return text.strip().casefold()


def _plain(text: str) -> str:
    """Fold case, and strip Latin letters of their accents."""
    # A word in camel case is two: FemaleVoice.
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)
    text = re.sub(r"\b(non?)[- _]", r"\1", text.casefold())
    decomposed = unicodedata.normalize("NFD", text)
    kept = "".join(char for char in decomposed if not "\u0300" <= char <= "\u036f")
    return unicodedata.normalize("NFC", kept)


_LABEL_OF = {_plain(word): label for label, words in _SYNONYMS.items() for word in words}
