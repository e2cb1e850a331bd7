from typing import Any

import numpy as np
import onnx
import pytest
from transformers import HubertConfig, Wav2Vec2Config, WavLMConfig

from tests.inference.checkpoints import LARGE_SHAPE, TINY, converted, network, voices, weights_of
from voxgender.graphs.architecture import Architecture, Unconvertible
from voxgender.graphs.wav2vec2 import build
from voxgender.inference.conversion import open_network
from voxgender.inference.eager import EagerNetwork

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "base": {},
    "large": LARGE_SHAPE,
    "layer norm first, group norm": {"do_stable_layer_norm": True},
    "layer norm last, no group norm": {"feat_extract_norm": "layer", "conv_bias": True},
    "weighted layers": {"use_weighted_layer_sum": True},
    "weighted layers, layer norm first": {**LARGE_SHAPE, "use_weighted_layer_sum": True},
    "relu": {"hidden_act": "relu", "feat_extract_activation": "relu"},
    "odd positions": {"num_conv_pos_embeddings": 7},
    "ungrouped positions": {"num_conv_pos_embedding_groups": 1},
    "strides as wide as kernels": {"conv_kernel": (160, 2), "conv_stride": (160, 2)},
    "strides wider than kernels": {"conv_kernel": (100, 2), "conv_stride": (160, 3)},
    "one head": {"num_attention_heads": 1},
    "another epsilon": {"layer_norm_eps": 1e-2},
}


@pytest.mark.parametrize("shape", ARCHITECTURES.values(), ids=ARCHITECTURES.keys())
def test_the_graph_says_what_transformers_says_for_windows_of_any_length(shape: dict[str, Any]) -> None:
    reference = network(**shape)
    graph = converted(reference)
    eager = EagerNetwork(reference, normalise=True)
    for samples in (8_000, 12_345, 16_000, 37_777):
        windows = voices(samples)
        expected = eager(windows)
        np.testing.assert_allclose(graph(windows), expected, atol=1e-4)
        assert np.ptp(expected[:, 0]) > 0.1


@pytest.mark.parametrize("shape", [TINY, LARGE_SHAPE], ids=["base", "large"])
def test_eight_bits_say_nearly_the_same(shape: dict[str, Any]) -> None:
    reference = network(**shape)
    exact, rounded = converted(reference, precision="fp32"), converted(reference, precision="int8")
    difference = np.abs(exact(voices()) - rounded(voices()))
    assert 0 < difference.max() < 0.1


def test_eight_bits_are_for_the_encoders_linear_layers_alone() -> None:
    reference = network()
    model = build(Architecture.of(reference.config.to_dict()), weights_of(reference), normalise=False, int8=True)
    operators = [node.op_type for node in model.graph.node]
    # The projection, and in each of two layers attention in and out and the two of the feed-forward network.
    assert operators.count("DynamicQuantizeMatMul") == 1 + 2 * 4
    assert operators.count("Conv") == 1
    bits = {tensor.data_type for tensor in model.graph.initializer}
    assert onnx.TensorProto.INT8 in bits


@pytest.mark.parametrize("names", ["parametrized", "weight_g", "merged"])
def test_the_positions_weight_is_known_by_all_names_that_it_ever_had(names: str) -> None:
    reference = network()
    weights = weights_of(reference)
    conv = "wav2vec2.encoder.pos_conv_embed.conv"
    if names != "parametrized":
        norm = weights.pop(f"{conv}.parametrizations.weight.original0")
        direction = weights.pop(f"{conv}.parametrizations.weight.original1")
        if names == "weight_g":
            weights |= {f"{conv}.weight_g": norm, f"{conv}.weight_v": direction}
        else:
            weights[f"{conv}.weight"] = reference.wav2vec2.encoder.pos_conv_embed.conv.weight.numpy(force=True)
    graph = open_network(reference.config.to_dict(), lambda: weights, normalise=True)
    np.testing.assert_allclose(graph(voices()), EagerNetwork(reference, normalise=True)(voices()), atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"hidden_act": "silu"}, "hidden_act"),
        ({"feat_extract_activation": "gelu_new"}, "feat_extract_activation"),
        ({"feat_extract_norm": "batch"}, "feat_extract_norm"),
        ({"hidden_size": "wide"}, "hidden_size"),
        ({"add_adapter": True}, "adapters"),
        ({"adapter_attn_dim": 16}, "adapters"),
        ({"conv_stride": [5]}, "convolutions"),
    ],
)
def test_an_architecture_that_it_does_not_know_is_told(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(Unconvertible, match=reason):
        Architecture.of({**network().config.to_dict(), **changes})


def test_weights_that_do_not_fit_are_told() -> None:
    reference = network()
    config, weights = reference.config.to_dict(), weights_of(reference)
    with pytest.raises(Unconvertible, match=r"projector\.weight has another shape"):
        build(Architecture.of({**config, "classifier_proj_size": 9}), weights, normalise=True)
    with pytest.raises(Unconvertible, match=r"lacks wav2vec2\.encoder\.layers\.2\."):
        build(Architecture.of({**config, "num_hidden_layers": 3}), weights, normalise=True)
    with pytest.raises(Unconvertible, match=r"lacks classifier\.bias"):
        build(Architecture.of(config), {}, normalise=True)


def test_what_a_configuration_leaves_out_is_what_transformers_takes_it_for() -> None:
    defaults = Wav2Vec2Config().to_dict()
    assert Architecture.of({}) == Architecture.of(defaults)
    told = {*defaults, *HubertConfig().to_dict(), *WavLMConfig().to_dict()}
    assert set(Architecture.__struct_fields__) - told == {"pooling_mode"}
