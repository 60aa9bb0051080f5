# SPDX-License-Identifier: Apache-2.0
"""Activation scales that training moves: gradients, what moves, what the hardware can rescale, files, contradictions."""

import math

import numpy as np
import pytest
import torch
from random_models import padded, random_model, random_sentences

from bitloom.hw import golden
from bitloom.hw.settings import ConfigError
from bitloom.qat import functional as F
from bitloom.qat.checkpoint import from_pretrained, save_pretrained
from bitloom.qat.config import QuantConfig
from bitloom.qat.export import forward_codes, in_float64, to_graph
from bitloom.qat.net.operators import LayerNorm
from bitloom.qat.networks import ModelConfig
from bitloom.qat.quantizers import OCTAVES

SHAPE = ModelConfig(layers=1, hidden=32, heads=2, intermediate=48, max_tokens=16, dropout=0.0)
LEARNED = QuantConfig(activations=4, activation_scales="learned")


def straight(x: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    return x + (value - x).detach()


def lsq(exact: torch.Tensor, log_scale: torch.Tensor, low: int, high: int) -> torch.Tensor:
    """Learned step size by autograd alone: straight through the rounding, not through what is clipped by more than it."""
    ratio = (exact / log_scale.exp()).clamp(low - 0.5, high + 0.5)
    return straight(ratio, (ratio + 0.5).floor().clamp(low, high)) * log_scale.exp()


@pytest.mark.parametrize("operator", ["quantize", "layernorm", "table"])
def test_gradients_of_learned_scales(operator):
    generator, e = torch.manual_seed(1), -2
    x = torch.randint(-40, 41, (6, 16), generator=generator).double() * 2.0**-4
    weight = torch.randn(6, 16, generator=generator, dtype=torch.double)
    mine, theirs = (torch.full((1,), e * math.log(2.0), dtype=torch.double, requires_grad=True) for _ in range(2))
    if operator == "quantize":
        x = x + 2.0**-9  # none at the very end of what is clipped
        got, exact = F.quantize(x, e, -8, 7, mine), x
    elif operator == "layernorm":
        gamma, beta = torch.full((16,), 1.5).double(), torch.full((16,), 0.25).double()
        got = F.layernorm(x, gamma, beta, F.layernorm_plan(16, 12, -4, 4, e, 1e-12), mine)
        exact = torch.nn.functional.layer_norm(x, (16,), gamma, beta)
    else:
        inputs = torch.arange(-40, 41).double() * 2.0**-4
        exact, codes = torch.tanh(x) * 3, (torch.tanh(inputs) * 3 / 2.0**e + 0.5).floor().clamp(-8, 7)
        inside = (torch.tanh(inputs) * 3 / 2.0**e).clamp(-8.5, 7.5) == torch.tanh(inputs) * 3 / 2.0**e
        entries = F.Entries(codes * 2.0**e, torch.ones_like(inputs), codes - torch.tanh(inputs) * 3 / 2.0**e * inside)
        got = F.table(x, entries, -4, -40, (2.0**e, 7), mine)
    want = lsq(exact, theirs, -8, 7)
    (got * weight).sum().backward()
    (want * weight).sum().backward()
    differs = 0.02 if operator == "layernorm" else 1e-9  # it rounds gamma and its normalised value to 10 fraction bits
    assert ((got - want).abs() > 1e-9).double().mean() <= differs
    scaled = theirs.grad / math.sqrt(16 * 7)
    assert abs(float(mine.grad - scaled)) <= 2 * differs * abs(float(scaled)) and abs(float(scaled)) > 0.01


def trained(model, steps: int, rate: float):
    ids, segments = random_sentences(5, 16, 16)
    batch, labels = padded(ids, segments), torch.arange(16) % 2
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        model(**batch, labels=labels).loss.backward()
        optimizer.step()
    return model.eval()


def exponents(model) -> dict[str, int]:
    return {name: grid.e for name, grid in model.grids().items()}


def test_training_moves_learned_scales_alone_and_the_graph_has_them(tmp_path):
    quant = LEARNED.model_copy(update={"overrides": {"layer.0.query": {"activation_scales": "calibrated"}}})
    model = random_model(SHAPE, quant, 5)
    before = exponents(model)
    trained(model, 40, 2e-3)
    after = exponents(model)
    moved = {name for name in before if before[name] != after[name]}
    assert len(moved) >= 5 and not moved & {"layer.0.query", "layer.0.probs", "embeddings.sum", "pooler", "logits"}
    ids, segments = random_sentences(1, 7, 16)
    want, got = golden.run(to_graph(model, "x"), ids, segments), forward_codes(in_float64(model), ids, segments)
    assert [name for name in want if not np.array_equal(got[name], want[name])] == []
    save_pretrained(model, tmp_path)
    again = from_pretrained(tmp_path)
    assert exponents(again) == after and to_graph(again, "x").hash == to_graph(model, "x").hash
    model.network.settle()
    assert exponents(model) == after, "the hardware can rescale all of them"


def test_a_scale_that_is_far_off_comes_back():
    """One that clips nearly all of a LayerNorm's output; others are kept."""
    model = random_model(SHAPE, QuantConfig(overrides={"layer.0.ffn.norm": {"activation_scales": "learned"}}), 5)
    norm = model.network.layer[0].ffn.norm
    best = norm.e
    norm.set_exponent(best - 5)
    assert isinstance(norm, LayerNorm) and float(norm.log_scale.detach()) * OCTAVES == pytest.approx(best - 5)
    trained(model, 60, 2e-3)
    assert norm.e > best - 5


def test_what_the_hardware_cannot_rescale_is_raised():
    model = random_model(SHAPE, LEARNED, 5)
    layer = model.network.layer[0]
    low = layer.query.grid.e + layer.key.grid.e
    with torch.no_grad():
        layer.scores.grid.log_scale.fill_((low - 4) / OCTAVES)
    trained(model, 1, 1e-9)
    assert layer.scores.grid.e == low and float(layer.scores.grid.log_scale.detach()) * OCTAVES == pytest.approx(low, abs=1e-3)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"activation_scales": "trained"}, "activation_scales: got 'trained', must be 'calibrated' or 'learned'; calibrated is the usual choice"),
        ({"overrides": {"layer.0.probs": {"activation_scales": "learned"}}}, "got 'activation_scales', must be a setting of a matching tensor"),
        ({"overrides": {"logits": {"activation_scales": "learned"}}}, "got 'activation_scales', must be a setting of a matching tensor"),
    ],
)
def test_settings_that_do_not_fit(settings, text):
    with pytest.raises((ConfigError, ValueError), match=text):
        random_model(SHAPE, QuantConfig(**settings))


@pytest.mark.parametrize("settings", [{"activation_scales": "learned"}, {"overrides": {"layer.*": {"activation_scales": "learned"}}}])
def test_compiled_code_has_scales_as_constants(settings):
    with pytest.raises(ConfigError, match="activation_scales: got 'learned' with training.compile, must be calibrated: compiled code has scales as constants"):
        QuantConfig(**settings).check_training(True)
    QuantConfig(**settings).check_training(False)
    with pytest.raises(ConfigError, match="ternary: got 'twn' with training.compile, must be none: compiled code has no rule in it"):
        QuantConfig(overrides={"layer.0.query": {"weights": 2, "ternary": "twn"}}).check_training(True)
