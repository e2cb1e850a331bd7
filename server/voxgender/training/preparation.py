"""Prepare the data of a training: crops of recordings, with a target for each."""

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
from voxgender.training.recordings import Recording, recordings
from voxgender.training.sampling import spread
from voxgender.training.teacher import SoftLabel, Teacher

VIEWS = 1
"""Views of each labelled recording that the teacher learns from: the first as it is, others augmented."""


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Crops and their targets.

    Attributes:
        crops: crops, whose sources are indices into the arrays below.
        male: float32, shape ``(recordings,)``: probability that the voice is heard as male.
        vectors: float32, shape ``(recordings, 256)``: embeddings by the teacher's encoder, relative to the mean of all
            and of length 1; None without a teacher.
    """

    crops: Crops
    male: npt.NDArray[np.float32]
    vectors: npt.NDArray[np.float32] | None


@dataclass(frozen=True, slots=True)
class PreparationOptions:
    """Options of :func:`prepare`.

    Attributes:
        teacher: ``resemblyzer``, or empty for labels alone.
        crops: augmented crops of two seconds of all speakers (13 KB of memory each).
        labelled_share: share of voices with labels of their own, if a teacher labelled others.
        resynthesised_speakers: labelled speakers of whom a clip is resynthesised.
        variants: resynthesised takes of each of these clips.
        resynthesised: share of resynthesised takes among the crops of these clips.
        extra_resynthesised: additional crops of resynthesised takes alone, as a share of ``crops``, because these
            speakers are few among all.
        seconds: longest part of a recording that is used, from its start.
        cache: folder for all that is made.
        workers: number of processes.
        seed: random seed.
    """

    teacher: str = ""
    crops: int = 80_000
    labelled_share: float = 0.55
    resynthesised_speakers: int = 300
    variants: int = 4
    resynthesised: float = 0.8
    extra_resynthesised: float = 0.4
    seconds: float = 14.0
    cache: Path = Path(".cache/voxgender")
    workers: int = 2
    seed: int = 0


def prepare(labelled: Sequence[Clip], unlabelled: Sequence[Clip], options: PreparationOptions) -> TrainingData:
    """Decode, label by a teacher, resynthesise and augment; each step keeps its work in the cache.

    Args:
        labelled: recordings of both sexes, and of noise if there are any.
        unlabelled: recordings without a label; ignored without a teacher.
        options: options.

    Raises:
        AudioError: a clip cannot be decoded.
        SettingsError: the teacher is unknown or not installed.
    """
    noises = [clip for clip in labelled if clip.kind == "noise"]
    voices = [clip for clip in labelled if clip.kind != "noise"]
    own = [SoftLabel(clip, float(clip.label == "male"), np.zeros(SIZE, np.float32)) for clip in voices]
    pseudo: list[SoftLabel] = []
    if options.teacher:
        own, pseudo = _soft_labels(voices, unlabelled, noises, options)
    elif unlabelled:
        tqdm.write(f"{len(unlabelled)} recordings without a label are left aside: --teacher {PACKAGE} would label them")
    clips = [one.clip for one in own]
    chosen = spread(clips, options.resynthesised_speakers) if options.variants else []
    resynthesised = _recordings(chosen, options, variants=options.variants, called="resynthesis")
    plain = _recordings([clip for clip in clips if clip not in set(chosen)], options, called="labelled")
    known = {one.clip: one for one in (*resynthesised, *plain)}
    others = _recordings([one.clip for one in pseudo], options, called="unlabelled")
    noise_recordings = _recordings(noises, options, called="noise")
    everyone = [known[clip] for clip in clips]
    made = [
        crops(
            everyone,
            others,
            noise_recordings,
            options.cache / "crops",
            count=options.crops,
            labelled_share=options.labelled_share,
            resynthesised=options.resynthesised,
            seed=options.seed,
            workers=options.workers,
        )
    ]
    resynthesised_ones = [index for index, one in enumerate(everyone) if one.count > 1]
    if {everyone[index].clip.label for index in resynthesised_ones} == {"male", "female"}:
        again = crops(
            [everyone[index] for index in resynthesised_ones],
            [],
            noise_recordings,
            options.cache / "crops",
            count=round(options.extra_resynthesised * options.crops),
            labelled_share=1.0,
            resynthesised=1.0,
            seed=options.seed,
            workers=options.workers,
        )
        made.append(replace(again, sources=np.array([*resynthesised_ones, -1])[again.sources]))
    everybody = [*own, *pseudo]
    male = np.array([one.male for one in everybody], np.float32)
    if not options.teacher:
        return TrainingData(joined(made), male, None)
    vectors = np.stack([one.vector for one in everybody])
    vectors -= vectors.mean(axis=0)
    return TrainingData(joined(made), male, vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6))


def _soft_labels(
    voices: Sequence[Clip], unlabelled: Sequence[Clip], noises: Sequence[Clip], options: PreparationOptions
) -> tuple[list[SoftLabel], list[SoftLabel]]:
    """Return the soft labels of labelled and of unlabelled recordings by a teacher."""
    if options.teacher != PACKAGE:
        raise SettingsError(f"--teacher {options.teacher}: unknown; there is {PACKAGE}")

    def embedded(clips: Sequence[Clip], view: int) -> list[Embeddings]:
        return embeddings(
            clips,
            options.cache / "embeddings",
            view=view,
            noises=noises,
            seconds=options.seconds,
            workers=options.workers,
        )

    teacher = Teacher(voices, [embedded(voices, view) for view in range(VIEWS)])
    own, pseudo = teacher.labelled(), teacher.unlabelled(unlabelled, embedded(unlabelled, 0))
    tqdm.write(
        f"teacher: {len(voices) - len(own)} of {len(voices)} labelled recordings contradicted and left out; "
        f"sure of {len(pseudo)} of {len(unlabelled)} unlabelled ones"
    )
    return own, pseudo


def _recordings(
    clips: Sequence[Clip], options: PreparationOptions, *, called: str, variants: int = 0
) -> list[Recording]:
    return recordings(
        clips,
        options.cache / "voices",
        variants=variants,
        seconds=options.seconds,
        workers=options.workers,
        called=called,
    )
