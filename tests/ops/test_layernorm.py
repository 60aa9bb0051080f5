# SPDX-License-Identifier: Apache-2.0
"""layernorm: RTL against golden, bits and cycles."""

import math

import numpy as np
import pytest
from operator_bench import check_data, check_units, filled, golden, intervals, make_case
from sweep import STALLS

from bitloom.hw.graph import GraphError, Tensor
from bitloom.hw.instance import Fold, Layout
from bitloom.hw.ops import layernorm

# H, lanes, input bits, output bits, float epsilon, sentence lengths
SHAPES = [
    (128, 1, 10, 8, 1e-12, [9, 1, 4]),
    (128, 4, 10, 8, 1e-12, [12, 1, 1, 9]),
    (48, 2, 10, 8, 1e-5, [7, 3, 1, 12]),
    (384, 2, 12, 8, 1e-12, [5, 1, 4]),
    (4, 1, 8, 8, 1e-12, [20, 1, 5]),
    (4, 4, 2, 6, 1e-12, [25, 1, 1, 9]),
    (12, 4, 16, 16, 1e-5, [30, 1, 2]),
    (1024, 4, 16, 8, 1e-12, [8, 1]),
    (1024, 1, 5, 4, 1e-3, [8]),
    (6, 3, 9, 2, 1e-12, [13, 2]),
    (40, 4, 11, 8, 100.0, [16, 1, 3]),
]
SCALE = 2.0**-5


def tokens(rng, size, bits, count):
    """Random tokens of different mean and spread, then corners.

    Constant 0, all least, all greatest, both by turns, one hot, one LSB, a ramp, one cold.
    """
    low, high = -(1 << bits - 1), (1 << bits - 1) - 1
    mean, spread = rng.uniform(low / 3, high / 3, (count, 1)), rng.uniform(0.5, high / 4 + 0.5, (count, 1))
    x = np.clip(np.floor(rng.normal(mean, spread, (count, size)) + 0.5), low, high).astype(np.int64)
    x[0], x[1], x[2] = 0, low, high
    x[3], x[3, ::2] = low, high
    x[4], x[4, 1] = low, high
    x[5], x[5, -1] = high, high - 1
    x[6] = np.linspace(low, high, size).astype(np.int64)
    x[7], x[7, 2] = high, low
    return x


def case(seed, size, lanes, bits, out_bits, eps, lengths):
    rng = np.random.default_rng(seed)
    x = Tensor(name="x", shape=("T", size), bits=bits, signed=True, scale=SCALE)
    y = Tensor(name="y", shape=x.shape, bits=out_bits, signed=True, scale=2.0 ** (3 - out_bits))
    gamma, beta, shift = layernorm.affine(rng.normal(1, 0.3, size), rng.normal(0, 0.3, size), y.scale)
    return make_case(
        "layernorm",
        [x],
        y,
        [tokens(rng, size, bits, sum(lengths))],
        lengths,
        fold=Fold(lanes_in=lanes, lanes_out=lanes),
        attrs=layernorm.constants(x, eps) | {"shift": shift},
        params={"gamma": gamma, "beta": beta},
    )


def cases():
    return [case(seed, *shape) for seed, shape in enumerate(SHAPES)]


@pytest.mark.parametrize(("stall_in", "stall_out"), STALLS)
def test_rtl_equals_golden(stall_in, stall_out):
    assert check_units(cases(), stall_in=stall_in, stall_out=stall_out) > 25_000


def test_data_shows_rounding(monkeypatch):
    check_data([c for c in cases() if c.output.bits > 2], monkeypatch)


def test_a_token_takes_its_beats_or_the_slower_of_root_and_division():
    """In steady state: the tokens' steps overlap; 2 cycles more at most where all are about equal."""
    for shape in SHAPES:
        c = case(0, *shape[:-1], [10, 10, 12])
        attrs, beats = c.node.attrs, shape[0] // shape[1]
        slower = max(layernorm.serial_cycles(c.graph.tensor("x"), attrs["eps"], attrs["eps"], attrs["recip_bits"]))
        steady = intervals(c)[16:]
        assert max(beats, slower) <= steady.min() and steady.mean() <= max(beats, slower) + 2


def test_constant_tokens_give_beta():
    """Variance 0: the normalised value is 0, whatever the level."""
    c = case(0, *SHAPES[0])
    beta, shift = c.graph.params["y.beta"], c.node.attrs["shift"]
    want = np.clip((beta + (1 << shift >> 1)) >> shift, c.output.low, c.output.high)
    assert (golden(c)[:3] == want).all()


def test_normalised_value_stays_in_its_bound():
    """u_bound, which sizes the RTL's words, against the hardest token: one element far from all others."""
    for size in (2, 3, 4, 8, 48, 384, 1024):
        for bits in (2, 3, 8, 16):
            x = Tensor(name="x", shape=("T", size), bits=bits, signed=True)
            attrs = layernorm.constants(x, 0.0)
            data = np.full((2, size), x.low)
            data[0, 0], data[1, 0] = x.high, x.low + 1
            u = layernorm.layernorm(data, 1, 0, *attrs.values(), 0, 60)
            assert (
                np.abs(u).max() <= layernorm.u_bound(size, attrs["frac_bits"]) < 2 * math.sqrt(size) * 2 ** attrs["frac_bits"] + 2 ** (attrs["frac_bits"] + 1)
            )


def test_a_root_beyond_float64_is_refused():
    with pytest.raises(GraphError, match=r"reaches 18013848758910976, must stay below 2\*\*52 .* use fewer input bits"):
        case(0, 4096, 4, 16, 8, 1e-12, [8])


@pytest.mark.parametrize(("stall_in", "stall_out"), [(0, 0), (0.5, 0.5)])
def test_filled_streams_carry_the_same(stall_in, stall_out):
    """Mean and variance are those of the channels alone."""
    cases = []
    for index, blocks, space, lanes in ((2, 1, 50, 5), (2, 3, 20, 4), (4, 1, 6, 2), (9, 1, 8, 8), (10, 1, 42, 3)):  # shape, blocks, space, lanes
        layout = Layout(channels=SHAPES[index][0], blocks=blocks, space=space)
        cases.append(filled(case(index, *SHAPES[index]), layout_in=layout, layout_out=layout, lanes_in=lanes, lanes_out=lanes))
    assert check_units(cases, stall_in=stall_in, stall_out=stall_out) > 3000
