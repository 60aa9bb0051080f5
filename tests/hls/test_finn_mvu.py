# SPDX-License-Identifier: Apache-2.0
"""FINN's matrix-vector unit simulated in this project's bench: its results and its cycle formula."""

import numpy as np
import pytest
from sweep import corners_or_all

from bitloom.hls.finn import mvu, tool
from bitloom.hls.finn.errors import FinnError
from bitloom.hw.ops.linear import linear
from bitloom.sim.errors import BuildError
from bitloom.sim.tools import find_verilator


def reason_to_skip() -> str:
    if tool.installed() != tool.VERSION:
        return f"no finn-plus {tool.VERSION}; {tool.INSTALL}"
    try:
        find_verilator()
    except BuildError as error:
        return str(error)
    return ""


needs_tools = pytest.mark.skipif(bool(reason_to_skip()), reason=reason_to_skip())
FOLDINGS = [(1, 1), (4, 8), (16, 32)]  # PE, SIMD of a 16 x 32 matrix


def data(weight_low=-7):
    rng = np.random.default_rng(0)
    x, weight = rng.integers(-128, 128, (10, 32)), rng.integers(weight_low, 8, (16, 32))
    x[0], x[1], weight[0], weight[1, :2] = -128, 127, weight_low, (7, weight_low)
    return x, weight, linear(x, weight, np.zeros(16, np.int64), 128)


@needs_tools
@pytest.mark.parametrize("foldings", corners_or_all(FOLDINGS, (0, 1)))
def test_results_and_cycles_at_several_foldings(foldings):
    x, weight, want = data()
    for (pe, simd), run in zip(foldings, mvu.simulate(x, weight, foldings, x_bits=8, x_signed=True, weight_bits=4), strict=True):
        assert np.array_equal(run.outputs, want)
        steady = mvu.formula(32, 16, pe, simd)
        assert (run.interval == steady).all()
        assert 0 < run.cycle[0] - steady < 20  # the pipeline's latency


@needs_tools
@pytest.mark.slow
def test_results_with_stalls_and_unsigned_inputs():
    x, weight, _ = data(weight_low=-8)
    want = linear(x & 255, weight, np.zeros(16, np.int64), 255)
    for run in mvu.simulate(x & 255, weight, FOLDINGS, x_bits=8, x_signed=False, weight_bits=4, stall_in=0.5, stall_out=0.5):
        assert np.array_equal(run.outputs, want)


@needs_tools
def test_another_weight_changes_the_result():
    x, weight, want = data()
    weight[5, 7] += 1
    (run,) = mvu.simulate(x, weight, FOLDINGS[1:2], x_bits=8, x_signed=True, weight_bits=4)
    assert (run.outputs != want).any(axis=0).tolist() == [c == 5 for c in range(16)]


@needs_tools
def test_foldings_must_divide():
    x, weight, _ = data()
    with pytest.raises(FinnError, match="MVU simulation: got PE 3 and SIMD 8, must divide 16 and 32; choose divisors"):
        mvu.simulate(x, weight, [(3, 8)], x_bits=8, x_signed=True, weight_bits=4)
