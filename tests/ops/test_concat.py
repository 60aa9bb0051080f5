# SPDX-License-Identifier: Apache-2.0
"""concat: RTL against golden, bits and cycles; of tokens and of vectors."""

import numpy as np
import pytest
from operator_bench import RTL_FILES, check_units, golden, intervals, make_case
from sweep import STALLS

from bitloom.hw.graph import GraphError, Tensor
from bitloom.hw.instance import Fold

# what, C of a, C of b, lanes, bits, signed, sentence lengths
SHAPES = [
    ("T", 8, 4, 1, 8, True, [3, 1, 5]),
    ("T", 8, 4, 4, 8, False, [3, 1, 1, 5]),
    ("T", 6, 6, 2, 10, True, [2, 1]),
    ("T", 2, 2, 2, 3, True, [1, 1, 7]),
    (1, 16, 3, 1, 8, True, [1, 4, 2]),
    (1, 1, 1, 1, 16, True, [1, 1, 2, 1]),
]
FAULTS = {
    "the wrong part first": ("second_q <= 1'b0;", "second_q <= 1'b1;"),
    "a part too short": ("BeatW'(B_BEATS - 1) : BeatW'(A_BEATS - 1)", "BeatW'(A_BEATS - 1) : BeatW'(B_BEATS - 1)"),
    "no last": ("m_last <= second_q && b_last;", "m_last <= !second_q && b_last;"),
}


def case(seed, what, a_channels, b_channels, lanes, bits, signed, lengths, b_bits=None):
    a = Tensor(name="a", shape=(what, a_channels), bits=bits, signed=signed)
    b = Tensor(name="b", shape=(what, b_channels), bits=b_bits or bits, signed=signed)
    y = Tensor(name="y", shape=(what, a_channels + b_channels), bits=bits, signed=signed)
    count, rng = sum(lengths) if what == "T" else len(lengths), np.random.default_rng(seed)
    data = [rng.integers(t.low, t.high + 1, (count, t.channels)) for t in (a, b)]
    return make_case("concat", [a, b], y, data, lengths, fold=Fold(lanes_in=lanes, lanes_out=lanes))


def cases():
    return [case(seed, *shape) for seed, shape in enumerate(SHAPES)]


@pytest.mark.parametrize(("stall_in", "stall_out"), STALLS)
def test_rtl_equals_golden(stall_in, stall_out):
    assert check_units(cases(), stall_in=stall_in, stall_out=stall_out) > 300


def test_golden_is_one_behind_the_other():
    c = case(0, *SHAPES[0])
    assert (golden(c)[:, :8] == c.data[0]).all() and (golden(c)[:, 8:] == c.data[1]).all()


def test_no_gap_between_tokens():
    assert set(intervals(case(0, "T", 8, 4, 4, 8, True, [3, 2, 5])).tolist()) == {3}


def test_what_it_refuses():
    with pytest.raises(GraphError, match="b got 7 bits, scale 1.0, must be 8, 1.0, signed True as the output"):
        case(0, "T", 8, 4, 4, 8, True, [3], b_bits=7)


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(fault, tmp_path, monkeypatch):
    monkeypatch.setenv("BITLOOM_BUILD", "quick")  # it simulates a moment
    right, wrong = FAULTS[fault]
    source = next(p for p in RTL_FILES if p.name == "concat.sv")
    assert source.read_text().count(right) == 1
    (tmp_path / source.name).write_text(source.read_text().replace(right, wrong))
    files = [tmp_path / source.name if p == source else p for p in RTL_FILES]
    with pytest.raises(Exception):  # noqa: B017  (a difference, or a simulation that ends without its beats)
        check_units(cases(), stall_in=0.5, stall_out=0.5, rtl_files=files)
