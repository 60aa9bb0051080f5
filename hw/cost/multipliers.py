# SPDX-License-Identifier: Apache-2.0
"""Which hardware makes the products: the rule of the multiplier style, and what it costs in hard multipliers (DSPs).

A DSP multiplies two signed operands. Rows of a matrix unit share the activation, so where two weights or more side by side fit the wider operand of the
family's DSP, one DSP makes as many products (hw/rtl/mac_array.sv says how; bit-exact; Fu et al. 2017, Xilinx WP486, with two). Of 4 by 4 bits, a 25-bit operand
takes four, one of 18 bits three. Weights of 1 or 2 bits need no multiplier.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from bitloom.hw.instance import Fold, Params

# Bits of the two signed operands of one DSP, the wider first; families as hw/board.py names them. Gowin halves its DSPs: two products of
# 9 x 9 bits in the place of one of 18 x 18, which is what a pair would bring, without its additions.
OPERANDS = {
    None: (18, 18),
    "ecp5": (18, 18),
    "gw2a": (9, 9),
    "ice40up": (16, 16),
    "artix-7": (25, 18),
    "zynq-7000": (25, 18),
    "zynq-ultrascale+": (27, 18),
    "virtex-ultrascale+": (27, 18),
    "versal": (27, 24),
}
# Yosys leaves products with a narrower operand, or of which fewer bits are used, to LUTs.
LEAST = dict.fromkeys(OPERANDS, 2) | {"gw2a": 4}
LEAST_USED = dict.fromkeys(OPERANDS, 9) | {None: 1, "ecp5": 1, "gw2a": 1, "ice40up": 11}
# What the pieces of an operand that is cut lack: a bit, where multipliers are always signed.
LACK = dict.fromkeys(OPERANDS, 1) | {"ice40up": 0}
ROWS = {"one": 1, "two": 2, "three": 3, "four": 4}  # that share a multiplier, by style
STYLES = (*ROWS, "lut")  # lut: products without a multiplier
LUT_BITS = 2  # up to this many bits, a product is one addition


class Operands(NamedTuple):
    """What a matrix unit multiplies: activations that its rows share, by weights.

    narrow  no weight is -2**(w_bits - 1): with signed activations a product then takes a bit less
    """

    x_bits: int
    x_signed: bool
    w_bits: int
    narrow: bool = False

    def joined(self, rows: int) -> tuple[int, int]:
        """Bits of the two signed operands of one multiplier: the weights of so many rows side by side, and the activation."""
        product = self.x_bits + self.w_bits - (self.x_signed and self.narrow)
        return (rows - 1) * product + self.w_bits + (rows > 1 and not self.narrow), self.x_bits + (not self.x_signed)


def multiplier_style(operands: Operands, family: str | None = None, pe: int = 2) -> str:
    """How mac_array makes the products of PE rows: a style of STYLES. The most rows in a multiplier that save one.

    family   of the board (hw/board.py); None: a choice that every family with 18 x 18 multipliers takes well
    """
    if operands.w_bits <= LUT_BITS:
        return "lut"
    wide, other = OPERANDS[family]
    fitting = [style for style, rows in ROWS.items() if rows == 1 or operands.joined(rows)[0] <= wide and operands.joined(rows)[1] <= other]
    return min(fitting, key=lambda style: -(-pe // ROWS[style]))


def style_params(fold: Fold, operands: Operands) -> Params:
    """Parameters of a folded matrix operator that say how its array multiplies: what its folding says, else the rule."""
    style = fold.multiplier or multiplier_style(operands, pe=sharing(fold))
    return {"MUL_STYLE": style} | ({"W_NARROW": 1} if operands.narrow and ROWS.get(style, 1) > 1 else {})


def sharing(fold: Fold) -> int:
    """Rows that share their activations: all, or each has those of its own weights."""
    return 1 if fold.keep else fold.pe


class Product(NamedTuple):
    """Multiplications in hardware: how many, bits of both signed operands, bits of the product that are used."""

    count: int
    a: int
    b: int
    used: int


def whole(count: int, a: int, b: int) -> Product:
    """Products of which all bits are used."""
    return Product(count, a, b, a + b)


def factor_bits(value: int) -> int:
    """Signed bits of a constant factor: what is left of it when its power of two is wires; 1 (no product) for a power of two."""
    odd = value // (value & -value)
    return odd.bit_length() + 1 if odd > 1 else 1


def dsps(products: Iterable[Product], family: str | None = None) -> int:
    """Hard multipliers of one instance's products, in the unit that the family's boards count (Gowin: 18 x 18, two of 9 x 9 in each).

    Exact for what Yosys makes of hw/rtl, flattened, so that constants are known (tests/rtl/test_synthesis.py); for ice40up no less than that, as Yosys
    leaves more to LUTs where a piece is known to be small.
    """
    wide, narrow = OPERANDS[family]
    whole = halves = 0
    for count, a, b, used in products:
        if min(a, b) < LEAST[family] or used < LEAST_USED[family]:
            continue
        if family == "gw2a" and max(a, b) <= 9:
            halves += count
        else:
            whole += count * (1 if family == "gw2a" else _pairs(_pieces(max(a, b), wide, family), _pieces(min(a, b), narrow, family), family))
    return whole + (halves + 1) // 2


def _pieces(bits: int, most: int, family: str | None) -> list[int]:
    """Bits of the pieces of an operand (Yosys's mul2dsp): all but the highest are unsigned."""
    cut = -(-max(0, bits - most) // (most - LACK[family]))
    return [*[most] * cut, bits - cut * (most - LACK[family])]


def _pairs(a: list[int], b: list[int], family: str | None) -> int:
    """Multipliers of all pairs of pieces; of those that are too small, none."""
    return sum(min(x, y) >= LEAST[family] and x + y >= LEAST_USED[family] for x in a for y in b)
