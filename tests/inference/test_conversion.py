import errno
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from safetensors.numpy import load_file, save_file

from tests.inference.checkpoints import MANY_WEIGHTS, TINY, Array, Make, by_transformers, converted, network, voices
from voxgender.errors import ModelError
from voxgender.graphs import architecture, wav2vec2
from voxgender.graphs.architecture import CHECKPOINT, PRECISION
from voxgender.inference import conversion, graphcache
from voxgender.inference.checkpoint import GRAPH, read
from voxgender.inference.conversion import export, key
from voxgender.inference.graphcache import MODEL, WEIGHTS
from voxgender.inference.loading import EMBEDDED_DIRECTORY, CheckpointClassifier, load
from voxgender.inference.runtime import OnnxNetwork

Conversions = list[bool]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return graphcache.cache_folder()


@pytest.fixture
def conversions(monkeypatch: pytest.MonkeyPatch) -> Conversions:
    """Record for each conversion whether it was to eight bits."""
    made: Conversions = []
    build = wav2vec2.build

    def count(*arguments: Any, **options: Any) -> Any:
        made.append(options["int8"])
        return build(*arguments, **options)

    monkeypatch.setattr(wav2vec2, "build", count)
    return made


def entries(cache: Path) -> list[Path]:
    return list(cache.iterdir()) if cache.exists() else []


def says_what_transformers_says(classifier: CheckpointClassifier, directory: Path, windows: Array) -> bool:
    """For labels ``female`` and ``male``."""
    return np.allclose(classifier(windows), by_transformers(directory, windows)[:, ::-1], atol=1e-4)


# Graphs that are shipped or exported


def test_the_embedded_models_graph_is_the_one_that_its_weights_give() -> None:
    """Run ``tools/graphs.py`` if this fails after a change of the writer or of the weights."""
    found = read(str(EMBEDDED_DIRECTORY))
    shipped = onnx.load(EMBEDDED_DIRECTORY / GRAPH)
    told = {prop.key: prop.value for prop in shipped.metadata_props}
    assert told == {CHECKPOINT: found.fingerprint(), PRECISION: "fp32"}
    shape = architecture.Architecture.of(found.config)
    written = wav2vec2.build(shape, found.weights(), normalise=found.normalise, checkpoint=found.fingerprint())
    constants = zip(shipped.graph.initializer, written.graph.initializer, strict=True)
    for one, other in constants:
        # Sums of many numbers depend on the processor's width.
        np.testing.assert_allclose(onnx.numpy_helper.to_array(one), onnx.numpy_helper.to_array(other), rtol=1e-5)
    for model in (shipped, written):
        del model.graph.initializer[:]
    assert shipped == written


