"""The weights in the package are the ones that the model card describes."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from voxgender.engine import Engine
from voxgender.inference.labels import OTHER
from voxgender.inference.loading import CheckpointClassifier, load
from voxgender.training.evaluate import evaluate, tabulated
from voxgender.training.manifest import Clip, read_manifest
from voxgender.training.scoring import scores_of, windows_of
from voxgender.training.train import DEV

CARD = Path(__file__).parents[2] / "docs" / "model-card.md"


def promised(table: str) -> dict[tuple[str, str], tuple[float, float]]:
    """Percentages of files and windows right by corpus and voice, from one of the card's tables."""
    section = CARD.read_text(encoding="utf-8").partition(f"<!-- {table} -->")[2].partition("\n\n")[0]
    row = re.compile(r"^\| ([\w.-]+) \| (male|female|noise) \| \d+ \| ([\d.]+) % \| ([\d.]+) % \|", re.MULTILINE)
    return {(corpus, voice): (float(files), float(windows)) for corpus, voice, files, windows in row.findall(section)}


@pytest.fixture(scope="module")
def dev(speech: Path) -> list[Clip]:
    """Recordings that nobody learned from, in languages that were learned and in others."""
    return [clip for clip in read_manifest(speech / "manifest.csv") if clip.label and clip.split.startswith(DEV)]


def some(dev: list[Clip], every: int) -> list[Clip]:
    return sorted(dev, key=lambda clip: (clip.corpus, clip.label, str(clip.path)))[::every]


@pytest.fixture(scope="module")
def model() -> CheckpointClassifier:
    return load("embedded")


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("table", "window_ms"), [("bare windows", 1000), ("half windows", 500)])
def test_the_card_says_what_the_weights_do(
    dev: list[Clip], model: CheckpointClassifier, table: str, window_ms: int
) -> None:
    """In ONNX Runtime, in which they are served: the card's figures are by torch, which takes three times as long."""
    columns = [model.labels.index(name) for name in ("female", "male", OTHER)]
    clips = windows_of(dev, window_ms=window_ms)
    probabilities = [model(clip.audio.astype(np.float32) / np.float32(32767))[:, columns] for clip in clips]
    measured = scores_of(clips, [torch.from_numpy(np.log(np.maximum(each, 1e-30))) for each in probabilities])
    card = promised(table)
    assert {(one.corpus, one.kind) for one in measured} == card.keys()
    for one in measured:
        files, windows = card[one.corpus, one.kind]
        # A file or two may tip over between processors.
        tipping = 100 * max(0.021, 1.1 / one.count)
        assert 100 * one.files == pytest.approx(files, abs=tipping), f"{one.corpus} {one.kind}: files"
        assert 100 * one.windows == pytest.approx(windows, abs=max(1.0, tipping / 2)), (
            f"{one.corpus} {one.kind}: windows"
        )


def test_most_voices_are_heard_right_by_the_whole_pipeline(dev: list[Clip], model: CheckpointClassifier) -> None:
    engine = Engine(model)
    try:
        rows = {(row.corpus, row.label): row for row in tabulated(evaluate(some(dev, 15), engine))}
    finally:
        engine.close()
    noise = rows["all", "noise"]
    for sex in ("male", "female"):
        accuracy = rows["all", sex].file_accuracy
        assert accuracy is not None
        assert accuracy >= 0.9, sex
    assert noise.gendered_share <= 0.05
