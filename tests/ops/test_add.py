# SPDX-License-Identifier: Apache-2.0
"""add: RTL against golden, bits and cycles; powers of two cost no multiplier."""

import numpy as np
import pytest
from operator_bench import RTL_FILES, check_data, check_units, make_case
from sweep import STALLS
from yosys import run_yosys

from bitloom.hw.graph import Tensor
from bitloom.hw.instance import Fold
from bitloom.hw.ops import add

# C, lanes, bits of a, b, y, a signed, b signed, mult_a, mult_b, shift
SHAPES = [
    (16, 1, 8, 8, 10, True, True, 1, 1, 1),
    (16, 4, 8, 10, 10, True, True, 4, 1, 2),
    (16, 2, 8, 8, 7, True, True, 1, 1, 1),
    (48, 2, 10, 8, 10, True, True, 1, 2, 1),
    (4, 4, 8, 8, 6, True, True, 3, 5, 5),
    (12, 1, 16, 16, 16, True, True, 1, 1, 1),
    (12, 2, 4, 5, 10, True, True, 2, 1, 2),  # y is wider than the sum
    (20, 4, 4, 2, 8, False, True, 8, 1, 2),
    (6, 2, 16, 3, 9, True, False, 40503, 1 << 24, 23),
    (8, 1, 2, 2, 16, True, True, 1 << 12, 1001, 0),
    (8, 2, 8, 8, 4, False, False, 1 << 22, 3 << 22, 31),
]
LENGTHS = [7, 1, 1, 12, 2]


def case(seed, channels, lanes, a_bits, b_bits, y_bits, a_signed, b_signed, mult_a, mult_b, shift):
    rng = np.random.default_rng(seed)
    a = Tensor(name="a", shape=("T", channels), bits=a_bits, signed=a_signed)
    b = Tensor(name="b", shape=("T", channels), bits=b_bits, signed=b_signed)
    y = Tensor(name="y", shape=("T", channels), bits=y_bits, signed=True)
    data = [rng.integers(t.low, t.high + 1, (sum(LENGTHS), channels)) for t in (a, b)]
    corners = [(p, q) for p in (a.low, 0, a.high) for q in (b.low, 0, b.high)]
    for row, (p, q) in enumerate(corners):
        data[0][row], data[1][row] = p, q
    return make_case(
        "add",
        [a, b],
        y,
        data,
        LENGTHS,
        fold=Fold(lanes_in=lanes, lanes_out=lanes),
        attrs={"mult_a": mult_a, "mult_b": mult_b, "shift": shift},
    )


def cases():
    return [case(seed, *shape) for seed, shape in enumerate(SHAPES)]


@pytest.mark.parametrize(("stall_in", "stall_out"), STALLS)
def test_rtl_equals_golden(stall_in, stall_out):
    assert check_units(cases(), stall_in=stall_in, stall_out=stall_out) > 3000


def test_data_shows_rounding(monkeypatch):
    check_data([c for c in cases() if c.node.attrs["shift"]], monkeypatch)


def test_tie_rounds_up():
    """-0.5 becomes 0 and 0.5 becomes 1."""
    x = np.array([[-3], [-1], [1], [3]])
    assert add.add(x, 0 * x, 1, 1, 1, 8).ravel().tolist() == [-1, 0, 1, 2]


@pytest.mark.parametrize(("mults", "multipliers"), [((4, 1), False), ((3, 4), True)])
def test_powers_of_two_cost_no_multiplier(tmp_path, mults, multipliers):
    """Synthesized, only a multiplier that is no power of two is left as one."""
    source = next(p for p in RTL_FILES if p.name == "add.sv")
    text = source.read_text()
    for name, value in zip(("MULT_A", "MULT_B"), mults, strict=True):
        text = text.replace(f"int {name} = 1,", f"int {name} = {value},")
    (tmp_path / "add.sv").write_text(text)
    script = "read_verilog -sv add.sv; hierarchy -check -top add; proc; opt; wreduce; peepopt; opt; stat"
    said = run_yosys(tmp_path, "-p", script).stdout
    assert "$dff" in said
    assert ("$mul" in said[said.rindex("Printing statistics") :]) == multipliers
