"""Checkpoints that cannot be served: each is refused before the server is ready, by one line that says why."""

import json
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

from tests.inference.checkpoints import TINY, Make, rewrite
from voxgender.errors import ModelError
from voxgender.inference import checkpoint
from voxgender.inference.loading import load

Damage = Callable[[Path], None]


def weights(change: Callable[[dict[str, torch.Tensor]], None]) -> Damage:
    def damage(directory: Path) -> None:
        tensors = load_file(directory / "model.safetensors")
        change(tensors)
        save_file(tensors, directory / "model.safetensors")

    return damage


def bytes_of(file: str, change: Callable[[bytes], bytes]) -> Damage:
    def damage(directory: Path) -> None:
        (directory / file).write_bytes(change((directory / file).read_bytes()))

    return damage


def config(**changes: Any) -> Damage:
    return lambda directory: rewrite(directory / "config.json", **changes)


def preprocessing(**changes: Any) -> Damage:
    return lambda directory: rewrite(directory / "preprocessor_config.json", **changes)


def without(file: str) -> Damage:
    return lambda directory: (directory / file).unlink()


def poison(number: float, name: str) -> Damage:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        tensors[name].view(-1)[0] = number

    return weights(change)


class Harmful:
    """Leaves a trace if it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return Path.touch, (self.trace,)


def pickled(directory: Path) -> None:
    (directory / "model.safetensors").unlink()
    (directory / "pytorch_model.bin").write_bytes(pickle.dumps(Harmful(directory / "ran")))


def own_code(directory: Path) -> None:
    config(architectures=["OwnVoices"], auto_map={"AutoModelForAudioClassification": "own.OwnVoices"})(directory)
    (directory / "own.py").write_text(f"open({str(directory / 'ran')!r}, 'w')")


def other_network(directory: Path) -> None:
    Wav2Vec2ForCTC(Wav2Vec2Config(**TINY)).save_pretrained(directory)


def another_networks_weights(directory: Path) -> None:
    other_network(directory)
    config(architectures=["Wav2Vec2ForSequenceClassification"], id2label={"0": "m", "1": "f"})(directory)


def named_pipe(directory: Path) -> None:
    (directory / "model.safetensors").unlink()
    os.mkfifo(directory / "model.safetensors")


def constant(tensors: dict[str, torch.Tensor]) -> None:
    tensors["classifier.weight"].zero_()


def huge_header(_: bytes) -> bytes:
    return struct.pack("<Q", 1 << 62) + b"{}"


def lying_header(_: bytes) -> bytes:
    header = json.dumps(
        {"classifier.bias": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}
    ).encode()
    return struct.pack("<Q", len(header)) + header


NAN, INFINITY = float("nan"), float("inf")
DAMAGED = r"its weights are damaged|tells of \d+ weights, and the files hold \d+ bytes"

BAD: dict[str, tuple[Damage, str]] = {
    # inaSpeechSegmenter#68: one NaN weight, and every voice was no_speech from a server that said it was ready.
    "one NaN in a convolution": (
        poison(NAN, "wav2vec2.feature_extractor.conv_layers.0.conv.weight"),
        r"its wav2vec2\.feature_extractor\.conv_layers\.0\.conv\.weight holds NaN or infinity",
    ),
    "one NaN in the last bias": (poison(NAN, "classifier.bias"), r"its classifier\.bias holds NaN"),
    "an infinity": (poison(INFINITY, "projector.weight"), r"its projector\.weight holds NaN or infinity"),
    "weights that overflow": (poison(3e38, "classifier.bias"), "gives the same for noise"),
    "constant output": (weights(constant), "gives the same for noise, a man's voice and a woman's"),
    "more labels than outputs": (
        config(id2label={"0": "male", "1": "female", "2": "child"}),
        r"gives 3x2 numbers for 3 windows, but its config\.json has 3 labels",
    ),
    "labels that say nothing": (config(id2label={"0": "LABEL_0", "1": "LABEL_1"}), "'LABEL_0' says too little"),
    "weights cut off": (bytes_of("model.safetensors", lambda whole: whole[:1_000]), DAMAGED),
    "no weights": (bytes_of("model.safetensors", lambda _: b""), DAMAGED),
    "weights of text": (bytes_of("model.safetensors", lambda _: b"<!DOCTYPE html>" * 99), DAMAGED),
    "a header beyond the file": (bytes_of("model.safetensors", huge_header), DAMAGED),
    "tensors beyond the file": (bytes_of("model.safetensors", lying_header), DAMAGED),
    "pointer of Git LFS": (
        bytes_of("model.safetensors", lambda _: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"),
        DAMAGED,
    ),
    "without weights": (without("model.safetensors"), r"lacks model\.safetensors"),
    "without configuration": (without("config.json"), r"lacks config\.json"),
    "without preprocessing": (without("preprocessor_config.json"), r"lacks preprocessor_config\.json"),
    "pickled": (pickled, r"pickled weights \(pytorch_model\.bin\) are not loaded"),
    "code of its own": (own_code, "is OwnVoices, .* code of its own, which is never run"),
    "never trained to classify": (other_network, "is Wav2Vec2ForCTC, which classifies no audio"),
    "another network's weights": (
        another_networks_weights,
        r"of its weights are missing .*classifier\.bias",
    ),
    "weights of another shape": (config(classifier_proj_size=12), r"missing or of another shape, [\w.]+ for one"),
    "estimates": (config(problem_type="regression"), "estimates numbers"),
    "empty configuration": (bytes_of("config.json", lambda _: b""), r"config\.json cannot be read"),
    "half a configuration": (bytes_of("config.json", lambda whole: whole[:99]), r"config\.json cannot be read"),
    "a list": (bytes_of("config.json", lambda _: b"[]"), r"config\.json holds no object"),
    "nested without end": (bytes_of("config.json", lambda _: b"[" * 100_000), r"config\.json cannot be read"),
    "a configuration of 17 MB": (
        bytes_of("config.json", lambda whole: whole + b" " * (17 << 20)),
        r"config\.json is 1\d MB long",
    ),
    "without labels": (config(id2label=None), r"config\.json has no id2label"),
    "text for a number": (config(hidden_size="wide"), "hidden_size"),
    "a number beyond reason": (config(hidden_size=10**9), r"config\.json has a hidden_size that no network has"),
    "layers beyond reason": (
        config(num_hidden_layers=10**7),
        r"config\.json has a num_hidden_layers that no network has",
    ),
    "a negative number": (config(num_hidden_layers=-1), r"config\.json has a num_hidden_layers that no network has"),
    "no architecture": (config(architectures=None), "is an unnamed wav2vec2"),
    "no heads": (config(num_attention_heads=0), "has a num_attention_heads that no network has"),
    "more weights than the files hold": (
        config(hidden_size=4_096),
        r"tells of \d+ weights, and the files hold \d+ bytes",
    ),
    "a named pipe": (named_pipe, r"its model\.safetensors is no regular file"),
    "8 kHz": (preprocessing(sampling_rate=8_000), "wants audio at 8000 Hz; only 16000 Hz can be given"),
    "44.1 kHz": (preprocessing(sampling_rate=44_100), "wants audio at 44100 Hz"),
    "a rate of text": (preprocessing(sampling_rate="16k"), "has the sampling_rate '16k', which is no number"),
    "the rate as text": (preprocessing(sampling_rate="16000"), "has the sampling_rate '16000', which is no number"),
    "no rate": (preprocessing(sampling_rate=None), "has the sampling_rate None, which is no number"),
    "convolutions that differ in number": (config(conv_stride=(160, 2, 2)), "conv_stride"),
    "an adapter": (config(add_adapter=True), "does not support the use of Wav2Vec2 adapters"),
    "other features": (
        preprocessing(feature_extractor_type="EncodecFeatureExtractor"),
        "wants EncodecFeatureExtractor's",
    ),
    "windows too short": (config(conv_stride=(16_000, 2)), "fails on a window of 500 ms"),
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("damage", "why"), BAD.values(), ids=BAD.keys())
def test_a_bad_checkpoint_is_refused_by_one_line(make: Make, damage: Damage, why: str) -> None:
    directory = make()
    damage(directory)
    with pytest.raises(ModelError, match=why) as refused:
        load(str(directory))
    assert str(refused.value).startswith(f"model {directory}: ")
    assert "\n" not in str(refused.value)
    assert not (directory / "ran").exists()


def test_weights_that_do_not_fit_into_memory_are_refused(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = make()
    monkeypatch.setattr(checkpoint, "memory_bytes", lambda: 1_000)
    with pytest.raises(ModelError, match=r"its weights take 0\.0 GB, and this machine has"):
        load(str(directory))


@pytest.mark.parametrize("model", ["/no/such/model", "./no-model", "../no-model", "a/b/c"])
def test_a_missing_directory_is_not_asked_of_the_hub(model: str) -> None:
    with pytest.raises(ModelError, match=f"model {model}: no such directory$"):
        load(model)


def test_a_pasted_url_is_told_from_a_directory() -> None:
    with pytest.raises(ModelError, match="is a URL; name the hub's repository by its id, as owner/name"):
        load("https://huggingface.co/owner/name")


def test_a_file_is_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("model.safetensors").touch()
    with pytest.raises(ModelError, match="no such directory"):
        load("model.safetensors")


def test_a_hub_id_without_a_network_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match="no such directory here, and not to be had from the hub"):
        load("alefiury/wav2vec2-large-xlsr-53-gender-recognition-librispeech")


def test_a_directory_has_no_revisions(make: Make) -> None:
    with pytest.raises(ModelError, match="which has no revisions; leave --model-revision out"):
        load(str(make()), revision="main")


@pytest.mark.parametrize(("precision", "device"), [("fp16", "cpu"), ("bf16", "cpu"), ("int8", "cuda")])
def test_a_precision_of_the_other_processor_is_refused(precision: Any, device: Any) -> None:
    with pytest.raises(ModelError, match=f"precision {precision}"):
        load("embedded", precision=precision, device=device)