def test_the_embedded_model_starts_without_what_writes_graphs() -> None:
    """Importing onnx took 11 MB of each process; torch would take seven seconds and 360 MB."""
    program = (
        "import sys\n"
        "from voxgender.engine.loading import shared_engine\n"
        "shared_engine('embedded').close()\n"
        "writers = {'voxgender.graphs.' + name for name in ('builder', 'filterbank', 'frames', 'silero', 'wav2vec2')}\n"
        "others = {'onnx', 'torch', 'transformers', 'safetensors', 'huggingface_hub'}\n"
        "print(sorted((writers | others) & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"


def test_the_embedded_model_leaves_nothing_in_the_cache(cache: Path) -> None:
    load("embedded")
    assert entries(cache) == []


def test_an_exported_checkpoint_is_not_converted(
    make: Make, windows: Any, cache: Path, conversions: Conversions
) -> None:
    directory = make()
    export(directory)
    conversions.clear()
    classifier = load(str(directory))
    assert conversions == []
    assert entries(cache) == []
    assert says_what_transformers_says(classifier, directory, windows)


def change_weights(directory: Path) -> None:
    weights = load_file(directory / "model.safetensors")
    weights["classifier.bias"] += 1
    save_file(weights, directory / "model.safetensors", {"format": "pt"})


def change_preprocessing(directory: Path) -> None:
    file = directory / "preprocessor_config.json"
    file.write_text(file.read_text().replace('"do_normalize": true', '"do_normalize": false'))


def damage_graph(directory: Path) -> None:
    file = directory / GRAPH
    file.write_bytes(file.read_bytes()[:5_000])


def swap_graph(directory: Path) -> None:
    shutil.copy(EMBEDDED_DIRECTORY / GRAPH, directory)


@pytest.mark.parametrize("change", [change_weights, change_preprocessing, damage_graph, swap_graph])
def test_a_graph_that_does_not_belong_to_the_weights_is_told_and_not_used(
    make: Make, windows: Any, caplog: pytest.LogCaptureFixture, change: Any
) -> None:
    """A checkpoint that was trained further, with the graph of the one before still beside it."""
    directory = make()
    export(directory)
    change(directory)
    with caplog.at_level(logging.WARNING, "voxgender"):
        classifier = load(str(directory))
    (line,) = caplog.messages
    assert f"{GRAPH} is not used" in line
    assert says_what_transformers_says(classifier, directory, windows)


def test_a_graph_of_the_other_precision_is_not_used(make: Make, conversions: Conversions) -> None:
    directory = make()
    export(directory)
    classifier = load(str(directory), precision="int8")
    assert conversions == [False, True]
    assert isinstance(classifier.network, OnnxNetwork)
    assert classifier.network.precision == "int8"


def test_an_export_again_replaces_the_graph_and_leaves_nothing_else(make: Make) -> None:
    directory = make()
    export(directory)
    before = set(directory.iterdir())
    change_weights(directory)
    export(directory)
    assert set(directory.iterdir()) == before
    assert OnnxNetwork(directory / GRAPH).checkpoint == read(str(directory)).fingerprint()


@pytest.mark.parametrize("damage", [lambda file: file.unlink(), lambda file: file.write_bytes(b"")])
def test_a_checkpoint_without_its_weights_is_not_exported(make: Make, damage: Any) -> None:
    directory = make()
    damage(directory / "model.safetensors")
    with pytest.raises(ModelError, match="no graph can be made of it"):
        export(directory)
    assert not (directory / GRAPH).exists()


# Checkpoints of others


def test_a_checkpoint_is_converted_once(make: Make, windows: Any, conversions: Conversions) -> None:
    directory = make()
    found = [load(str(directory))(windows) for _ in range(3)]
    assert conversions == [False]
    np.testing.assert_array_equal(found[0], found[2])


def test_a_copy_of_a_checkpoint_is_known(make: Make, tmp_path: Path, conversions: Conversions) -> None:
    directory = make()
    load(str(directory))
    load(str(shutil.copytree(directory, tmp_path / "copy")))
    assert conversions == [False]


def test_a_checkpoint_that_changed_is_converted_again(make: Make, windows: Any, conversions: Conversions) -> None:
    directory = make()
    load(str(directory))
    change_weights(directory)
    classifier = load(str(directory))
    assert conversions == [False, False]
    assert says_what_transformers_says(classifier, directory, windows)


def test_each_precision_is_kept(make: Make, conversions: Conversions) -> None:
    directory = make()
    for _ in range(2):
        load(str(directory), precision="fp32")
        load(str(directory), precision="int8")
        load(str(directory), precision="auto")
    assert conversions == [False, True]


def test_another_runtime_and_another_voxgender_convert_again() -> None:
    assert key("fingerprint", int8=False) == key("fingerprint", int8=False)
    others = (key("fingerprint", int8=False, runtime="another"), key("fingerprint", int8=False, converter="another"))
    assert len({key("fingerprint", int8=False), *others}) == 3


@pytest.mark.parametrize("file", [MODEL, WEIGHTS])
def test_a_damaged_entry_is_made_anew(
    make: Make, windows: Any, cache: Path, conversions: Conversions, file: str
) -> None:
    directory = make()
    load(str(directory))
    (entry,) = entries(cache)
    content = bytearray((entry / file).read_bytes())
    content[len(content) // 2] ^= 0xFF
    (entry / file).write_bytes(content)
    classifier = load(str(directory))
    assert conversions == [False, False]
    assert says_what_transformers_says(classifier, directory, windows)
    load(str(directory))
    assert len(conversions) == 2


def test_an_entry_that_the_runtime_refuses_is_made_anew(make: Make, cache: Path, conversions: Conversions) -> None:
    directory = make()
    load(str(directory))
    (entry,) = entries(cache)
    (entry / MODEL).write_bytes(b"no graph")
    (entry / "SHA256SUMS").write_text(f"{graphcache._digest(entry / MODEL)}  {MODEL}\n")
    load(str(directory))
    load(str(directory))
    assert conversions == [False, False]


def test_many_that_start_at_once_all_get_the_model(make: Make, windows: Any, cache: Path) -> None:
    directory = make()
    with ThreadPoolExecutor(4) as pool:
        classifiers = list(pool.map(lambda _: load(str(directory)), range(8)))
    assert all(says_what_transformers_says(classifier, directory, windows) for classifier in classifiers)
    assert len(entries(cache)) == 1


@pytest.fixture(params=["a file in its place", "a full disk", "a name that is too long", "no home directory"])
def unwritable(request: pytest.FixtureRequest, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that nothing can be written to, even by root."""
    if request.param == "a full disk":
        cache.mkdir(parents=True)
        write = conversion._write

        def fail(folder: Path, convert: Any) -> None:
            write(folder, convert)
            if cache in folder.parents:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(conversion, "_write", fail)
    elif request.param == "a file in its place":
        cache.parent.parent.mkdir(parents=True)
        cache.parent.touch()
    elif request.param == "a name that is too long":
        monkeypatch.setenv("XDG_CACHE_HOME", f"/{'x' * 300}")
    else:
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.delenv("HOME")
        monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)
    return cache


def test_where_the_cache_cannot_be_written_one_line_says_so(
    make: Make, windows: Any, unwritable: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = make()
    with caplog.at_level(logging.WARNING, "voxgender"):
        classifier = load(str(directory))
    (line,) = caplog.messages
    assert line.startswith("the converted model is not kept, so that each start takes longer: ")
    assert says_what_transformers_says(classifier, directory, windows)
    assert not unwritable.is_dir() or entries(unwritable) == []


@pytest.mark.parametrize("shape", [MANY_WEIGHTS, TINY])
def test_without_any_room_it_is_converted_in_memory(
    make: Make,
    windows: Any,
    unwritable: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    shape: dict[str, Any],
) -> None:
    directory = make(**shape)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with caplog.at_level(logging.WARNING, "voxgender"):
        classifier = load(str(directory), precision="fp32")
    assert len(caplog.messages) == 1
    assert says_what_transformers_says(classifier, directory, windows)


def test_a_network_without_a_fingerprint_is_kept_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = set(tmp_path.iterdir())
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    converted(network())(voices())
    assert set(tmp_path.iterdir()) == before
