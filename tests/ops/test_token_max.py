# SPDX-License-Identifier: Apache-2.0
"""token_max: RTL against golden, bits and cycles."""

import numpy as np
import pytest
from operator_bench import RTL_FILES, check_units, filled, golden, intervals, make_case
from sweep import STALLS

from bitloom.hw.graph import GraphError, Tensor
from bitloom.hw.instance import Fold, Layout

# C, lanes, bits, signed, sentence lengths
SHAPES = [
    (16, 1, 8, True, [3, 1, 1, 1, 5]),
    (16, 4, 8, False, [3, 1, 1, 1, 5, 2]),
    (48, 2, 10, True, [1, 2, 3]),
    (4, 4, 3, True, [1, 1, 1, 9, 1, 2]),
    (1, 1, 8, False, [1, 1, 4, 1]),
    (2, 2, 16, True, [1, 2, 1, 1]),
    (12, 3, 1, False, [2, 2, 2]),
]
FAULTS = {
    "the sentence before": ("assign first = count_q == '0;", "assign first = 1'b0;"),
    "unsigned": ("$signed({SIGNED && x[W-1], x})", "$signed({1'b0, x})"),
    "one bank": ("into_q <= !into_q;", "into_q <= into_q;"),
    "lanes in another order": ("leaves[out_lane_q*OUT_W +: OUT_W]", "leaves[(LANES-1-out_lane_q)*OUT_W +: OUT_W]"),
    "the smallest": ("first || wide > old", "first || wide < old"),
}


def case(seed, channels, lanes, bits, signed, lengths, op="token_max", **more):
    x = Tensor(name="x", shape=("T", channels), bits=bits, signed=signed)
    y = Tensor(name="y", shape=(1, channels), bits=more.pop("out_bits", bits), signed=signed)
    data = np.random.default_rng(seed).integers(x.low, x.high + 1, (sum(lengths), channels))
    return make_case(op, [x], y, [data], lengths, fold=Fold(lanes_in=lanes, lanes_out=1), **more)


def cases():
    return [case(seed, *shape) for seed, shape in enumerate(SHAPES)]


@pytest.mark.parametrize(("stall_in", "stall_out"), STALLS)
def test_rtl_equals_golden(stall_in, stall_out):
    assert check_units(cases(), stall_in=stall_in, stall_out=stall_out) > 380


def test_golden_takes_each_sentences_own():
    c = case(0, 4, 1, 8, True, [2, 1, 3])
    x = c.data[0]
    assert (golden(c) == [x[:2].max(0), x[2], x[3:].max(0)]).all()


def test_sentence_interval():
    """A sentence leaves while the next one is taken: the longer of both."""
    for lanes in (1, 2, 4):
        assert set(intervals(case(0, 16, lanes, 8, True, [1] * 6))[1:].tolist()) == {16}
        assert set(intervals(case(0, 16, lanes, 8, True, [6] * 6))[1:].tolist()) == {6 * 16 // lanes}


@pytest.mark.slow
@pytest.mark.parametrize(("stall_in", "stall_out"), [(0, 0), (0.5, 0.5)])
def test_filled_streams_carry_the_same(stall_in, stall_out):
    wide = []
    for index, space, lanes in ((0, 20, 5), (2, 50, 5), (4, 2, 2)):
        layout = Layout(channels=SHAPES[index][0], space=space)
        wide.append(filled(case(index, *SHAPES[index]), layout_in=layout, layout_out=layout, lanes_in=lanes))
    assert check_units(wide, stall_in=stall_in, stall_out=stall_out) > 200


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_any_shape(seed):
    rng, drawn = np.random.default_rng(seed), []
    for _ in range(16):
        lanes, lengths = int(rng.integers(1, 5)), rng.integers(1, 9, 8).tolist()
        drawn.append(case(seed, lanes * int(rng.integers(1, 6)), lanes, int(rng.integers(2, 17)), bool(rng.integers(2)), lengths))
    assert check_units(drawn, seed=seed) == check_units(drawn, stall_in=0.4, stall_out=0.4, seed=seed) > 600


def test_what_it_refuses():
    with pytest.raises(GraphError, match="output got 7 bits, must be the input's 8"):
        case(0, 4, 1, 8, True, [2], out_bits=7)


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(fault, tmp_path, monkeypatch):
    monkeypatch.setenv("BITLOOM_BUILD", "quick")  # it simulates a moment
    right, wrong = FAULTS[fault]
    source = next(p for p in RTL_FILES if p.name == "pool.sv")
    assert source.read_text().count(right) == 1
    (tmp_path / source.name).write_text(source.read_text().replace(right, wrong))
    files = [tmp_path / source.name if p == source else p for p in RTL_FILES]
    with pytest.raises(Exception):  # noqa: B017  (a difference, or a simulation that ends without its beats)
        check_units(cases(), stall_in=0.5, stall_out=0.5, rtl_files=files)
