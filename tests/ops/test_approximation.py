# SPDX-License-Identifier: Apache-2.0
"""How far the golden softmax, LayerNorm, GELU and tanh are from the real functions."""

from pathlib import Path

import numpy as np
import pytest

from bitloom.hw import accuracy
from bitloom.hw.graph import Tensor
from bitloom.hw.ops import softmax

NUMERICS = Path(__file__).parents[2] / "docs" / "numerics.md"


@pytest.mark.parametrize("function", ["gelu", "tanh"])
@pytest.mark.parametrize(("bits", "y_bits"), [(8, 8), (10, 8), (10, 16), (6, 6), (2, 4)])
def test_tables_are_exact(function, bits, y_bits):
    assert accuracy.table_error(function, bits, y_bits).worst <= 0.5


@pytest.mark.parametrize(("bits", "p_bits", "tokens"), [(8, 8, 64), (8, 8, 512), (10, 8, 16), (4, 4, 16), (6, 12, 33), (8, 2, 1)])
def test_softmax_error_is_bounded(bits, p_bits, tokens):
    """1/2 for the output's rounding, 1/2 an exponential, less than 2**-t for the reciprocal's floor; pointwise."""
    x = Tensor(name="x", shape=("T", 1, "T"), bits=bits, signed=True, scale=2.0 ** (4 - bits))
    codes = accuracy.quantize(np.random.default_rng(0).normal(0, 2, (100, tokens)), x)
    table, constants = softmax.exp_table(x, p_bits), softmax.constants(p_bits, tokens)
    got = softmax.softmax(codes, table, constants["recip_bits"], constants["shift"], p_bits)
    depth = codes.max(axis=1, keepdims=True) - codes
    e, sums = np.exp(-depth * x.scale), table[depth].sum(axis=1, keepdims=True)
    p = e / e.sum(axis=1, keepdims=True)
    bound = 0.5 + 2**p_bits * (1 + p * tokens) / (2 * sums) + 2.0 ** -(tokens - 1).bit_length()
    error = np.abs(got - np.minimum(p * 2**p_bits, 2**p_bits - 1))
    assert (error <= bound + 1e-9).all(), f"worst excess {(error - bound).max()}"


@pytest.mark.parametrize(
    ("bits", "y_bits", "size", "deviation", "worst"),
    [
        (10, 8, 128, 50, 0.56),
        (12, 8, 48, 100, 0.56),
        (16, 8, 1024, 2000, 0.58),
        (10, 8, 384, 10, 0.65),
        (10, 8, 128, 2, 1.25),
    ],
)
def test_layernorm_error(bits, y_bits, size, deviation, worst):
    error = accuracy.layernorm_error(bits, y_bits, size, deviation)
    assert error.worst <= worst and 0.2 < error.mean < 0.26


def test_documented_table_is_current():
    """docs/numerics.md ends with what `python -m bitloom.hw.accuracy` prints (the last digit may differ between machines)."""
    documented = [line.strip("| ").split(" | ") for line in NUMERICS.read_text().split("## Approximation error")[1].splitlines() if line.startswith("|")]
    current = [line.strip("| ").split(" | ") for line in accuracy.markdown().splitlines()]
    assert [row[:4] + row[6:] for row in documented] == [row[:4] + row[6:] for row in current], "run `python -m bitloom.hw.accuracy` and replace the table"
    for old, new in zip(documented[2:], current[2:], strict=True):
        assert [float(v) for v in old[4:6]] == pytest.approx([float(v) for v in new[4:6]], abs=0.002), f"{old} is out of date: {new}"
