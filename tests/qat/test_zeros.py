# SPDX-License-Identifier: Apache-2.0
"""Encoders that pruning has emptied in part or as a whole: every scale stays within what the hardware rescales, and the codes are the golden ones."""

import numpy as np
import pytest
import torch
from random_models import padded, random_float, random_sentences

from bitloom.hw import golden
from bitloom.hw.ops import layernorm as layernorm_op
from bitloom.qat import functional as F
from bitloom.qat.calibrate import calibrate
from bitloom.qat.config import QuantConfig
from bitloom.qat.export import forward_codes, in_float64, to_graph
from bitloom.qat.net.model import QuantModel
from bitloom.qat.networks import ModelConfig

SHAPE = ModelConfig(layers=2, hidden=16, heads=2, intermediate=24, max_tokens=12, dropout=0.0)
DEAD = {  # what is set to zero: parameters whose name holds one of these
    "everything": ("",),
    "tables": ("_embeddings",),
    "one block": ("layer.1.output.dense",),
    "attention": ("attention.self", "attention.output.dense"),
    "queries": ("query",),
    "factors": ("LayerNorm.weight",),
    "norms": ("LayerNorm",),
    "biases": (".bias",),
    "weights": ("weight",),
    "head": ("pooler", "classifier"),
}


def emptied(dead: tuple[str, ...], factor: float = 0.0) -> torch.nn.Module:
    model = random_float(SHAPE)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if any(part in name for part in dead):
                parameter.mul_(factor)
    return model


def quantized(plain: torch.nn.Module, quant: QuantConfig) -> QuantModel:
    model = QuantModel.from_float(plain, quant, SHAPE.max_tokens)
    calibrate(model, [padded(*random_sentences(0, 8, SHAPE.max_tokens))])
    return model.eval()


def require_golden(model: QuantModel) -> dict[str, np.ndarray]:
    ids, segments = random_sentences(1, 6, SHAPE.max_tokens)
    want, got = golden.run(to_graph(model, "zeros"), ids, segments), forward_codes(in_float64(model), ids, segments)
    assert [name for name in want if not np.array_equal(got[name], want[name])] == [] and len(want) > 30
    return want


@pytest.mark.parametrize("factor", [0.0, 1e-9])
@pytest.mark.parametrize("dead", DEAD)
def test_dead_parts_equal_golden(dead, factor):
    require_golden(quantized(emptied(DEAD[dead], factor), QuantConfig(weights=8)))


@pytest.mark.parametrize("dead", ["everything", "weights", "attention"])
def test_dead_parts_with_weights_of_one_bit(dead):
    """They cannot be zero: their scale is so small that all of them together are."""
    codes = require_golden(quantized(emptied(DEAD[dead]), QuantConfig(weights=1)))
    value = codes["layer.0.value"]
    assert (value == value[0]).all() and value.any() == (dead == "weights")  # the bias, where there is one


def test_dead_channels_rows_and_heads():
    plain = random_float(SHAPE)
    with torch.no_grad():
        plain.bert.embeddings.word_embeddings.weight[::2] = 0
        for layer in plain.bert.encoder.layer:
            layer.intermediate.dense.weight[::2] = 0
            layer.intermediate.dense.bias[::2] = 0
            layer.attention.self.value.weight[:8] = 0
    codes = require_golden(quantized(plain, QuantConfig()))
    assert not codes["layer.0.ffn.up"][:, ::2].any() and codes["layer.0.ffn.up"][:, 1::2].any()


@pytest.mark.parametrize("weights", [1, 4])
def test_training_leaves_no_scale_beyond_the_hardware(weights):
    """Steps a thousand times too large, from dead layers on: scales drift, and the graph can still be made."""
    model = quantized(emptied(("layer.1.output.dense", "query", "layer.0.output.LayerNorm")), QuantConfig(weights=weights)).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    inputs = padded(*random_sentences(2, 8, SHAPE.max_tokens))
    for _ in range(12):
        optimizer.zero_grad()
        model(**inputs, labels=torch.tensor([0, 1] * 4)).loss.backward()
        optimizer.step()
    require_golden(model.eval())


def test_a_zero_tensor_does_not_move_its_neighbours():
    """The scales of all that does not depend on a dead block are what they are with a living one."""
    living, dead = (quantized(plain, QuantConfig()) for plain in (random_float(SHAPE), emptied(("layer.1.output.dense",))))
    names = list(living.grids())
    before = names[: names.index("layer.1.ffn.down")]
    assert [living.grids()[name].e for name in before] == [dead.grids()[name].e for name in before]
    assert dead.grids()["layer.1.ffn.down"].e == -4  # the largest code, 127, is worth about 8


@pytest.mark.parametrize("top", [0.0, 1e-12, 1e-3, 1.0, 1e6])
def test_layernorms_shift_is_bounded_alike_on_both_sides(top):
    gamma, beta = torch.tensor([top, -top / 3], dtype=torch.float64), torch.tensor([0.5, 0.0], dtype=torch.float64)
    for exponent in (-12, -5, 0):
        got, want = F.layernorm_affine(gamma, beta, exponent), layernorm_op.affine(gamma.numpy(), beta.numpy(), 2.0**exponent)
        assert int(got[2]) == want[2] and 0 <= want[2] <= layernorm_op.LAST_SHIFT == F.LAST_SHIFT
        assert np.array_equal(got[0], want[0]) and np.array_equal(got[1], want[1])


@pytest.mark.parametrize(("size", "bits", "eps"), [(16, 10, 1e-12), (128, 10, 1e-5), (1024, 16, 1e-12), (768, 8, 0.0)])
def test_the_finest_input_of_layernorm_is_the_first_whose_eps_fits(size, bits, eps):
    least = layernorm_op.finest(size, bits, eps)
    room = min(1 << 2 * (size << (bits - 1)).bit_length(), (1 << 52) - layernorm_op.variance_bound(size, bits, 0))
    plan = [F.layernorm_plan(size, bits, least - below, 8, -5, eps).eps for below in (0, 1)]
    assert plan[0] < room and (plan[1] >= room or least == layernorm_op.LEAST_EXPONENT)
