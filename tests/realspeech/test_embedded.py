"""The weights in the package are the ones that the model card describes."""

import re
from pathlib import Path

import pytest
import torch
from transformers import Wav2Vec2ForSequenceClassification

from voxgender.engine import Engine
from voxgender.inference.wav2vec2 import EMBEDDED_DIRECTORY, load
from voxgender.training.evaluate import evaluate, tabulated
from voxgender.training.manifest import Clip, read_manifest, with_split
from voxgender.training.scoring import score, windows_of

CARD = Path(__file__).parents[2] / "docs" / "model-card.md"


def promised() -> dict[tuple[str, str], tuple[float, float]]:
    """Percentages of files and windows right by corpus and voice, from the card's table of bare windows."""
    section = CARD.read_text(encoding="utf-8").partition("<!-- bare windows -->")[2].partition("\n\n")[0]
    row = re.compile(r"^\| ([\w-]+) \| (male|female|noise) \| \d+ \| ([\d.]+) % \| ([\d.]+) % \|", re.MULTILINE)
    return {(corpus, voice): (float(files), float(windows)) for corpus, voice, files, windows in row.findall(section)}


@pytest.fixture(scope="module")
def dev(speech: Path) -> list[Clip]:
    return [clip for clip in with_split(read_manifest(speech / "manifest.csv"), "dev") if clip.label]


def some(dev: list[Clip], every: int) -> list[Clip]:
    return sorted(dev, key=lambda clip: (clip.corpus, clip.label, str(clip.path)))[::every]


def test_the_card_says_what_the_weights_do(dev: list[Clip]) -> None:
    network = Wav2Vec2ForSequenceClassification.from_pretrained(EMBEDDED_DIRECTORY)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        measured = score(network, windows_of(dev))
    finally:
        torch.set_num_threads(threads)
    card = promised()
    assert {(one.corpus, one.kind) for one in measured} == card.keys()
    for one in measured:
        files, windows = card[one.corpus, one.kind]
        # A file or two may tip over between processors.
        assert 100 * one.files == pytest.approx(files, abs=2.1), f"{one.corpus} {one.kind}: files"
        assert 100 * one.windows == pytest.approx(windows, abs=1.0), f"{one.corpus} {one.kind}: windows"


def test_most_voices_are_heard_right_by_the_whole_pipeline(dev: list[Clip]) -> None:
    engine = Engine(load("embedded"))
    try:
        rows = {(row.corpus, row.label): row for row in tabulated(evaluate(some(dev, 12), engine))}
    finally:
        engine.close()
    voices, noise = rows["all", "voices"], rows["all", "noise"]
    assert voices.file_accuracy is not None
    assert voices.file_accuracy >= 0.9
    assert noise.gendered_share <= 0.05
