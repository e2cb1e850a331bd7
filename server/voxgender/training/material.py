"""All that a network learns from, made ready: who is heard, as crops, with a target for each."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from voxgender.errors import SettingsError
from voxgender.training.crops import Crops, crops, joined
from voxgender.training.embeddings import Embeddings, embeddings
from voxgender.training.encoder import PACKAGE, SIZE
from voxgender.training.manifest import Clip
from voxgender.training.people import spread
from voxgender.training.teacher import Taught, Teacher
from voxgender.training.voices import Recording, recordings

VIEWS = 1
"""Ways of hearing each labelled recording that the teacher learns from: as it is, and augmented."""


@dataclass(frozen=True, slots=True)
class Material:
    """Crops and what they are of.

    Attributes:
        crops: their sources count through the arrays below.
        male: float32, shape ``(recordings,)``: probability that the voice is heard as male.
        vectors: float32, shape ``(recordings, 256)``: what the teacher's encoder makes of the recording, relative to
            the mean of all and of length 1; None without a teacher.
    """

    crops: Crops
    male: npt.NDArray[np.float32]
    vectors: npt.NDArray[np.float32] | None


@dataclass(frozen=True, slots=True)
class Preparation:
    """How material is made.

    Attributes:
        teacher: ``resemblyzer``, or empty for labels alone.
        crops: augmented crops of two seconds of all speakers (13 KB of memory each).
        told: share of voices whose label is a listener's, where a teacher labelled others.
        resynthesised_speakers: labelled speakers of whom a clip is resynthesised.
        variants: resynthesised takes of each of these clips.
        resynthesised: share of crops of these clips that are of a resynthesised take.
        raised: crops of resynthesised takes alone, for each of the others: these speakers are few among all.
        seconds: of longer recordings, only so much from the start.
        cache: folder for all that is made.
        workers: processes.
        seed: decides what is drawn.
    """

    teacher: str = ""
    crops: int = 80_000
    told: float = 0.55
    resynthesised_speakers: int = 300
    variants: int = 4
    resynthesised: float = 0.8
    raised: float = 0.4
    seconds: float = 14.0
    cache: Path = Path(".cache/voxgender")
    workers: int = 2
    seed: int = 0


def prepare(labelled: Sequence[Clip], unlabelled: Sequence[Clip], how: Preparation) -> Material:
    """Decode, have a teacher listen, resynthesise and augment; each step's work is kept in the cache.

    Args:
        labelled: to learn from, both sexes and, as the case may be, noise.
        unlabelled: passed over without a teacher.
        how: see there.

    Raises:
        AudioError: a clip cannot be decoded.
        SettingsError: the teacher is unknown or not installed.
    """
    noises = [clip for clip in labelled if clip.kind == "noise"]
    voices = [clip for clip in labelled if clip.kind != "noise"]
    told = [Taught(clip, float(clip.label == "male"), np.zeros(SIZE, np.float32)) for clip in voices]
    taught: list[Taught] = []
    if how.teacher:
        told, taught = _taught(voices, unlabelled, noises, how)
    elif unlabelled:
        tqdm.write(f"{len(unlabelled)} recordings without a label are left aside: --teacher {PACKAGE} would label them")
    clips = [one.clip for one in told]
    chosen = spread(clips, how.resynthesised_speakers) if how.variants else []
    resynthesised = _recordings(chosen, how, variants=how.variants, called="resynthesis")
    plain = _recordings([clip for clip in clips if clip not in set(chosen)], how, called="labelled")
    known = {one.clip: one for one in (*resynthesised, *plain)}
    others = _recordings([one.clip for one in taught], how, called="unlabelled")
    noises_heard = _recordings(noises, how, called="noise")
    everyone = [known[clip] for clip in clips]
    made = [
        crops(
            everyone,
            others,
            noises_heard,
            how.cache / "crops",
            count=how.crops,
            told=how.told,
            resynthesised=how.resynthesised,
            seed=how.seed,
            workers=how.workers,
        )
    ]
    raised = [index for index, one in enumerate(everyone) if one.count > 1]
    if {everyone[index].clip.label for index in raised} == {"male", "female"}:
        again = crops(
            [everyone[index] for index in raised],
            [],
            noises_heard,
            how.cache / "crops",
            count=round(how.raised * how.crops),
            told=1.0,
            resynthesised=1.0,
            seed=how.seed,
            workers=how.workers,
        )
        made.append(replace(again, sources=np.array([*raised, -1])[again.sources]))
    everybody = [*told, *taught]
    male = np.array([one.male for one in everybody], np.float32)
    if not how.teacher:
        return Material(joined(made), male, None)
    vectors = np.stack([one.vector for one in everybody])
    vectors -= vectors.mean(axis=0)
    return Material(joined(made), male, vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6))


def _taught(
    voices: Sequence[Clip], unlabelled: Sequence[Clip], noises: Sequence[Clip], how: Preparation
) -> tuple[list[Taught], list[Taught]]:
    """Labelled and unlabelled recordings, each with what the teacher makes of it."""
    if how.teacher != PACKAGE:
        raise SettingsError(f"--teacher {how.teacher}: unknown; there is {PACKAGE}")

    def heard(clips: Sequence[Clip], view: int) -> list[Embeddings]:
        return embeddings(
            clips, how.cache / "embeddings", view=view, noises=noises, seconds=how.seconds, workers=how.workers
        )

    teacher = Teacher(voices, [heard(voices, view) for view in range(VIEWS)])
    told, taught = teacher.labelled(), teacher.unlabelled(unlabelled, heard(unlabelled, 0))
    tqdm.write(
        f"teacher: {len(voices) - len(told)} of {len(voices)} labelled recordings contradicted and left out; "
        f"sure of {len(taught)} of {len(unlabelled)} unlabelled ones"
    )
    return told, taught


def _recordings(clips: Sequence[Clip], how: Preparation, *, called: str, variants: int = 0) -> list[Recording]:
    return recordings(
        clips,
        how.cache / "voices",
        variants=variants,
        seconds=how.seconds,
        workers=how.workers,
        called=called,
    )
