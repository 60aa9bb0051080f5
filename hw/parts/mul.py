# SPDX-License-Identifier: Apache-2.0
"""mul: a wide signed product from parts of 18 x 18 bits (hw/rtl/mul.sv)."""

from __future__ import annotations

from bitloom.hw.cost.multipliers import Product


def products(a: int, b: int, used: int | None = None, *, square: bool = False, held: bool = False) -> list[Product]:
    """Multiplications of operands of a and b signed bits: unsigned parts of 17 bits and a signed rest of at most 18.

    used    low bits of the product that are used; None: all
    square  both operands are one: of two equal products one is made
    held    an enable stops it: Yosys then keeps all bits of a part of which any is used (hw/rtl/product_reg.sv)
    """
    used = a + b if used is None else min(used, a + b)
    return [
        Product(1, x, y, x + y if held else min(used - 17 * (i + j), x + y))
        for i, x in enumerate(_cut(a))
        for j, y in enumerate(_cut(b))
        if used > 17 * (i + j) and not (square and j < i)
    ]


def _cut(bits: int) -> list[int]:
    parts = 1 if bits <= 18 else 1 + (bits - 2) // 17
    return [18] * (parts - 1) + [bits - 17 * (parts - 1)]
