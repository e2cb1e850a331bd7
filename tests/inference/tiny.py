"""A tiny checkpoint of each head, with random weights, in the layout of the hub."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import transformers
from safetensors.torch import save_file
from transformers import Wav2Vec2FeatureExtractor

from tests.inference.checkpoints import LARGE_SHAPE, TINY, rewrite
from voxgender.inference.probe import trial

Label = str

ENCODER = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "classifier_proj_size": 8,
}
BERT = {**ENCODER, "feature_projection_input_dim": 16, "adapter_kernel_size": 3, "position_embeddings_type": "relative"}
WHISPER = {
    "d_model": 16,
    "encoder_layers": 2,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "decoder_layers": 1,
    "decoder_attention_heads": 2,
    "decoder_ffn_dim": 32,
    "num_mel_bins": 80,
    "vocab_size": 60,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 3,
    "classifier_proj_size": 8,
}
AST = {**ENCODER, "max_length": 128, "num_mel_bins": 128, "frequency_stride": 10, "time_stride": 10}


def seamless() -> Any:
    return transformers.SeamlessM4TFeatureExtractor(feature_size=8, num_mel_bins=8, stride=2)


def spectrogram() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return transformers.ASTFeatureExtractor(max_length=128)


class Head(NamedTuple):
    """Parts of a checkpoint of one head."""

    config: str
    shape: dict[str, Any]
    extractor: Callable[[], Any] = Wav2Vec2FeatureExtractor
    is_fast: bool = False
    """True if it runs in ONNX Runtime."""


HEADS: dict[str, Head] = {
    "Wav2Vec2ForSequenceClassification": Head("Wav2Vec2Config", LARGE_SHAPE, is_fast=True),
    "HubertForSequenceClassification": Head("HubertConfig", TINY, is_fast=True),
    "WavLMForSequenceClassification": Head("WavLMConfig", TINY, is_fast=True),
    "UniSpeechForSequenceClassification": Head("UniSpeechConfig", TINY, is_fast=True),
    "UniSpeechSatForSequenceClassification": Head("UniSpeechSatConfig", TINY, is_fast=True),
    "SEWForSequenceClassification": Head("SEWConfig", {**TINY, "squeeze_factor": 2}),
    "SEWDForSequenceClassification": Head(
        "SEWDConfig", {**TINY, "squeeze_factor": 2, "max_position_embeddings": 64, "position_buckets": 16}
    ),
    "Data2VecAudioForSequenceClassification": Head(
        "Data2VecAudioConfig", {**TINY, "num_conv_pos_embeddings": 2, "conv_pos_kernel_size": 3}
    ),
    "Wav2Vec2ConformerForSequenceClassification": Head("Wav2Vec2ConformerConfig", TINY),
    "Wav2Vec2BertForSequenceClassification": Head("Wav2Vec2BertConfig", BERT, seamless),
    "WhisperForAudioClassification": Head("WhisperConfig", WHISPER, transformers.WhisperFeatureExtractor),
    "ASTForAudioClassification": Head("ASTConfig", AST, spectrogram),
}
SPEECH_HEADS: dict[str, str] = {"AgeGenderModel": "gender", "Wav2Vec2ForSpeechClassification": "classifier"}


def save(
    architecture: str,
    directory: Path,
    labels: Sequence[Label] = ("female", "male"),
    *,
    sharpness: float = 1.0,
    **shape: Any,
) -> Path:
    """Write a checkpoint whose verdicts on noise and on two voices differ, the more the sharper it is."""
    torch.manual_seed(7)
    head = HEADS[architecture]
    names = dict(enumerate(labels))
    described = {**head.shape, **shape, "id2label": names, "label2id": {name: index for index, name in names.items()}}
    network = getattr(transformers, architecture)(getattr(transformers, head.config)(**described)).eval()
    extractor = head.extractor()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
        spread(network, lambda: logits_of(network, extractor), sharpness)
    network.save_pretrained(directory)
    extractor.save_pretrained(directory)
    return directory


def save_speech_head(architecture: str, directory: Path, labels: Sequence[Label], **config: Any) -> Path:
    """Write a checkpoint with the head of two layers that transformers does not have."""
    save("Wav2Vec2ForSequenceClassification", directory, labels)
    name, width = SPEECH_HEADS[architecture], LARGE_SHAPE["hidden_size"]
    from safetensors.torch import load_file

    tensors = {key: tensor for key, tensor in load_file(directory / "model.safetensors").items() if "wav2vec2" in key}
    heads = {name: len(labels)} | ({"age": 1} if name == "gender" else {})
    for each, outputs in heads.items():
        tensors |= {
            f"{each}.dense.weight": torch.randn(width, width),
            f"{each}.dense.bias": torch.randn(width),
            f"{each}.out_proj.weight": torch.randn(outputs, width),
            f"{each}.out_proj.bias": torch.randn(outputs),
        }
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    rewrite(directory / "config.json", architectures=[architecture], **config)
    return directory


def logits_of(network: Any, extractor: Any, windows: Any = None) -> torch.Tensor:
    """Logits by the library's own preprocessing, one window at a time."""
    heard = trial(1_000) if windows is None else windows
    found = [network(**extractor(window, sampling_rate=16_000, return_tensors="pt")).logits[0] for window in heard]
    return torch.stack(found).detach()


def by_transformers(architecture: str, directory: Path, windows: Any) -> Any:
    """Probabilities in the checkpoint's order."""
    network = getattr(transformers, architecture).from_pretrained(directory, dtype=torch.float32).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        extractor = HEADS[architecture].extractor().from_pretrained(directory)
    return np.asarray(logits_of(network, extractor, windows).softmax(dim=1))


def spread(network: Any, logits: Callable[[], torch.Tensor], sharpness: float) -> None:
    """Scale the last layer, so that its verdicts differ."""
    last = [module for module in network.modules() if isinstance(module, torch.nn.Linear)][-1]
    torch.nn.init.normal_(last.weight)
    found = logits()
    scale = sharpness / found.std(dim=0).mean().clamp_min(1e-6)
    last.bias.copy_((last.bias - found.mean(dim=0)) * scale)
    last.weight.mul_(scale)
