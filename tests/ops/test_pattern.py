# SPDX-License-Identifier: Apache-2.0
"""pattern: RTL against golden, bits and cycles."""

import numpy as np
import pytest
from matrix_data import corners
from operator_bench import check_units, filled, golden, intervals, make_case
from sweep import STALLS

from bitloom.hw.graph import GraphError, Tensor, signed_bits
from bitloom.hw.instance import Fold, Layout
from bitloom.hw.ops import pattern
from bitloom.hw.ops.common import largest

# patterns, elements per head, lanes, bits
SHAPES = [
    ("current", 4, 2, 8),
    ("previous", 1, 1, 4),
    ("next", 3, 1, 8),
    ("previous next", 4, 2, 8),
    ("left right", 2, 1, 6),
    ("current previous next left right", 4, 10, 8),
    ("right left next", 5, 3, 16),
    ("left", 8, 8, 2),
]
LENGTHS = (1, 9, 1, 1, 2, 12, 3, 1, 6, 12, 4, *[1] * 20, 5, 12)


def case(seed, patterns, width, lanes, bits, lengths=LENGTHS):
    heads = len(patterns.split())
    v = Tensor(name="v", shape=("T", heads * width), bits=bits, signed=True)
    y = Tensor(name="y", shape=v.shape, bits=signed_bits(largest(v) << pattern.SHIFT), signed=True)
    data = corners(np.random.default_rng(seed), v, sum(lengths))
    fold = Fold(lanes_in=lanes, lanes_out=lanes)
    return make_case("pattern", [v], y, [data], lengths, attrs={"patterns": patterns}, fold=fold, max_tokens=12)


@pytest.mark.parametrize(("stall_in", "stall_out"), STALLS)
def test_rtl_equals_golden(stall_in, stall_out):
    assert check_units([case(seed, *shape) for seed, shape in enumerate(SHAPES)], stall_in=stall_in, stall_out=stall_out) > 1500


def filled_cases():
    cases = []
    for index, space, lanes in ((3, 10, 5), (6, 20, 4)):
        layout = Layout(channels=case(0, *SHAPES[index]).output.channels, space=space)
        cases.append(filled(case(index, *SHAPES[index]), layout_in=layout, layout_out=layout, lanes_in=lanes, lanes_out=lanes))
    return cases


@pytest.mark.parametrize(("stall_in", "stall_out"), [(0.0, 0.0), (0.5, 0.5)])
def test_filled_streams_carry_the_same(stall_in, stall_out):
    assert check_units(filled_cases(), stall_in=stall_in, stall_out=stall_out) > 1000


def test_golden_by_hand():
    """A sentence of 4; what lies beyond it is its first or last token."""
    v, one = np.array([[1], [10], [100], [1000]]), lambda name: pattern.pattern(np.array([[1], [10], [100], [1000]]), [pattern.PATTERNS[name]])[:, 0].tolist()
    assert one("current") == [64, 640, 6400, 64000] and one("previous") == [64, 64, 640, 6400] and one("next") == [640, 6400, 64000, 64000]
    assert one("left") == [64, 64, 64, 41 * 10 + 23] and one("right") == [41 * 100 + 23 * 1000, 64000, 64000, 64000]
    both = pattern.pattern(np.concatenate([v, v], axis=1), [pattern.PATTERNS["previous"], pattern.PATTERNS["next"]])
    assert both.T.tolist() == [one("previous"), one("next")]


def test_sentences_do_not_see_each_other():
    c = case(0, "left right", 2, 1, 8, (3, 4))
    alone = [pattern.pattern(part, pattern.heads_of(c.node)) for part in np.split(c.data[0], [3])]
    assert (golden(c) == np.concatenate(alone)).all()


@pytest.mark.parametrize("name", pattern.PATTERNS)
def test_weights_sum_to_one(name):
    """Those of a wider context are cubes of 4 .. 1 over their sum, rounded."""
    weights = list(pattern.PATTERNS[name].values())
    assert sum(weights) == 1 << pattern.SHIFT
    if len(weights) > 1:
        cubes = np.arange(4, 0, -1) ** 3
        assert weights == np.round(64 * cubes / cubes.sum()).tolist()


def test_it_costs_no_cycle():
    """A beat a cycle, across sentences too."""
    assert set(intervals(case(0, "left right", 4, 2, 8, (12, 12, 1, 1, 12))).tolist()) == {4}


@pytest.mark.parametrize(
    ("patterns", "text"),
    [
        ("", "patterns got '', must be of current, previous, next, left, right, with blanks between"),
        ("left up", "patterns got 'left up', must be of current"),
        ("left right next", r"v, output got \('T', 4\), \('T', 4\), must be equal, divisible by 3 heads"),
    ],
)
def test_what_is_no_pattern_is_refused(patterns, text):
    v = Tensor(name="v", shape=("T", 4), bits=8, signed=True)
    with pytest.raises(GraphError, match=text):
        make_case("pattern", [v], Tensor(name="y", shape=v.shape, bits=15, signed=True), [np.zeros((1, 4))], [1], attrs={"patterns": patterns}, fold=Fold())
