# SPDX-License-Identifier: Apache-2.0
"""Which hardware makes the products: the rule of the multiplier style, and what it costs in hard multipliers (DSPs).

A DSP multiplies two signed operands. Rows of a matrix unit share the activation, so where two weights side by side fit the wider operand of the
family's DSP, one DSP makes two products (hw/rtl/mac_array.sv says how; bit-exact). Weights of 1 or 2 bits need no multiplier.
"""
from __future__ import annotations

from hw.instance import Fold

# Bits of the two signed operands of one DSP, the wider first; families as hw/board.py names them. Gowin halves its DSPs: two products of
# 9 x 9 bits in the place of one of 18 x 18, which is what a pair would bring, without its additions.
OPERANDS = {
    None: (18, 18), "ecp5": (18, 18), "gw2a": (9, 9), "ice40up": (16, 16), "artix-7": (25, 18), "zynq-7000": (25, 18),
    "zynq-ultrascale+": (27, 18), "virtex-ultrascale+": (27, 18), "versal": (27, 24),
}
STYLES = ("one", "two", "lut")  # products in one multiplier, or none in it
LUT_BITS = 2  # up to this many bits, a product is one addition


def pair_bits(x_bits: int, w_bits: int) -> tuple[int, int]:
    """Signed operands of two products in one multiplier: the two weights, and the activation (which may be unsigned)."""
    return 2 * w_bits + x_bits + 1, x_bits + 1


def multiplier_style(x_bits: int, w_bits: int, family: str | None = None, pe: int = 2) -> str:
    """How mac_array multiplies activations of x_bits by weights of w_bits in PE rows: `one`, `two` or `lut`.

    family   of the board (hw/board.py); None: a choice that every family with 18 x 18 multipliers takes well
    """
    if w_bits <= LUT_BITS:
        return "lut"
    wide, narrow = OPERANDS[family]
    pair, x = pair_bits(x_bits, w_bits)
    return "two" if pe > 1 and pair <= wide and x <= narrow else "one"


def fold_style(fold: Fold, x_bits: int, w_bits: int) -> str:
    """The style of a folded matrix operator: what its folding says, else the rule."""
    return fold.multiplier or multiplier_style(x_bits, w_bits, pe=fold.pe)


def mac_dsps(pe: int, simd: int, style: str) -> int:
    """DSPs of a mac_array of PE rows and SIMD columns, operands within one DSP. Two rows make a pair; an odd one stands alone."""
    return {"one": pe, "two": (pe + 1) // 2, "lut": 0}[style] * simd
