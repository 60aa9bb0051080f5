# SPDX-License-Identifier: Apache-2.0
"""linear: RTL against golden, bits and cycles."""

import numpy as np
import pytest
from matrix_data import corners
from operator_bench import check_units, filled, intervals, make_case
from sweep import STALLS, corners_or_all

from bitloom.hw.graph import GraphError, Tensor, signed_bits
from bitloom.hw.instance import Fold, Layout
from bitloom.hw.ops import linear
from bitloom.hw.ops.common import largest

LENGTHS = (1, 4, 1, 1, 3, 2, 5)
# K, C, PE, SIMD, lanes in, lanes out, input bits, signed, weight bits
SHAPES = [
    (8, 6, 3, 4, 2, 1, 8, True, 4),
    (12, 6, 2, 3, 1, 2, 4, False, 3),
    (4, 4, 4, 4, 4, 1, 8, True, 1),  # one step a fold: the output beats bind
    (10, 4, 4, 5, 5, 4, 6, False, 2),
    (1, 1, 1, 1, 1, 1, 8, True, 8),
    (24, 12, 4, 8, 2, 4, 8, False, 8),
    (128, 16, 8, 16, 2, 2, 8, True, 4),
    (9, 5, 1, 1, 1, 1, 3, True, 5),
    (8, 2, 2, 8, 1, 1, 8, True, 6),  # the input beats bind
    (7, 3, 3, 7, 7, 1, 2, False, 7),
    (6, 4, 2, 2, 1, 1, 16, True, 2),
    (34, 2, 2, 17, 1, 1, 1, False, 1),  # three stages of adders
]
# Shapes with another style of multipliers than the rule's (hw/cost/multipliers.py)
STYLES = [
    ((8, 6, 3, 4, 2, 1, 8, True, 4), "one"),
    ((8, 6, 3, 4, 2, 1, 8, False, 4), "lut"),
    ((6, 4, 4, 3, 1, 1, 8, True, 8), "two"),  # a pair of 25 by 9 bits
    ((16, 5, 5, 16, 1, 1, 8, False, 4), "two"),
    ((12, 6, 2, 6, 1, 1, 5, True, 3), "lut"),
    ((5, 4, 4, 5, 5, 4, 6, False, 2), "two"),
    ((9, 3, 1, 9, 1, 1, 8, True, 4), "two"),  # no second row
    ((34, 4, 2, 17, 1, 1, 8, False, 7), "lut"),
]
# The same of layers without the least weight, so that more fit a multiplier
NARROW = [
    ((8, 8, 4, 4, 2, 2, 4, True, 4), "four"),
    ((9, 7, 7, 3, 1, 1, 4, True, 4), "three"),  # the third multiplier has one row
    ((6, 5, 5, 6, 1, 1, 4, False, 3), "four"),
    ((8, 6, 3, 4, 2, 1, 8, True, 4), "two"),
]


# Streams that are filled up: shape as above, with PE, SIMD and lanes of the filled widths; blocks and their space, of the inputs and of the outputs
FILLED = [
    ((7, 5, 3, 4, 2, 3, 8, True, 4), (1, 8), (1, 6)),
    ((7, 6, 4, 4, 4, 2, 8, True, 4), (1, 8), (2, 4)),  # heads of 3 channels in 4 places
    ((6, 5, 5, 4, 2, 5, 8, False, 1), (2, 4), (1, 5)),  # weights of one bit: what is in the filled inputs must be zero
    ((8, 5, 2, 8, 8, 2, 4, True, 1), (1, 8), (1, 6)),
    ((23, 37, 5, 4, 2, 5, 8, True, 3), (1, 24), (1, 40)),
]
# The same with codebooks, by their place above: bits of an index, whether each channel has its own
FILLED_CODEBOOKS = [(0, 2, False), (1, 1, True), (1, 1, False), (4, 3, False), (4, 1, True)]


def filled_cases():
    cases = []
    coded = [(place, dict(index=index, each=each)) for place, index, each in FILLED_CODEBOOKS]
    for seed, (place, how) in enumerate([*((place, {}) for place in range(len(FILLED))), *coded]):
        shape, (blocks_in, space_in), (blocks_out, space_out) = FILLED[place]
        layouts = Layout(channels=shape[0], blocks=blocks_in, space=space_in), Layout(channels=shape[1], blocks=blocks_out, space=space_out)
        cases.append(filled(make(seed, shape, **how), layout_in=layouts[0], layout_out=layouts[1]))
    return cases


