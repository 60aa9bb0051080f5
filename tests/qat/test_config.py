# SPDX-License-Identifier: Apache-2.0
"""Settings: defaults, strictness, and messages that say what to do."""

import pytest

from bitloom.hw.errors import BitloomError
from bitloom.qat.config import QuantConfig, TrainConfig
from bitloom.qat.net.encoder import Encoder
from bitloom.qat.net.shape import EncoderShape, LayerShape
from bitloom.qat.networks import ModelConfig


def test_defaults_are_bert_tiny_and_frozen():
    model = ModelConfig()
    assert (model.layers, model.hidden, model.heads, model.intermediate, model.activation) == (2, 128, 2, 512, "gelu")
    with pytest.raises(ValueError, match="frozen"):
        model.layers = 3


def test_the_shape_comes_from_the_checkpoint():
    assert ModelConfig(checkpoint="folder", layers=3).hidden is None
    with pytest.raises(ValueError, match="hidden: got 64, must be left out when a checkpoint gives the shape"):
        ModelConfig(checkpoint="folder", hidden=64)


@pytest.mark.parametrize(
    ("kind", "settings", "text"),
    [
        (ModelConfig, {"hiden": 64}, "no setting 'hiden'; did you mean 'hidden'?"),
        (
            ModelConfig,
            {"hidden": 100, "heads": 3},
            "hidden: got 100 with 3 heads, must be divisible by the number of heads",
        ),
        (ModelConfig, {"max_tokens": 513}, "less than or equal to 512"),
        (ModelConfig, {"layers": "2"}, "valid integer"),
        (ModelConfig, {"attention": "windows"}, "'full', 'window', 'causal' or 'segment'"),
        (ModelConfig, {"attention": "window"}, "attention: got 'window' without a width, must have one; add e.g. window: 8"),
        (ModelConfig, {"attention": "window", "window": -1}, "greater than or equal to 0"),
        (ModelConfig, {"attention": "window", "window": 1.5}, "valid integer"),
        (ModelConfig, {"window": 8}, "window: got 8 with attention full, must go with 'window'; set attention: window, or remove it"),
        (ModelConfig, {"attention": "causal", "window": 8}, "window: got 8 with attention causal"),
        (QuantConfig, {"weights": 9}, r"weights: got 9, must be an integer 1 .. 8 \(bits\)"),
        (QuantConfig, {"activations": 1}, "activations: got 1, must be an integer 2 .. 8"),
        (QuantConfig, {"scores": 11}, "scores: got 11, must be an integer 2 .. 10"),
        (QuantConfig, {"residual": 17}, "residual: got 17, must be an integer 4 .. 16"),
        (QuantConfig, {"weights": True}, "weights: got True, must be an integer"),
        (QuantConfig, {"weight_range": "wide"}, "weight_range: got 'wide', must be 'narrow' or 'full'"),
        (QuantConfig, {"overrides": {"layer.0.*": {"weigts": 2}}}, "no setting 'weigts'; did you mean 'weights'?"),
        (
            QuantConfig,
            {"overrides": {"layer.0.*": {"weights": 0}}},
            r"overrides\['layer.0.\*'\].weights: got 0, must be",
        ),
        (TrainConfig, {"distill": {"alpha": 2}}, "less than or equal to 1"),
        (TrainConfig, {"batchsize": 2}, "did you mean 'batch_size'?"),
    ],
)
def test_bad_settings_are_named(kind, settings, text):
    with pytest.raises(ValueError, match=text):
        kind(**settings)


def test_numbers_in_yaml_1_1_notation():
    assert TrainConfig(float_learning_rate="1e-3").float_learning_rate == 1e-3


def test_later_overrides_win():
    quant = QuantConfig(weights=4, overrides={"layer.*": {"weights": 2}, "layer.0.ffn.*": {"weights": 8, "activations": 6}})
    assert [quant.of(n, "weights") for n in ("logits", "layer.1.query", "layer.0.ffn.up")] == [4, 2, 8]
    assert [quant.of(n, "activations") for n in ("layer.0.query", "layer.0.ffn.up")] == [8, 6]


TWO_LAYERS = EncoderShape(hidden=8, layers=(LayerShape(heads=2, head_width=4, intermediate=8),) * 2, vocabulary=9, positions=8)


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        (
            {"layr.0.query": {"weights": 2}},
            "got pattern 'layr.0.query', must match a layer or tensor; did you mean 'layer.0.query'?",
        ),
        ({"layer.2.*": {"weights": 2}}, "must match a layer or tensor"),
        (
            {"layer.0.scores": {"weights": 2}},
            "got 'weights', must be a setting of a matching tensor; 'layer.0.scores' has activation_scales, scores",
        ),
    ],
)
def test_an_override_without_effect_is_refused(overrides, text):
    with pytest.raises(BitloomError, match=text):
        Encoder(TWO_LAYERS).bind(QuantConfig(overrides=overrides), 8)
