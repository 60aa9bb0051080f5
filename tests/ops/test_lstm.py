# SPDX-License-Identifier: Apache-2.0
"""lstm: RTL against golden, bits and cycles; golden against a plain LSTM, and against ONNX Runtime."""

import math
from dataclasses import replace

import numpy as np
import pytest
from matrix_data import corners
from operator_bench import check_data, check_units, filled, golden, intervals, make_case
from sweep import STALLS, corners_or_all

from bitloom.hw.graph import GraphError, Tensor
from bitloom.hw.instance import Fold, Layout
from bitloom.hw.ops import linear, lstm
from bitloom.hw.ops.common import largest

LENGTHS = (1, 4, 1, 1, 3, 2, 5, 1, 6, 6, 2)
# X, H, PE, SIMD, lanes in, lanes out, places, bits of x, signed, of weights, of h, of gates, of i f g o, of the cell, of tanh's input; backward, last
SHAPES = [
    (8, 4, 4, 4, 2, 1, 3, 8, True, 4, 8, 8, 8, 16, 8, False, False),
    (8, 4, 4, 4, 2, 1, 4, 8, True, 4, 8, 8, 8, 16, 8, True, False),
    (6, 6, 8, 2, 1, 1, 3, 8, True, 8, 8, 8, 8, 16, 10, False, True),
    (6, 6, 24, 6, 3, 3, 8, 8, False, 3, 8, 8, 8, 12, 8, True, True),  # a step takes two cycles
    (4, 4, 16, 4, 4, 2, 8, 5, True, 1, 6, 6, 5, 10, 7, False, False),  # the beats bind
    (1, 1, 4, 1, 1, 1, 1, 8, True, 8, 8, 8, 8, 16, 10, False, False),  # one place
    (1, 2, 8, 1, 1, 1, 2, 3, False, 2, 2, 4, 3, 6, 4, True, True),
    (12, 3, 4, 3, 3, 1, 5, 4, True, 5, 5, 10, 6, 14, 9, True, False),
    (32, 2, 4, 1, 1, 1, 4, 8, True, 6, 8, 8, 8, 16, 8, False, True),  # h is there before it is asked for
    (5, 10, 20, 5, 5, 1, 6, 16, True, 7, 12, 9, 8, 15, 9, False, False),
    (17, 17, 68, 17, 17, 17, 16, 1, False, 4, 8, 8, 8, 16, 8, True, False),  # one fold of two steps, three stages of adders
    (3, 6, 8, 3, 1, 1, 3, 8, True, 2, 4, 8, 8, 8, 8, False, True),
]
STYLES = [(SHAPES[0], "one"), (SHAPES[1], "lut"), (SHAPES[3], "two"), (SHAPES[9], "one")]
# Streams that are filled up: a shape, with PE, SIMD and lanes of the filled widths; space of the inputs and of the outputs
FILLED = [
    ((7, 5, 8, 2, 2, 2, 4, 8, True, 4, 8, 8, 8, 16, 8, False, False), 8, 6),
    ((7, 5, 12, 2, 2, 1, 3, 8, True, 1, 8, 8, 8, 16, 8, True, True), 8, 6),  # weights of one bit: what is in the filled inputs must be zero
    ((5, 7, 16, 4, 4, 2, 8, 6, False, 3, 6, 8, 7, 16, 8, True, False), 8, 8),
]


def make(seed, shape, style=None, lengths=LENGTHS):
    """A layer with random weights, scaled so that its gates spread over their range; its first two rows have the smallest and the largest weights."""
    inputs, hidden, pe, simd, lanes_in, lanes_out, places, bits, signed, weight_bits, h_bits, gate_bits, act_bits, cell_bits, tanh_bits, back, last = shape
    rng = np.random.default_rng(seed)
    low, high = linear.weight_range(weight_bits)
    weight = rng.integers(low, high + 1, (4 * hidden, inputs + hidden))
    if weight_bits == 1:
        weight = rng.choice([-1, 1], weight.shape)
    weight[0], weight[1] = low, high
    x = Tensor(name="x", shape=("T", inputs), bits=bits, signed=signed)
    spread = math.sqrt((weight**2).mean() * (inputs * largest(x) ** 2 + hidden * 4.0 ** (h_bits - 2)) / 3)
    bias = np.floor(rng.normal(0, spread / 2, 4 * hidden) + np.repeat([0, spread, 0, 0], hidden)).astype(np.int64)
    ratio = 2.0 ** (gate_bits - 1) / (3 * max(spread, 1)) * rng.uniform(0.6, 1.4, 4 * hidden)
    shift = 15 - math.floor(math.log2(ratio.max()))
    mult = np.clip(np.floor(ratio * 2.0**shift + 0.5), 1, 65535).astype(np.int64)
    k = lstm.shifts(act_bits, gate_bits, cell_bits, tanh_bits, min(h_bits, 2 * act_bits))
    gates, tanh = lstm.tables(k)
    return make_case(
        "lstm",
        [x],
        Tensor(name="y", shape=(1 if last else "T", hidden), bits=h_bits, signed=True),
        [corners(rng, x, sum(lengths))],
        lengths,
        attrs={"weight_bits": weight_bits, "direction": "backward" if back else "forward", "shift": shift} | k,
        params={"weight": weight, "bias": bias, "mult": mult, "gates": gates, "tanh": tanh},
        fold=Fold(pe=pe, simd=simd, lanes_in=lanes_in, lanes_out=lanes_out, in_flight=places, multiplier=style),
        max_tokens=max(lengths),
    )


CASES = [*(make(seed, shape) for seed, shape in enumerate(SHAPES)), *(make(50 + i, *case) for i, case in enumerate(STYLES))]
CORNERS = (1, 3, 4, 5, 8, 9)


def filled_cases():
    cases = []
    for seed, (shape, into, out_of) in enumerate(FILLED):
        layouts = Layout(channels=shape[0], space=into), Layout(channels=shape[1], space=out_of)
        cases.append(filled(make(80 + seed, shape), layout_in=layouts[0], layout_out=layouts[1]))
    return cases


@pytest.mark.parametrize("cases", corners_or_all(CASES, CORNERS))
@pytest.mark.parametrize(("stall_in", "stall_out"), STALLS)
def test_rtl_equals_golden(stall_in, stall_out, cases):
    assert check_units(cases, stall_in=stall_in, stall_out=stall_out) > 500
