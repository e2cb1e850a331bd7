import json
import pickle
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from voxgender.errors import ModelError
from voxgender.inference.loading import load
from voxgender.training.export import best_network, export
from voxgender.training.options import TrainOptions
from voxgender.training.phase import BEST, CHECKPOINT, load_weights, save_weights
from voxgender.training.train import OPTIONS, RESULT, train


def options(corpus: Path, out: Path, cache: Path) -> TrainOptions:
    return TrainOptions(
        corpus,
        out,
        steps=4,
        tuning_steps=2,
        batch=4,
        hidden=32,
        layers=1,
        crops=16,
        resynthesised_speakers=2,
        check_every=2,
        cache=cache,
        workers=1,
    )


@pytest.fixture(scope="module")
def run(corpus: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run")
    train(options(corpus, out, cache))
    return out


def test_what_is_exported_loads_and_says_the_same(run: Path, tmp_path: Path) -> None:
    export(run, tmp_path / "model")
    windows = np.random.default_rng(0).normal(0, 0.1, (2, 8_000)).astype(np.float32)
    classifier = load(str(tmp_path / "model"))
    assert classifier.labels == ("male", "female", "other")
    network, _ = best_network(run)
    audio = torch.from_numpy(windows)
    audio = (audio - audio.mean(1, keepdim=True)) / audio.std(1, correction=0, keepdim=True)
    with torch.inference_mode():
        expected = network(audio).logits.softmax(dim=1).numpy()
    np.testing.assert_allclose(classifier(windows), expected[:, [1, 0, 2]], atol=1e-4)


def test_the_directory_is_complete(run: Path, tmp_path: Path) -> None:
    best = export(run, tmp_path)
    assert {"config.json", "preprocessor_config.json", "model.safetensors", "README.md"} <= {
        file.name for file in tmp_path.iterdir()
    }
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["architectures"] == ["Wav2Vec2ForSequenceClassification"]
    assert list(config["id2label"].values()) == ["female", "male", "noise"]
    assert f"for {best.step} steps" in (tmp_path / "README.md").read_text()


def test_all_files_may_be_read_by_whoever_may_read_one(run: Path, tmp_path: Path) -> None:
    """The weights were for their owner alone, and a server that ran as another user could not load them."""
    export(run, tmp_path)
    assert len({file.stat().st_mode for file in tmp_path.iterdir() if file.is_file()}) == 1


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no weights to export; train there first"):
        export(tmp_path, tmp_path / "model")


def test_before_a_run_has_ended_its_best_weights_are_exported(run: Path, tmp_path: Path) -> None:
    for name in (BEST, OPTIONS):
        (tmp_path / name).write_bytes((run / name).read_bytes())
    network, best = best_network(tmp_path)
    weights, expected = load_weights(run / BEST)
    assert best == expected
    torch.testing.assert_close(network.state_dict()["classifier.bias"], weights["classifier.bias"], rtol=0, atol=0)


@pytest.mark.parametrize("damaged", [RESULT, OPTIONS])
def test_a_damaged_run_is_refused(run: Path, tmp_path: Path, damaged: str) -> None:
    for name in (RESULT, OPTIONS):
        content = (run / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2] if name == damaged else content)
    with pytest.raises(ModelError, match="damaged"):
        export(tmp_path, tmp_path / "model")


@contextmanager
def a_full_disk(size: int = 20_000) -> Iterator[None]:
    """Let no file become longer than so many bytes; Python ignores the signal of it (SIGXFSZ)."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_disk_that_is_full_is_told_in_a_sentence(run: Path, tmp_path: Path) -> None:
    """torch and safetensors have errors of their own for it, which were tracebacks."""
    with a_full_disk(), pytest.raises(ModelError, match=r"model: cannot be written \("):
        export(run, tmp_path / "model")
    weights, outcome = load_weights(run / RESULT)
    with a_full_disk(), pytest.raises(ModelError, match=r"kept\.pt: cannot be written"):
        save_weights(tmp_path / "kept.pt", weights, outcome)
    assert not list(tmp_path.glob("kept.*"))


class _Program:
    """Runs when it is unpickled without care."""

    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return exec, ("raise SystemExit('a program in a pickle was run')",)


@pytest.mark.parametrize("content", [b"junk", b"", b"\x80\x04.", pickle.dumps(_Program()), pickle.dumps({"best": 7})])
@pytest.mark.parametrize("name", [RESULT, CHECKPOINT, OPTIONS])
def test_a_run_whose_file_is_none_is_refused_in_a_sentence(
    run: Path, corpus: Path, cache: Path, tmp_path: Path, name: str, content: bytes
) -> None:
    """Going on with it was a traceback: ``KeyError: 174812789``."""
    shutil.copytree(run, tmp_path, dirs_exist_ok=True)
    if name == CHECKPOINT:
        (tmp_path / RESULT).unlink()
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=rf"{name}: is damaged") as refused:
        train(options(corpus, tmp_path, cache))
    assert len(str(refused.value).splitlines()) == 1
