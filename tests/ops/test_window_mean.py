# SPDX-License-Identifier: Apache-2.0
"""window_mean: RTL against golden, bits and cycles; how near it is to the mean of the tokens that a window has."""

import numpy as np
import pytest
from operator_bench import RTL_FILES, check_data, check_units, filled, golden
from ops.test_window_max import case as pooled
from sweep import STALLS

from bitloom.hw.graph import GraphError
from bitloom.hw.instance import Layout
from bitloom.hw.ops.token_mean import reciprocal_bits

# C, kernel, stride, lanes, bits, signed, sentence lengths, bits of y, by how many octaves y is coarser than x
SHAPES = [
    (4, 2, 2, 2, 8, True, [7, 1, 1, 1, 2, 3, 12], 8, 0),
    (8, 3, 1, 1, 8, False, [9, 1, 2, 1, 1, 1, 1, 5], 8, -1),
    (6, 3, 2, 3, 4, True, [3, 14, 1, 4, 5, 2], 6, -2),
    (6, 4, 4, 6, 8, True, [2, 1, 9, 1, 1, 4, 8, 16], 7, 1),  # a beat a token
    (3, 5, 3, 1, 16, True, [1, 1, 5, 2, 16], 16, -1),
    (12, 2, 1, 4, 1, False, [4, 3, 1, 1, 8], 3, -2),
    (4, 8, 8, 4, 10, True, [16, 16, 1, 15, 2], 8, 1),
]
FAULTS = {
    "no rounding": ("(RoundW'(product) + half)", "RoundW'(product)"),
    "all windows are whole": ("count_q[(Stages-1)*CountW +: CountW] == CountW'(n)", "n == KERNEL"),
    "unsigned": ("$signed({SIGNED && x[W-1], x})", "$signed({1'b0, x})"),
    "not clipped": ("y > RoundW'(High) ? High[OUT_W-1:0] :", ""),
    "a count too late": ("(Stages*CountW)'({count_q, count})", "{Stages{count}}"),
}


def case(seed, channels, kernel, stride, lanes, bits, signed, lengths, out_bits, octaves):
    k = reciprocal_bits(bits, kernel)
    attrs = {"recip_bits": k, "shift": k + octaves}
    return pooled(seed, channels, kernel, stride, lanes, bits, signed, lengths, "window_mean", out_bits=out_bits, attrs=attrs)


def cases():
    return [case(seed, *shape) for seed, shape in enumerate(SHAPES)]


@pytest.mark.parametrize(("stall_in", "stall_out"), [STALLS[0], pytest.param(0.5, 0.5, marks=pytest.mark.slow)])  # its window's stalls: test_token_window.py
def test_rtl_equals_golden(stall_in, stall_out):
    assert check_units(cases(), stall_in=stall_in, stall_out=stall_out) > 500


def test_data_shows_rounding(monkeypatch):
    check_data([c for c in cases() if c.output.bits > 6], monkeypatch, saturated=0.9)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_any_shape(seed):
    rng, drawn = np.random.default_rng(seed), []
    for _ in range(12):
        kernel, lanes, bits = int(rng.integers(2, 9)), int(rng.integers(1, 5)), int(rng.integers(1, 17))
        lengths = np.where(rng.integers(2, size=12), rng.integers(1, 17, 12), rng.integers(1, 4, 12)).tolist()
        shape = (lanes * int(rng.integers(1, 6)), kernel, int(rng.integers(1, kernel + 1)), lanes, bits, bool(rng.integers(2)), lengths)
        drawn.append(case(seed, *shape, min(16, bits + int(rng.integers(3))), int(rng.integers(-2, 2))))
    assert check_units(drawn, seed=seed) == check_units(drawn, stall_in=0.4, stall_out=0.4, seed=seed) > 1000


@pytest.mark.slow
def test_filled_streams_carry_the_same():
    wide = []
    for index, blocks, space, lanes in ((0, 1, 5, 5), (1, 2, 6, 3), (3, 1, 9, 3)):
        layout = Layout(channels=SHAPES[index][0], blocks=blocks, space=space)
        wide.append(filled(case(index, *SHAPES[index]), layout_in=layout, layout_out=layout, lanes_in=lanes, lanes_out=lanes))
    assert check_units(wide, stall_in=0.5, stall_out=0.5) > 200


@pytest.mark.parametrize("kernel", [2, 3, 4, 7])
def test_it_is_the_mean_of_the_tokens_that_are_there(kernel):
    """Within a sixteenth of an LSB of x beside rounding; what is beyond the ends does not count."""
    c = case(kernel, 5, kernel, kernel, 1, 8, True, [16, 1, 2, 7, 13], 8, 0)
    parts = [s[i : i + kernel] for s in np.split(c.data[0], np.cumsum(c.lengths)[:-1]) for i in range(0, len(s), kernel)]
    assert np.abs(golden(c) - [part.mean(0) for part in parts]).max() <= 0.5 + 1 / 16


def test_what_it_refuses():
    with pytest.raises(GraphError, match="recip_bits got 9, must be 12 for 8 bits and kernel 2"):
        pooled(0, 4, 2, 2, 1, 8, True, [2], "window_mean", attrs={"recip_bits": 9, "shift": 9})
    with pytest.raises(GraphError, match="shift got 48, must be 0 .. 47"):
        pooled(0, 4, 2, 2, 1, 8, True, [2], "window_mean", attrs={"recip_bits": 12, "shift": 48})


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(fault, tmp_path, monkeypatch):
    monkeypatch.setenv("BITLOOM_BUILD", "quick")  # it simulates a moment
    right, wrong = FAULTS[fault]
    source = next(p for p in RTL_FILES if p.name == "window_mean.sv")
    assert source.read_text().count(right) == 1
    (tmp_path / source.name).write_text(source.read_text().replace(right, wrong))
    files = [tmp_path / source.name if p == source else p for p in RTL_FILES]
    with pytest.raises(Exception):  # noqa: B017  (a difference, or a simulation that ends without its beats)
        check_units(cases(), stall_in=0.5, stall_out=0.5, rtl_files=files)
