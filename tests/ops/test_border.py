# SPDX-License-Identifier: Apache-2.0
"""border: RTL against golden, bits and cycles."""

import numpy as np
import pytest
from operator_bench import check_units, golden, intervals, make_case
from sweep import STALLS

from bitloom.hw.graph import GraphError, Tensor
from bitloom.hw.instance import Fold
from bitloom.hw.ops import border

# C, lanes, bits, (tokens, border) of each sentence: none in the first, all, single tokens, one of each
SHAPES = [
    (4, 1, 11, [(3, 1), (1, 1), (1, 0), (5, 5), (5, 0), (2, 1), (9, 4)]),
    (4, 4, 3, [(1, 1), (1, 0), (1, 1), (7, 6), (7, 1), (2, 2), (1, 0)]),
    (1, 1, 2, [(4, 2), (1, 1), (1, 0), (3, 3)]),
    (12, 2, 16, [(2, 1)] * 6),
    (64, 4, 11, [(15, 7), (1, 1), (15, 15)]),
]


def case(seed, channels, lanes, bits, pairs):
    x = Tensor(name="x", shape=("T", channels), bits=bits, signed=True)
    lengths, borders = (np.array(part) for part in zip(*pairs, strict=True))
    data = np.random.default_rng(seed).integers(x.low, x.high + 1, (sum(lengths), channels))
    for end, n, first in zip(np.cumsum(lengths), lengths, borders, strict=True):
        data[end - n : end, 0] = data[end - n : end, 0] & ~1 | (np.arange(n) >= first)
        data[end - n + first + 1 : end, 0] ^= np.random.default_rng(end).integers(0, 2, max(n - first - 1, 0))  # only the first mark counts
    y = Tensor(name="y", shape=(1, 1), bits=5, signed=False)
    return make_case("border", [x], y, [data], lengths, fold=Fold(lanes_in=lanes), max_tokens=16, borders=borders)


# C, lanes, bits, tokens of the sentences of each pack: one, single tokens, both
PACKS = [
    (4, 1, 11, [(3,), (1, 1, 1), (1,), (4, 1, 5), (15,), (1, 14), (14, 1)]),
    (4, 4, 3, [(1, 1, 1, 1), (1,), (7, 6), (1, 7, 1), (2, 2), (1,) * 15]),
    (1, 1, 2, [(4,), (1,), (1, 2, 1), (3, 3)]),
    (12, 2, 16, [(2, 1)] * 6),
    (64, 4, 11, [(15,), (1, 1), (5, 5, 5)]),
]


def packs(seed, channels, lanes, bits, runs):
    x = Tensor(name="x", shape=("T", channels), bits=bits, signed=True)
    lengths = np.array([sum(own) for own in runs])
    data = np.random.default_rng(seed).integers(x.low, x.high + 1, (sum(lengths), channels))
    data[:, 0] &= ~1
    data[np.cumsum([n for own in runs for n in own]) - 1, 0] |= 1
    y = Tensor(name="y", shape=(1, 1), bits=5, signed=False)
    return make_case("border", [x], y, [data], lengths, fold=Fold(lanes_in=lanes), attrs={border.ENDS: 1}, max_tokens=16, borders=runs)


@pytest.mark.parametrize(("stall_in", "stall_out"), STALLS)
def test_sentences_of_a_pack(stall_in, stall_out):
    count = sum(len(own) for *_, runs in PACKS for own in runs)
    assert check_units([packs(seed, *shape) for seed, shape in enumerate(PACKS)], stall_in=stall_in, stall_out=stall_out) == count


def test_golden_counts_to_each_mark():
    for seed, shape in enumerate(PACKS):
        assert golden(packs(seed, *shape))[:, 0].tolist() == [n for own in shape[3] for n in own]


@pytest.mark.parametrize(("stall_in", "stall_out"), STALLS)
def test_rtl_equals_golden(stall_in, stall_out):
    assert check_units([case(seed, *shape) for seed, shape in enumerate(SHAPES)], stall_in=stall_in, stall_out=stall_out) == 27


def test_golden_counts_to_the_first_mark():
    for seed, shape in enumerate(SHAPES):
        assert golden(case(seed, *shape))[:, 0].tolist() == [first for _, first in shape[3]]


def test_marks_leave_the_sums():
    """2 x - s rounds back to x, and its lowest bit is the segment."""
    rng = np.random.default_rng(0)
    word, position, segment = (rng.integers(-127, 128, (n, 3)) for n in (5, 4, 2))
    marked = border.marked(word, position, segment)
    for s in (0, 1):
        sums, told = (tables[0][1] + tables[1][2] + tables[2][s] for tables in ((word, position, segment), marked))
        assert ((told + 1 >> 1) == sums).all() and (told & 1 == s).all()


def test_it_costs_no_cycle():
    """A beat a cycle; only the border of a sentence that is shorter than its own telling could hold one up."""
    assert set(intervals(case(0, 16, 2, 11, [(6, 6)] * 5))) == {6 * 8}


@pytest.mark.parametrize(("shape", "bits", "signed"), [((1, 1), 4, False), ((1, 1), 5, True), ((1, 2), 5, False)])
def test_another_output_is_refused(shape, bits, signed):
    x, y = Tensor(name="x", shape=("T", 4), bits=8, signed=True), Tensor(name="y", shape=shape, bits=bits, signed=signed)
    with pytest.raises(GraphError, match=r"border y: (output got . bits, must be 5, unsigned, for 16 tokens|shapes got .*, must be \('T', C\) -> \(1, 1\))"):
        make_case("border", [x], y, [np.zeros((1, 4))], [1], fold=Fold(), max_tokens=16)
