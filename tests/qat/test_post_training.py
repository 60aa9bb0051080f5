# SPDX-License-Identifier: Apache-2.0
"""Post-training steps: that the float network does not notice equalization, what bias correction and learned rounding gain, contradictions."""

import numpy as np
import pytest
import torch
from random_models import padded, random_float, random_model, random_sentences

from bitloom.hw import golden
from bitloom.hw.settings import ConfigError
from bitloom.qat.calibrate import calibrate
from bitloom.qat.config import QuantConfig
from bitloom.qat.export import forward_codes, in_float64, to_graph
from bitloom.qat.net.model import FloatModel, QuantModel
from bitloom.qat.networks import ModelConfig
from bitloom.qat.post_training import quantize
from bitloom.qat.post_training.bias_correction import correct_bias
from bitloom.qat.post_training.equalization import equalize
from bitloom.qat.post_training.layers import SENTENCES, merged, outputs, visit
from bitloom.qat.post_training.learned_rounding import learn_rounding

SHAPE = ModelConfig(layers=2, hidden=32, heads=2, intermediate=48, max_tokens=16, dropout=0.0)
BATCHES = [padded(*random_sentences(seed, 8, 16)) for seed in (1, 2)]


def plain_model(seed: int = 5, **settings) -> FloatModel:
    return FloatModel.from_hugging_face(random_float(SHAPE.model_copy(update=settings), seed), 16).eval()


def apart(ranges: torch.Tensor) -> float:
    return float(ranges.log().std())


@pytest.mark.parametrize(("activation", "moved"), [("gelu", 3), ("relu", 4)])
def test_equalization_is_not_noticed_in_float(activation, moved):
    model, batch = plain_model(activation=activation), merged(BATCHES)
    with torch.no_grad():  # channels of one tensor that are far apart
        for layer in model.network.layer:
            for linear in (layer.query, layer.value, layer.ffn.up):
                linear.weight.mul_(torch.linspace(-2, 2, linear.out_features).exp()[:, None])
        want = model(**batch).logits
        before = {name: x.abs().amax(0) for name, x in outputs(model.network, batch).items()}
        kept = {name: p.clone() for name, p in model.named_parameters()}
        equalize(model.network, outputs(model.network, batch))
        after = {name: x.abs().amax(0) for name, x in outputs(model.network, batch).items()}
        assert torch.allclose(model(**batch).logits, want, atol=1e-4)
    layers = {name.rsplit(".", 1)[0].removeprefix("network.layer.0.") for name, p in model.named_parameters() if not torch.equal(p, kept[name])}
    assert {name for name in layers if "layer" not in name} == {"query", "key", "value", "attention.output", *(("ffn.up", "ffn.down") if moved == 4 else ())}
    assert apart(after["layer.0.query"] / after["layer.0.key"]) < 1e-3 < apart(before["layer.0.query"] / before["layer.0.key"])
    for name in ("layer.0.query", "layer.1.value"):
        assert apart(after[name]) < 0.75 * apart(before[name])


def quantized(quant: QuantConfig) -> tuple[FloatModel, QuantModel, dict, dict]:
    plain, batch = plain_model(layers=1), merged(BATCHES)
    model = QuantModel.from_float(plain, quant, 16)
    calibrate(model, BATCHES)
    return plain, model, batch, outputs(plain.network, batch)


def shifts(model: QuantModel, batch: dict, wanted: dict) -> dict[str, float]:
    """By layer: how much the means of its outputs are off, in units of the outputs' size."""
    factors = {layer.tensor: factor for layer, factor in model.network.factors().items()}
    pairs = {name: (x, wanted[name] * factors.get(name, 1.0)) for name, x in outputs(model.network, batch).items()}
    return {name: float((x - y).mean(0).norm() / y.norm(dim=1).mean()) for name, (x, y) in pairs.items()}


def test_bias_correction_takes_shifts_back():
    _, model, batch, wanted = quantized(QuantConfig(weights=2))
    before = shifts(model, batch, wanted)
    visit(model.network, batch, wanted, [correct_bias])
    after = shifts(model, batch, wanted)
    assert set(after) == set(before) and sum(after.values()) < 0.25 * sum(before.values())