def make(seed, shape, style=None, lengths=LENGTHS, rows="T", index=0, each=False, narrow=False):
    """A layer with random weights and biases; its first channels have the smallest and the largest weights.

    index  bits of its codebook's, 0: none; each: of each channel's
    narrow without the smallest weight that its bits have
    """
    inputs, channels, pe, simd, lanes_in, lanes_out, bits, signed, weight_bits = shape
    rng = np.random.default_rng(seed)
    low, high = linear.weight_range(weight_bits)
    low += narrow
    weight = rng.integers(low, high + 1, (channels, inputs))
    if weight_bits == 1:
        weight = rng.choice([-1, 1], weight.shape)
    weight[0], weight[1 % channels] = low, high
    params = {}
    if index:
        book = np.sort(rng.integers(low, high + 1, (channels if each else 1, 1 << index)))
        book[0, 0], book[0, -1] = low, high
        chosen = rng.integers(0, 1 << index, weight.shape)
        chosen[0], chosen[1 % channels] = 0, -1
        weight, params = np.take_along_axis(np.broadcast_to(book, (channels, 1 << index)), chosen % (1 << index), axis=1), {"codebook": book}
    bias = rng.integers(-500, 500, channels)
    x = Tensor(name="x", shape=(rows, inputs), bits=bits, signed=signed)
    y = Tensor(name="y", shape=(rows, channels), bits=signed_bits(linear.bound(weight, bias, largest(x))), signed=True)
    codes = corners(rng, x, sum(lengths) if rows == "T" else len(lengths))
    return make_case(
        "linear",
        [x],
        y,
        [codes],
        lengths,
        attrs={"weight_bits": weight_bits} | ({"index_bits": index} if index else {}),
        params={"weight": weight, "bias": bias} | params,
        fold=Fold(pe=pe, simd=simd, lanes_in=lanes_in, lanes_out=lanes_out, multiplier=style),
    )


# Codebooks: shape as above, bits of an index, whether each channel has its own
CODEBOOKS = [
    ((8, 6, 3, 4, 2, 1, 8, True, 4), 2, False),
    ((12, 6, 2, 3, 1, 2, 4, False, 8), 4, False),
    ((4, 4, 4, 4, 4, 1, 8, True, 8), 3, False),  # one step a fold: the output beats bind
    ((24, 12, 4, 8, 2, 4, 8, False, 5), 4, False),
    ((1, 1, 1, 1, 1, 1, 8, True, 3), 2, False),
    ((8, 2, 2, 8, 1, 1, 8, True, 6), 2, False),  # the input beats bind
    ((6, 4, 2, 2, 1, 1, 16, True, 2), 2, False),
    ((8, 6, 3, 4, 2, 1, 8, True, 4), 1, False),  # two values: sums, not products
    ((4, 4, 4, 4, 4, 1, 8, True, 8), 1, True),
    ((24, 12, 4, 8, 2, 4, 8, False, 8), 1, True),
    ((24, 12, 4, 8, 2, 4, 8, False, 6), 1, False),
    ((1, 1, 1, 1, 1, 1, 8, True, 8), 1, True),
    ((20, 6, 6, 20, 1, 1, 1, False, 2), 1, True),
    ((34, 4, 2, 17, 1, 1, 16, True, 8), 1, False),  # sums of more than 18 bits
]
CASES = [
    *(make(seed, shape) for seed, shape in enumerate(SHAPES)),
    *(make(50 + i, *case) for i, case in enumerate(STYLES)),
    *(make(70 + i, shape, index=index, each=each) for i, (shape, index, each) in enumerate(CODEBOOKS)),
    make(99, SHAPES[0], rows=1),
    *(make(110 + i, *case, narrow=True) for i, case in enumerate(NARROW)),
]
# Beats that bind on either side, signed and not, 1 to 16 bits; each style; codebooks of a layer and of each channel, of two values and of more; one row; three and four rows in a multiplier
CORNERS = (2, 3, 4, 8, 10, 11, 12, 13, 14, 17, 18, 20, 22, 27, 28, 33, 34, 35, 36)


@pytest.mark.parametrize("cases", corners_or_all(CASES, CORNERS))
@pytest.mark.parametrize(("stall_in", "stall_out"), STALLS)
def test_rtl_equals_golden(stall_in, stall_out, cases):
    assert check_units(cases, stall_in=stall_in, stall_out=stall_out) > 1000


def test_no_cycle_is_lost_between_tokens():
    """The modelled cycles, which the RTL keeps exactly, are the contract's once both token buffers have filled."""
    for case in CASES[:-1]:
        per_token = linear.interval(case.graph, case.node, case.fold, 1)
        assert set(intervals(case)[1:]) == {per_token}, case.fold


def test_golden_by_hand():
    x, weight, bias = np.array([[1, -2], [3, 4]]), np.array([[5, 6], [-7, 8], [0, 1]]), np.array([1, 2, 3])
    assert linear.linear(x, weight, bias, 4).tolist() == [[-6, -21, 1], [40, 13, 7]]


def test_a_narrow_accumulator_is_refused():
    x = Tensor(name="x", shape=("T", 2), bits=8, signed=True)
    params = {"weight": [[7, 7]], "bias": [0]}
    with pytest.raises(GraphError, match="output got 11 bits, must be at least 12"):
        make_case(
            "linear",
            [x],
            Tensor(name="y", shape=("T", 1), bits=11, signed=True),
            [[[0, 0]]],
            [1],
            attrs={"weight_bits": 4},
            params=params,
            fold=Fold(),
        )


@pytest.mark.parametrize("cases", corners_or_all(filled_cases(), (0, 2, 4, 5, 6)))
@pytest.mark.parametrize(("stall_in", "stall_out"), [(0.0, 0.0), (0.5, 0.5)])
def test_filled_streams_carry_the_same(stall_in, stall_out, cases):
    assert check_units(cases, stall_in=stall_in, stall_out=stall_out) > 900
