import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.inference.checkpoints import Make, network, rewrite, weights_of
from voxgender.errors import ModelError
from voxgender.inference.checkpoint import Unreadable, read


def test_weights_and_texts_are_read_as_they_were_written(make: Make) -> None:
    checkpoint = read(str(make(("woman", "man"))))
    assert checkpoint.config["id2label"] == {0: "woman", 1: "man"}
    assert checkpoint.preprocessing["sampling_rate"] == 16_000
    expected = weights_of(network(("woman", "man")))
    weights = checkpoint.weights()
    assert set(weights) == set(expected)
    assert len(weights) == len(expected)
    for name, weight in weights.items():
        np.testing.assert_array_equal(weight, expected[name])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_read_as_single(make: Make, dtype: torch.dtype) -> None:
    directory = make()
    made = network()
    torch.nn.Module.to(made, dtype)
    made.save_pretrained(directory)
    checkpoint = read(str(directory))
    weight = checkpoint.weights()["projector.weight"]
    assert weight.dtype == np.float32
    np.testing.assert_allclose(weight, network().projector.weight.numpy(force=True), atol=0.02)


def test_bfloat16_is_read_where_nothing_else_knows_it(make: Make) -> None:
    """NumPy learns of it from a package that others import: a program that had read no other checkpoint was refused."""
    directory = make()
    torch.nn.Module.to(made := network(), torch.bfloat16)
    made.save_pretrained(directory)
    program = f"from voxgender.inference.checkpoint import read; dict(read({str(directory)!r}).weights())"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_weights_in_several_files_are_one(make: Make) -> None:
    directory = make()
    (directory / "model.safetensors").unlink()
    network().save_pretrained(directory, max_shard_size="8KB")
    assert len(list(directory.glob("model-*.safetensors"))) > 1
    checkpoint = read(str(directory))
    assert set(checkpoint.weights()) == set(weights_of(network()))


def test_a_repository_is_read_from_the_hubs_cache(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache(make(), tmp_path, monkeypatch)
    checkpoint = read("somebody/voices")
    assert checkpoint.config["id2label"] == {0: "female", 1: "male"}


@pytest.mark.parametrize("missing", ["config.json", "preprocessor_config.json", "model.safetensors"])
def test_a_file_that_is_missing_is_told(make: Make, missing: str) -> None:
    directory = make()
    (directory / missing).unlink()
    with pytest.raises(Unreadable, match=f"lacks {missing}"):
        read(str(directory))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"id2label": null}', '{"id2label": {"x": "male"}}', "[" * 100_000])
def test_what_is_no_configuration_is_told(make: Make, text: str) -> None:
    directory = make()
    (directory / "config.json").write_text(text)
    with pytest.raises(Unreadable, match=r"config\.json"):
        read(str(directory))


def test_damaged_weights_are_told(make: Make) -> None:
    directory = make()
    weights = directory / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(Unreadable, match="damaged"):
        read(str(directory)).weights()


@pytest.mark.parametrize("index", [{"weight_map": None}, {"weight_map": ["x"]}, {"weight_map": {"x": 1}}])
def test_an_index_of_nothing_is_told(make: Make, index: dict[str, object]) -> None:
    directory = make()
    (directory / "model.safetensors").unlink()
    (directory / "model.safetensors.index.json").write_text("{}")
    rewrite(directory / "model.safetensors.index.json", **index)
    with pytest.raises(Unreadable, match="weight_map"):
        read(str(directory))


def test_a_file_that_the_index_names_and_is_not_there_is_told(make: Make) -> None:
    directory = make()
    (directory / "model.safetensors").unlink()
    (directory / "model.safetensors.index.json").write_text('{"weight_map": {"projector.weight": "gone.safetensors"}}')
    found = read(str(directory))
    with pytest.raises(Unreadable, match=r"gone\.safetensors"):
        found.fingerprint()
    with pytest.raises(Unreadable, match=r"gone\.safetensors"):
        found.weights()


def test_pickled_weights_are_never_opened(make: Make) -> None:
    directory = make()
    (directory / "model.safetensors").rename(directory / "pytorch_model.bin")
    with pytest.raises(Unreadable, match=r"lacks model\.safetensors; pickled weights .* are not loaded"):
        read(str(directory))


@pytest.mark.parametrize("name", ["pytorch_model-00001-of-00002.bin", "../elsewhere.safetensors", "/etc/passwd"])
def test_an_index_that_names_other_files_than_safetensors_beside_it_is_refused(make: Make, name: str) -> None:
    directory = make()
    (directory / "model.safetensors").unlink()
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"classifier.bias": name}}))
    with pytest.raises(Unreadable, match="no safetensors beside it"):
        read(str(directory))


def test_a_revision_of_a_repository_is_asked_for(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache(make(("old", "older")), tmp_path, monkeypatch)
    repository = tmp_path / "hub" / "models--somebody--voices"
    (repository / "refs" / "v2").write_text("1" * 40)
    shutil.copytree(make(), repository / "snapshots" / ("1" * 40))
    assert read("somebody/voices").config["id2label"] == {0: "old", 1: "older"}
    assert read("somebody/voices", "v2").config["id2label"] == {0: "female", 1: "male"}
    with pytest.raises(ModelError, match="not to be had from the hub at revision v3"):
        read("somebody/voices", "v3")


def test_a_repository_that_cannot_be_had_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match="somebody/voices: no such directory here, and not to be had from the hub"):
        read("somebody/voices")


def test_a_fingerprint_is_of_what_the_files_say(make: Make, tmp_path: Path) -> None:
    directory = make()
    told = read(str(directory)).fingerprint()
    copied = shutil.copytree(directory, tmp_path / "elsewhere")
    # The line ends of another checkout.
    (copied / "config.json").write_text((copied / "config.json").read_text().replace("\n", "\r\n"), newline="")
    assert read(str(copied)).fingerprint() == told
    rewrite(copied / "config.json", layer_norm_eps=1e-3)
    assert read(str(copied)).fingerprint() != told


@pytest.mark.parametrize("file", ["model.safetensors", "preprocessor_config.json"])
def test_another_content_is_another_fingerprint(make: Make, file: str) -> None:
    directory = make()
    told = read(str(directory)).fingerprint()
    content = (directory / file).read_bytes()
    changed = content.replace(b"true", b"false") if file.endswith("json") else content[:-1] + bytes([content[-1] ^ 1])
    (directory / file).write_bytes(changed)
    assert read(str(directory)).fingerprint() != told


def cache(checkpoint: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lay a checkpoint out as the hub's cache would hold ``somebody/voices``, and take the network away."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / "hub"))
    repository = folder / "hub" / "models--somebody--voices"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    shutil.copytree(checkpoint, repository / "snapshots" / ("0" * 40))
