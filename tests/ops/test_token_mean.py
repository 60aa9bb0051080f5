# SPDX-License-Identifier: Apache-2.0
"""token_mean: RTL against golden, bits and cycles; how near it is to the mean."""

import numpy as np
import pytest
from operator_bench import RTL_FILES, check_data, check_units, filled, golden, intervals
from ops.test_token_max import case as pooled
from sweep import STALLS

from bitloom.hw.graph import GraphError
from bitloom.hw.instance import Layout
from bitloom.hw.ops.token_mean import reciprocal_bits, token_mean

# C, lanes, bits, signed, sentence lengths, bits of y, by how many octaves y is coarser than x, max_tokens
SHAPES = [
    (16, 1, 8, True, [3, 1, 1, 1, 5], 8, 0, 64),
    (16, 4, 8, False, [3, 1, 7, 1, 5, 2], 8, -1, 8),
    (48, 2, 10, True, [1, 2, 3], 8, 1, 512),
    (4, 4, 3, True, [1, 1, 1, 9, 1, 2], 5, -3, 9),
    (1, 1, 8, False, [1, 1, 4, 1, 6, 6, 6, 3], 6, 1, 10),
    (2, 2, 16, True, [1, 2, 1, 1, 37], 16, -1, 37),
    (12, 3, 1, False, [2, 2, 2, 3], 4, -4, 3),
]
FAULTS = {
    "no rounding": ("(RoundW'(product) + half)", "RoundW'(product)"),
    "the reciprocal of the sentence before": ("m_ready(move && sum_last), .m_data(recip)", "m_ready(1'b0), .m_data(recip)"),
    "not clipped": ("y > RoundW'(High) ? High[OUT_W-1:0] :", ""),
    "a token too few": (".s_data(tokens)", ".s_data(tokens == CountW'(1) ? tokens : tokens - 1'b1)"),
}


def case(seed, channels, lanes, bits, signed, lengths, out_bits, octaves, max_tokens):
    k = reciprocal_bits(bits, max_tokens)
    attrs = {"recip_bits": k, "shift": k + octaves}
    return pooled(seed, channels, lanes, bits, signed, lengths, "token_mean", out_bits=out_bits, attrs=attrs, max_tokens=max_tokens)


def cases():
    return [case(seed, *shape) for seed, shape in enumerate(SHAPES)]


@pytest.mark.parametrize(("stall_in", "stall_out"), STALLS)
def test_rtl_equals_golden(stall_in, stall_out):
    assert check_units(cases(), stall_in=stall_in, stall_out=stall_out) > 400


def test_data_shows_rounding(monkeypatch):
    check_data([c for c in cases() if c.output.bits > 4], monkeypatch, saturated=0.9)


@pytest.mark.parametrize("bits", [2, 8, 16])
def test_it_is_nearest_to_the_mean_but_for_near_ties(bits):
    """The reciprocal's error is at most a sixteenth of an LSB of x."""
    rng, lengths = np.random.default_rng(bits), rng_lengths()
    x = rng.integers(-(1 << bits - 1), 1 << bits - 1, (lengths.sum(), 5))
    k = reciprocal_bits(bits, 512)
    got = token_mean(x, lengths, k, k, bits, True)
    exact = np.stack([part.mean(0) for part in np.split(x, np.cumsum(lengths)[:-1])])
    assert np.abs(got - exact).max() <= 0.5 + 1 / 16


def rng_lengths():
    return np.array([1, 2, 3, 7, 64, 100, 511, 512])


def test_one_token_is_its_own_mean():
    c = case(0, 4, 1, 8, True, [1, 1, 1], 8, 0, 64)
    assert (golden(c) == c.data[0]).all()


def test_sentence_interval():
    """The sums wait for the reciprocal; what is longer counts."""
    wait = reciprocal_bits(8, 64) + 2
    assert set(intervals(case(0, 16, 4, 8, True, [1] * 6, 8, 0, 64))[1:].tolist()) == {16 + wait}
    assert set(intervals(case(0, 16, 1, 8, True, [6] * 6, 8, 0, 64))[1:].tolist()) == {96}


@pytest.mark.slow
@pytest.mark.parametrize(("stall_in", "stall_out"), [(0, 0), (0.5, 0.5)])
def test_filled_streams_carry_the_same(stall_in, stall_out):
    wide = []
    for index, space, lanes in ((0, 20, 5), (2, 50, 5), (4, 2, 2)):
        layout = Layout(channels=SHAPES[index][0], space=space)
        wide.append(filled(case(index, *SHAPES[index]), layout_in=layout, layout_out=layout, lanes_in=lanes))
    assert check_units(wide, stall_in=stall_in, stall_out=stall_out) > 200


def test_what_it_refuses():
    with pytest.raises(GraphError, match="recip_bits got 9, must be 17 for 8 bits and max_tokens 64"):
        pooled(0, 4, 1, 8, True, [2], "token_mean", attrs={"recip_bits": 9, "shift": 9})
    with pytest.raises(GraphError, match="shift got 48, must be 0 .. 47"):
        pooled(0, 4, 1, 8, True, [2], "token_mean", attrs={"recip_bits": 17, "shift": 48})


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(fault, tmp_path, monkeypatch):
    monkeypatch.setenv("BITLOOM_BUILD", "quick")  # it simulates a moment
    right, wrong = FAULTS[fault]
    source = next(p for p in RTL_FILES if p.name == "token_mean.sv")
    assert source.read_text().count(right) == 1
    (tmp_path / source.name).write_text(source.read_text().replace(right, wrong))
    files = [tmp_path / source.name if p == source else p for p in RTL_FILES]
    with pytest.raises(Exception):  # noqa: B017  (a difference, or a simulation that ends without its beats)
        check_units(cases(), stall_in=0.5, stall_out=0.5, rtl_files=files)
