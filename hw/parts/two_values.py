# SPDX-License-Identifier: Apache-2.0
"""two_values: sums of inputs become products with weights of two values (hw/rtl/two_values.sv)."""

from __future__ import annotations

from bitloom.hw.cost.memories import Memory
from bitloom.hw.cost.multipliers import Product
from bitloom.hw.instance import Params, Terms
from bitloom.hw.parts import mul

LATENCY = 5  # cycles that it adds: codebook read, operands, the product in mul.sv


def used(p: Params) -> bool:
    """Of a matrix unit: its weights take two values."""
    return p.get("INDEX_W") == 1


def sum_bits(p: Params) -> int:
    """Of the sums of any of the inputs."""
    return p["IN_W"] + (not p["IN_SIGNED"]) + (p["K"] - 1).bit_length()


def _lanes(p: Params) -> int:
    """Channels of a beat that have values of their own."""
    return p["LANES_OUT"] if p["EACH"] else 1


def memories(p: Params) -> list[Memory]:
    """A codebook a turn, or of each channel in each turn."""
    words = p["C"] // p["LANES_OUT"] if p["EACH"] else 1
    return [Memory("codebook", 2 * _lanes(p) * p["WEIGHT_W"], p.get("CONSTANTS", p.get("TURNS", 1)) * words, rom=True)]


def products(p: Params) -> list[Product]:
    """The smaller value's, and each lane's with the step to the larger one."""
    a, b, out = sum_bits(p), p["WEIGHT_W"], p["OUT_W"]
    base, step = (mul.products(a, bits, out, held=True) for bits in (b, b + 1))
    return base * _lanes(p) + step * p["LANES_OUT"]


def terms(p: Params) -> Terms:
    """Operands, what goes with them, partial products and sums."""
    lanes, sums, made = p["LANES_OUT"], sum_bits(p), _lanes(p) + p["LANES_OUT"]
    side = (p.get("CONSTANTS", p.get("TURNS", 1)) * p["C"] // p["LANES_OUT"] - 1).bit_length()
    return {"two_operand_bits": 2 * (lanes + 1) * sums + 2 * _lanes(p) * p["WEIGHT_W"] + LATENCY * (side + 2), "two_sum_bits": made * p["OUT_W"]}
