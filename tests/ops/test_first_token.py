# SPDX-License-Identifier: Apache-2.0
"""first_token: RTL against golden, bits and cycles."""

import numpy as np
import pytest
from operator_bench import check_units, filled, golden, intervals, make_case
from sweep import STALLS

from bitloom.hw.graph import GraphError, Tensor
from bitloom.hw.instance import Fold, Layout

# C, lanes, bits, sentence lengths
SHAPES = [
    (16, 1, 8, [3, 1, 1, 1, 5]),
    (16, 4, 8, [3, 1, 1, 1, 5, 2]),
    (48, 2, 10, [1, 2, 3]),
    (4, 4, 3, [1, 1, 1, 9, 1, 2]),
    (1, 1, 8, [1, 1, 4, 1]),
    (2, 2, 16, [1, 2, 1, 1]),
    (128, 4, 8, [12, 1, 30]),
    (12, 2, 1, [2, 2, 2]),
]


# C, lanes, bits, tokens of the sentences of each pack
PACKS = [
    (16, 1, 8, [(3, 1), (1, 1, 1), (5,)]),
    (16, 4, 8, [(3,), (1, 1), (1, 5, 2), (1,), (7, 1)]),
    (48, 2, 10, [(1, 2), (3,), (2, 1)]),
    (4, 4, 3, [(1,) * 9, (9,), (1, 2), (2, 1)]),
    (1, 1, 8, [(1,), (1, 4), (1, 1, 1)]),
    (2, 2, 16, [(1, 2), (1, 1)]),
    (128, 4, 8, [(12, 1), (30,), (10, 10, 10)]),
]


def packs(seed, channels, lanes, bits, runs):
    alone = case(seed, channels, lanes, bits, [n for own in runs for n in own])
    x, y = alone.graph.tensor("x"), alone.output
    told = Tensor(name="b", shape=(1, 1), bits=7, signed=False)
    return make_case("first_token", [x, told], y, [*alone.data, alone.lengths[:, None]], [sum(own) for own in runs], fold=alone.fold, borders=runs)


@pytest.mark.parametrize(("stall_in", "stall_out"), STALLS)
def test_sentences_of_a_pack(stall_in, stall_out):
    assert check_units([packs(seed, *shape) for seed, shape in enumerate(PACKS)], stall_in=stall_in, stall_out=stall_out) > 700


def test_golden_picks_each_sentence_of_a_pack():
    c = packs(0, 4, 1, 8, [(2, 1), (3,)])
    assert (golden(c) == c.data[0][[0, 2, 3]]).all()


def test_another_second_input_is_refused():
    x, b = (Tensor(name=name, shape=("T", 4), bits=8, signed=True) for name in ("x", "b"))
    y = Tensor(name="y", shape=(1, 4), bits=8, signed=True)
    with pytest.raises(GraphError, match=r"first_token y: got a second input, must be a border \(1, 1\)"):
        make_case("first_token", [x, b], y, [np.zeros((1, 4))] * 2, [1], fold=Fold())


def case(seed, channels, lanes, bits, lengths):
    x = Tensor(name="x", shape=("T", channels), bits=bits, signed=True)
    y = Tensor(name="y", shape=(1, channels), bits=bits, signed=True)
    data = np.random.default_rng(seed).integers(x.low, x.high + 1, (sum(lengths), channels))
    return make_case("first_token", [x], y, [data], lengths, fold=Fold(lanes_in=lanes, lanes_out=1))


@pytest.mark.parametrize(("stall_in", "stall_out"), STALLS)
def test_rtl_equals_golden(stall_in, stall_out):
    assert check_units([case(seed, *shape) for seed, shape in enumerate(SHAPES)], stall_in=stall_in, stall_out=stall_out) > 700


def test_golden_picks_each_sentence():
    c = case(0, 4, 1, 8, [2, 1, 3])
    assert (golden(c) == c.data[0][[0, 2, 3]]).all()


def test_sentence_interval():
    """C + (T-1)*C/LANES cycles, less LANES-1 where another token follows the first."""
    for lanes in (1, 2, 4):
        assert set(intervals(case(0, 16, lanes, 8, [1] * 5)).tolist()) == {16}
        assert set(intervals(case(0, 16, lanes, 8, [6] * 5)).tolist()) == {16 + 5 * 16 // lanes - (lanes - 1)}


@pytest.mark.parametrize(("stall_in", "stall_out"), [(0, 0), (0.5, 0.5)])
def test_filled_streams_carry_the_same(stall_in, stall_out):
    cases = []
    for index, space, lanes in ((0, 20, 5), (2, 50, 5), (4, 2, 2)):
        layout = Layout(channels=SHAPES[index][0], space=space)
        cases.append(filled(case(index, *SHAPES[index]), layout_in=layout, layout_out=layout, lanes_in=lanes))
    assert check_units(cases, stall_in=stall_in, stall_out=stall_out) > 200