def test_learned_rounding_is_better_than_rounding_to_nearest():
    """Of each layer's outputs on the inputs that it sees; each weight is rounded up or down, and stays so."""
    plain, model, batch, wanted = quantized(QuantConfig(weights=3))
    errors = []

    def both(layer, inputs, outputs):
        weight, grid = layer.weight.detach().clone(), layer.weight_grid
        scale = grid.scale().float()[:, None]
        nearest, target = grid.codes(weight) * scale, outputs - layer.bias
        learn_rounding(layer, inputs, outputs)
        codes = grid.codes(layer.weight)
        assert torch.equal(layer.weight, codes * scale)
        ratio = (weight / scale).clamp(grid.low, grid.high)
        assert ((codes == ratio.floor()) | (codes == ratio.ceil())).all()
        errors.append([float((inputs @ w.T - target).square().mean()) for w in (nearest, layer.weight.detach())])

    visit(model.network, batch, wanted, [both])
    assert len(errors) == 8 and all(learned <= nearest * (1 + 1e-4) for nearest, learned in errors)
    assert np.mean([learned / nearest for nearest, learned in errors]) < 0.7


def test_all_steps_without_training_are_the_graph():
    quant = QuantConfig(weights=3, post_training=["bias_correction", "equalization", "learned_rounding"])
    shape = SHAPE.model_copy(update={"layers": 1})
    model, exponents = quantize(random_float(shape, 5), quant, 16, BATCHES)
    ids, segments = random_sentences(1, 7, 16)
    want, got = golden.run(to_graph(model, "x"), ids, segments), forward_codes(in_float64(model), ids, segments)
    assert [name for name in want if not np.array_equal(got[name], want[name])] == []
    assert exponents == {name: grid.e for name, grid in model.grids().items()} and model.quant.post_training == quant.post_training


def test_all_steps_give_the_same_again():
    quant = QuantConfig(weights=3, post_training=["bias_correction", "equalization"])
    hashes = {to_graph(quantize(random_float(SHAPE, 5), quant, 16, BATCHES)[0], "x").hash for _ in range(2)}
    assert len(hashes) == 1 and to_graph(quantize(random_float(SHAPE, 5), QuantConfig(weights=3), 16, BATCHES)[0], "x").hash not in hashes


def test_without_steps_it_is_calibration_alone():
    made, _ = quantize(random_float(SHAPE, 5), QuantConfig(), 16, [padded(*random_sentences(5, 8, 16))])
    assert to_graph(made, "x").hash == to_graph(random_model(SHAPE, QuantConfig(), 5), "x").hash


def test_batches_become_one():
    alone = {"input_ids": torch.ones(SENTENCES, 3, dtype=torch.long), "token_type_ids": torch.zeros(SENTENCES, 3, dtype=torch.long)}
    batch = merged([BATCHES[0], alone])
    assert batch["input_ids"].shape == (SENTENCES, 16) and batch["attention_mask"][8].tolist() == [1] * 3 + [0] * 13
    assert torch.equal(batch["attention_mask"][:8], BATCHES[0]["attention_mask"])


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (
            {"post_training": "equalization"},
            r"post_training: got 'equalization', must be a list; write e.g. \[equalization, learned_rounding, bias_correction\]",
        ),
        ({"post_training": ["adaround"]}, "post_training: got 'adaround', must be one of its steps; "),
        ({"post_training": ["equalization"] * 2}, "post_training: got 'equalization' twice, must be there once"),
        (
            {"post_training": ["learned_rounding"], "weights": 1},
            "layer.0.query: got weights of 1 bit with post_training learned_rounding, must be weights of 2",
        ),
        (
            {"post_training": ["learned_rounding"], "overrides": {"logits": {"weights": 8, "codebook": "bs_flex"}}},
            "logits: got codebook bs_flex with post_training learned_rounding",
        ),
        ({"post_training": ["learned_rounding"], "weights": 2, "ternary": "twn"}, "layer.0.query: got ternary twn with post_training learned_rounding"),
    ],
)
def test_settings_that_do_not_fit(settings, text):
    with pytest.raises((ConfigError, ValueError), match=text):
        QuantModel.from_float(random_float(SHAPE), QuantConfig(**settings), 16)
