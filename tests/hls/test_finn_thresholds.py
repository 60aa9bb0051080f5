# SPDX-License-Identifier: Apache-2.0
"""Golden rescaling and tables as FINN's thresholds and Requants: equal for every input."""

import numpy as np
import pytest

from bitloom.hls.finn import scaling
from bitloom.hls.finn import thresholds as th
from bitloom.hw.graph import Tensor
from bitloom.hw.ops.requant import requant
from bitloom.hw.ops.table import entries


def counted(x, limits, low):
    """What a thresholding node computes: x [N], limits [C, levels] -> [N, C]."""
    return low + (x[:, None, None] >= limits[None]).sum(axis=2)


@pytest.mark.parametrize(("bits", "signed"), [(8, True), (4, True), (2, True), (8, False), (10, True)])
def test_requant_thresholds_for_every_accumulator(bits, signed):
    rng = np.random.default_rng(bits)
    mult, bias = rng.integers(1, 1 << 16, 5), rng.integers(-3000, 3000, 5)
    mult[0], bias[1] = 1 << 15, 0  # a power of two: ties are common
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    x = np.arange(-20000, 20001)
    mult[2] = 65535
    want = requant(x[:, None] + bias, mult, 21, bits, signed)
    limits = th.of_requant(mult, 21, low, high, bias)
    assert np.array_equal(counted(x, limits, low), want)
    assert want.min() == low and want.max() == high
    inside = th.reachable(limits, -20000, 20000)
    assert np.array_equal(counted(x, inside, low), want) and inside.min() >= -20000 and inside.max() <= 20001


def test_shift_without_rounding():
    x = np.arange(-300, 300)
    assert np.array_equal(counted(x, th.of_requant(np.ones(1), 0, -128, 127), -128)[:, 0], np.clip(x, -128, 127))


@pytest.mark.parametrize("function", ["gelu", "relu", "tanh"])
@pytest.mark.parametrize("bits", [4, 8, 10])
def test_tables_for_every_code(function, bits):
    x = Tensor(name="x", shape=("T", 1), bits=bits, signed=True, scale=2.0 ** (3 - bits))
    y = Tensor(name="y", shape=("T", 1), bits=8, signed=function != "relu", scale=2.0**-7 if function == "tanh" else x.scale)
    values, codes = entries(function, x, y), np.arange(x.low, x.high + 1)
    rising, falling = th.split(values)
    assert (falling[-1] > 0) == (function == "gelu" and bits > 4)  # at 4 bits GELU's dip is less than half a code
    if falling[-1]:
        with pytest.raises(ValueError, match="got a table that falls, must never fall"):
            th.of_table(values, x.low, y.low, y.high)
    else:
        assert not falling.any()
        assert np.array_equal(counted(codes, th.of_table(values, x.low, y.low, y.high), y.low)[:, 0], values)
    parts = [counted(codes, th.of_table(part, x.low, 0, 300), 0)[:, 0] for part in (rising, falling)]
    assert np.array_equal(values[0] + parts[0] - parts[1], values)


def test_rounding_thresholds_round_half_up():
    v = np.arange(-20, 21) / 8
    assert np.array_equal(counted(v, th.of_rounding(0.25, -8, 7), -8)[:, 0], np.clip(np.floor(v / 0.25 + 0.5), -8, 7))


def fixed_point(x, scale, bias, bits):
    """FINN's RTL: exact product, bias cut off at its last fraction bit, rounded half up."""
    shift = 40
    product = (x.astype(object) * int(scale * 2.0**shift) + int(np.floor(float(bias) * 2.0**23)) * (1 << shift - 23) + (1 << shift - 1)) >> shift
    return np.clip(product.astype(np.int64), -(1 << bits - 1), (1 << bits - 1) - 1)


def test_requant_constants_for_every_accumulator():
    rng = np.random.default_rng(1)
    mult, bias, reach = rng.integers(1 << 15, 1 << 16, 12), rng.integers(-2000, 2000, 12), rng.integers(3000, 20000, 12)
    scale, offset = scaling.of_requant(mult, 22, -128, 127, bias, reach)
    assert scale.dtype == offset.dtype == np.float32
    for c in range(12):
        x = np.arange(-reach[c], reach[c] + 1)
        want = requant(x + bias[c], mult[c], 22, 8)
        assert np.array_equal(fixed_point(x, scale[c], offset[c], 8), want)
        exact = x * np.float64(scale[c]) + np.float64(offset[c])
        assert np.array_equal(np.clip(np.rint(exact), -128, 127).astype(np.int64), want)  # half to even too: no ties


def test_requant_constants_of_a_shift_do_not_tie():
    scale, offset = scaling.of_requant(np.ones(1, dtype=np.int64), 5, -128, 127, 0, 1 << 14)
    x = np.arange(-(1 << 14), 1 << 14)
    assert np.array_equal(np.clip(np.rint(x * np.float64(scale[0]) + offset[0]), -128, 127), requant(x, 1, 5, 8))


def test_requant_constants_that_float32_cannot_hold_are_refused():
    assert scaling.of_requant(np.array([(1 << 25) + 1]), 40, -128, 127, 0, 1000) is None
    assert scaling.of_requant(np.array([60001]), 47, -32768, 32767, 12345, 1 << 40) is None
