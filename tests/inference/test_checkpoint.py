import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.inference.checkpoints import Make, network, rewrite
from voxgender.inference.checkpoint import read
from voxgender.inference.eager import weights_of


def test_weights_and_texts_are_read_as_they_were_written(make: Make) -> None:
    checkpoint = read(str(make(("woman", "man"))))
    assert checkpoint is not None
    assert checkpoint.config["id2label"] == {0: "woman", 1: "man"}
    assert checkpoint.preprocessing["sampling_rate"] == 16_000
    expected = weights_of(network(("woman", "man")))
    assert set(checkpoint.weights) == set(expected)
    assert len(checkpoint.weights) == len(expected)
    for name, weight in checkpoint.weights.items():
        np.testing.assert_array_equal(weight, expected[name])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_read_as_single(make: Make, dtype: torch.dtype) -> None:
    directory = make()
    network().to(dtype).save_pretrained(directory)
    checkpoint = read(str(directory))
    assert checkpoint is not None
    weight = checkpoint.weights["projector.weight"]
    assert weight.dtype == np.float32
    np.testing.assert_allclose(weight, network().projector.weight.numpy(force=True), atol=0.02)


def test_weights_in_several_files_are_one(make: Make) -> None:
    directory = make()
    (directory / "model.safetensors").unlink()
    network().save_pretrained(directory, max_shard_size="8KB")
    assert len(list(directory.glob("model-*.safetensors"))) > 1
    checkpoint = read(str(directory))
    assert checkpoint is not None
    assert set(checkpoint.weights) == set(weights_of(network()))


def test_a_repository_is_read_from_the_hubs_cache(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache(make(), tmp_path, monkeypatch)
    checkpoint = read("somebody/voices")
    assert checkpoint is not None
    assert checkpoint.config["id2label"] == {0: "female", 1: "male"}


@pytest.mark.parametrize("missing", ["config.json", "preprocessor_config.json", "model.safetensors"])
def test_what_lacks_a_file_is_left_to_transformers(make: Make, missing: str) -> None:
    directory = make()
    (directory / missing).unlink()
    assert read(str(directory)) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"id2label": null}', '{"id2label": {"x": "male"}}', "{}"])
def test_what_is_no_configuration_is_left_to_transformers(make: Make, text: str) -> None:
    directory = make()
    (directory / "config.json").write_text(text)
    assert read(str(directory)) is None


def test_damaged_weights_are_left_to_transformers(make: Make) -> None:
    directory = make()
    weights = directory / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    assert read(str(directory)) is None


@pytest.mark.parametrize("index", [{"weight_map": None}, {"weight_map": {"projector.weight": "gone.safetensors"}}])
def test_an_index_of_nothing_is_left_to_transformers(make: Make, index: dict[str, object]) -> None:
    directory = make()
    (directory / "model.safetensors").unlink()
    (directory / "model.safetensors.index.json").write_text("{}")
    rewrite(directory / "model.safetensors.index.json", **index)
    assert read(str(directory)) is None


def test_a_repository_that_cannot_be_had_is_left_to_transformers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    assert read("somebody/voices") is None


def cache(checkpoint: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lay a checkpoint out as the hub's cache would hold ``somebody/voices``, and take the network away."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / "hub"))
    repository = folder / "hub" / "models--somebody--voices"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    shutil.copytree(checkpoint, repository / "snapshots" / ("0" * 40))
