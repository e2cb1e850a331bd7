"""Labels for recordings that nobody labelled, where a first network and the pitch say the same of a whole speaker."""

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm
from transformers import Wav2Vec2ForSequenceClassification

from voxgender.audio.files import read_audio
from voxgender.training.manifest import KINDS, Clip, Kind
from voxgender.training.resynthesis import rough_pitch
from voxgender.training.scoring import logits_of, loud_windows

SURE = 2.5
"""Log-odds of pitch and network together from which a speaker is named."""
AGAINST = 0.5
"""How far the network's own log-odds may speak for the other sex."""

_MIDDLE_HZ = 165.0
_PITCH_ODDS = 12.0
"""Log-odds for each factor of e in pitch. 130 Hz speaks for a man as 2.9 does, which is less than how often it is one:
speech that is acted or shouted is among what has to be guessed."""
_FEWEST_VOICED = 10
_LIMIT = 4.0


def guessed(clips: Sequence[Clip], network: Wav2Vec2ForSequenceClassification) -> list[Clip]:
    """Those of ``clips`` whose speaker can be named, with that label; a clip without a speaker stands for one.

    Raises:
        AudioError: a clip cannot be decoded.
    """
    heard: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for clip in tqdm(clips, "guesses", unit="clip", leave=False):
        heard.setdefault((clip.corpus, clip.speaker), []).append(_hear(clip, network))
    kinds = {
        speaker: guess([odds for odds, _ in all_of], [hz for _, hz in all_of]) for speaker, all_of in heard.items()
    }
    return [replace(clip, label=kind) for clip in clips if (kind := kinds[clip.corpus, clip.speaker]) is not None]


def guess(log_odds: Sequence[float], pitch_hz: Sequence[float]) -> Kind | None:
    """What a speaker is heard as; None where it is not plain.

    Args:
        log_odds: of each clip, positive for male.
        pitch_hz: median of each clip, 0 where it has none.
    """
    voiced = [hz for hz in pitch_hz if hz > 0]
    if not voiced:
        return None
    odds = float(np.mean(log_odds))
    both = odds + _PITCH_ODDS * math.log(_MIDDLE_HZ / float(np.median(voiced)))
    if both > SURE and odds > -AGAINST:
        return "male"
    if both < -SURE and odds < AGAINST:
        return "female"
    return None


def save(clips: Iterable[Clip], file: Path) -> None:
    """Note the labels, so that a run that goes on need not guess again."""
    with file.open("w", newline="", encoding="utf-8") as opened:
        csv.writer(opened).writerows((str(clip.path.resolve()), clip.label) for clip in clips)


def restore(clips: Iterable[Clip], file: Path) -> list[Clip]:
    """The clips that have a label in ``file``, with it."""
    with file.open(newline="", encoding="utf-8") as opened:
        noted: dict[str, Kind] = {path: "male" if label == "male" else "female" for path, label in csv.reader(opened)}
    return [replace(clip, label=noted[path]) for clip in clips if (path := str(clip.path.resolve())) in noted]


def _hear(clip: Clip, network: Wav2Vec2ForSequenceClassification) -> tuple[float, float]:
    audio = read_audio(clip.path)
    logits = logits_of(network, loud_windows(audio, window_ms=1000, hop_ms=500))
    odds = logits[:, KINDS.index("male")] - logits[:, KINDS.index("female")]
    pitch = rough_pitch(audio)
    voiced = pitch[pitch > 0]
    return float(torch.clamp(odds, -_LIMIT, _LIMIT).mean()), float(
        np.median(voiced)
    ) if voiced.size >= _FEWEST_VOICED else 0.0
