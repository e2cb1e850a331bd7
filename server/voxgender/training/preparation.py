"""Prepare the data of a training: recordings with a target for each, and crops of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from voxgender.errors import SettingsError
from voxgender.training.crops import Crops, crops, joined
from voxgender.training.embeddings import Embeddings, embeddings
from voxgender.training.encoder import PACKAGE, SIZE, nearest_windows
from voxgender.training.manifest import Clip
from voxgender.training.processes import in_processes
from voxgender.training.recordings import Recording, recordings
from voxgender.training.sampling import spread
from voxgender.training.teacher import SoftLabel, Teacher

VIEWS = 1
"""Views of each labelled recording that the teacher learns from: the first as it is, others augmented."""


@dataclass(frozen=True, slots=True)
class TeacherEmbeddings:
    """Embeddings of a recording by the teacher's encoder, relative to the mean of all, and of length 1.

    Attributes:
        speaker: float32, shape ``(256,)``, of all recordings of the speaker.
        windows: float32, shape ``(windows, 256)``, of windows of the recording as it is.
        nearest: int64, shape ``(frames,)``, the window whose middle is nearest to each frame of the recording.
    """

    speaker: Embeddings
    windows: Embeddings
    nearest: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Material:
    """Recordings and their targets.

    Attributes:
        labelled: recordings with labels of their own.
        others: recordings that a teacher labelled; may be empty.
        noises: recordings without a voice; may be empty.
        male: float32, shape ``(recordings,)``: probability that the voice is heard as male, first those of
            ``labelled``, then those of ``others``.
        heard: what the teacher's encoder hears in each recording, in the same order; None without a teacher.
    """

    labelled: list[Recording]
    others: list[Recording]
    noises: list[Recording]
    male: npt.NDArray[np.float32]
    heard: list[TeacherEmbeddings] | None


@dataclass(frozen=True, slots=True)
class Mixture:
    """The shares of the kinds of recordings.

    Attributes:
        labelled_share: share of voices with labels of their own, if a teacher labelled others.
        resynthesised: share of resynthesised takes among the crops of recordings that have any.
        extra_resynthesised: additional crops of resynthesised takes alone, as a share of all others, because these
            speakers are few among all.
    """

    labelled_share: float = 0.55
    resynthesised: float = 0.8
    extra_resynthesised: float = 0.4


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Crops, whose sources are indices into the material's targets."""

    crops: Crops
    material: Material


@dataclass(frozen=True, slots=True)
class PreparationOptions:
    """Options of :func:`prepare`.

    Attributes:
        teacher: ``resemblyzer``, or empty for labels alone.
        resynthesised_speakers: labelled speakers of whom a clip is resynthesised.
        variants: resynthesised takes of each of these clips.
        seconds: longest part of a recording that is used, from its start.
        cache: folder for all that is made.
        workers: number of processes.
        device: processor of torch.
    """

    teacher: str = ""
    resynthesised_speakers: int = 300
    variants: int = 4
    seconds: float = 14.0
    cache: Path = Path(".cache/voxgender")
    workers: int = 2
    device: str = "cpu"


def prepare(labelled: Sequence[Clip], unlabelled: Sequence[Clip], options: PreparationOptions) -> Material:
    """Decode, label by a teacher and resynthesise; each step keeps its work in the cache.

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
    nothing = np.zeros((1, SIZE), np.float32)
    own = [SoftLabel(clip, float(clip.label == "male"), nothing[0], nothing) for clip in voices]
    pseudo: list[SoftLabel] = []
    if options.teacher:
        own, pseudo = _soft_labels(voices, unlabelled, noises, options)
    elif unlabelled:
        tqdm.write(f"{len(unlabelled)} recordings without a label are left aside: --teacher {PACKAGE} would label them")
    clips = [one.clip for one in own]
    chosen = spread(clips, options.resynthesised_speakers) if options.variants else []
    resynthesised = _recordings(chosen, options, variants=options.variants, called="resynthesis")
    retaken = set(chosen)
    plain = _recordings([clip for clip in clips if clip not in retaken], options, called="labelled")
    known = {one.clip: one for one in (*resynthesised, *plain)}
    others = _recordings([one.clip for one in pseudo], options, called="unlabelled")
    noise_recordings = _recordings(noises, options, called="noise")
    everyone = [known[clip] for clip in clips]
    everybody = [*own, *pseudo]
    male = np.array([one.male for one in everybody], np.float32)
    heard = _heard(everybody, [*everyone, *others], options.workers) if options.teacher else None
    return Material(everyone, others, noise_recordings, male, heard)


def crops_of(material: Material, mixture: Mixture, cache: Path, *, count: int, seed: int, workers: int) -> TrainingData:
    """Augment: make crops of all recordings, and additional ones of resynthesised takes alone.

    Args:
        material: recordings and their targets.
        mixture: shares of the kinds of recordings.
        cache: folder that keeps the crops.
        count: crops of two seconds of all recordings (13 KB of memory each).
        seed: random seed.
        workers: number of processes.
    """
    made = [
        crops(
            material.labelled,
            material.others,
            material.noises,
            cache,
            count=count,
            labelled_share=mixture.labelled_share,
            resynthesised=mixture.resynthesised,
            seed=seed,
            workers=workers,
        )
    ]
    retaken = [index for index, one in enumerate(material.labelled) if one.count > 1]
    extra = round(mixture.extra_resynthesised * count)
    if extra and {material.labelled[index].clip.label for index in retaken} == {"male", "female"}:
        again = crops(
            [material.labelled[index] for index in retaken],
            [],
            material.noises,
            cache,
            count=extra,
            labelled_share=1.0,
            resynthesised=1.0,
            seed=seed,
            workers=workers,
        )
        made.append(replace(again, sources=np.array([*retaken, -1])[again.sources]))
    return TrainingData(joined(made), material)


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
            device=options.device,
        )

    teacher = Teacher(voices, [embedded(voices, view) for view in range(VIEWS)])
    own, pseudo = teacher.labelled(), teacher.unlabelled(unlabelled, embedded(unlabelled, 0))
    tqdm.write(
        f"teacher: {len(voices) - len(own)} of {len(voices)} labelled recordings contradicted and left out; "
        f"sure of {len(pseudo)} of {len(unlabelled)} unlabelled ones"
    )
    return own, pseudo


def _heard(soft_labels: Sequence[SoftLabel], of: Sequence[Recording], workers: int) -> list[TeacherEmbeddings]:
    nearest = tqdm(in_processes(_nearest, of, workers, chunk=64), "windows", len(of), unit="clip", leave=False)
    speakers = _centred(np.stack([one.vector for one in soft_labels]))
    counts = [len(one.windows) for one in soft_labels]
    windows = np.split(_centred(np.concatenate([one.windows for one in soft_labels])), np.cumsum(counts)[:-1])
    # The cache has a recording in 16 bits: a frame less may count as speech there, or a frame more.
    return [
        TeacherEmbeddings(one, some, at.clip(max=len(some) - 1))
        for one, some, at in zip(speakers, windows, nearest, strict=True)
    ]


def _nearest(recording: Recording) -> npt.NDArray[np.int64]:
    return nearest_windows(recording.read())


def _centred(vectors: Embeddings) -> Embeddings:
    vectors = vectors - vectors.mean(axis=0)
    centred: Embeddings = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)
    return centred


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
