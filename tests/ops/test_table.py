# SPDX-License-Identifier: Apache-2.0
"""table: RTL against golden, every code, bits and cycles."""

import math

import numpy as np
import pytest
from operator_bench import check_units, make_case
from sweep import STALLS

from bitloom.hw.graph import GraphError, Tensor
from bitloom.hw.instance import Fold
from bitloom.hw.ops import table

# C, lanes, input bits, signed, output bits, output signed, function; None: random contents
SHAPES = [
    (16, 1, 8, True, 8, True, "gelu"),
    (16, 4, 8, True, 8, True, "tanh"),
    (12, 3, 8, True, 8, False, "relu"),
    (48, 2, 10, True, 8, True, "gelu"),
    (4, 4, 1, False, 3, True, None),
    (6, 1, 2, True, 16, True, None),
    (8, 2, 10, False, 1, False, None),
    (20, 4, 5, True, 7, False, None),
    (8, 4, 1, True, 12, True, None),
]


def case(seed, channels, lanes, bits, signed, out_bits, out_signed, function):
    rng = np.random.default_rng(seed)
    x = Tensor(name="x", shape=("T", channels), bits=bits, signed=signed, scale=2.0 ** (3 - bits))
    y = Tensor(
        name="y",
        shape=x.shape,
        bits=out_bits,
        signed=out_signed,
        scale=2.0 ** ((0 if function == "tanh" else 3) - out_bits + 1),
    )
    entries = rng.integers(y.low, y.high + 1, 1 << bits) if function is None else table.entries(function, x, y)
    codes = rng.permutation(np.arange(x.low, x.high + 1))
    count = -(-len(codes) // channels) + 5
    data = np.resize(codes, (count, channels))
    return make_case(
        "table",
        [x],
        y,
        [data],
        [1, count - 4, 1, 2],
        fold=Fold(lanes_in=lanes, lanes_out=lanes),
        params={"table": entries},
    )


@pytest.mark.parametrize(("stall_in", "stall_out"), STALLS)
def test_rtl_equals_golden(stall_in, stall_out):
    assert check_units([case(seed, *shape) for seed, shape in enumerate(SHAPES)], stall_in=stall_in, stall_out=stall_out) > 3000


def test_entries_are_the_function_rounded():
    """Each entry is within half an LSB of the function, or at the end of the range."""
    for function, f in (
        ("gelu", lambda v: v / 2 * (1 + math.erf(v / math.sqrt(2)))),
        ("tanh", math.tanh),
        ("relu", lambda v: max(v, 0.0)),
    ):
        x = Tensor(name="x", shape=("T", 4), bits=8, signed=True, scale=2.0**-5)
        y = Tensor(name="y", shape=("T", 4), bits=8, signed=True, scale=2.0**-7 if function == "tanh" else 2.0**-5)
        for code, entry in zip(range(-128, 128), table.entries(function, x, y), strict=True):
            error = entry - f(code * x.scale) / y.scale
            assert -0.5 < error <= 0.5 or (entry == y.high and error < 0)


def test_table_of_another_size_is_refused():
    x = Tensor(name="x", shape=("T", 4), bits=8, signed=True)
    with pytest.raises(GraphError, match=r"table got shape \(255,\), must be \(256,\)"):
        make_case("table", [x], x, [np.zeros((1, 4))], [1], fold=Fold(), params={"table": np.zeros(255)})
