# SPDX-License-Identifier: Apache-2.0
"""lstm_cell: one channel's gates, cell and state (hw/rtl/lstm_cell.sv)."""

from __future__ import annotations

from bitloom.hw.cost.memories import Memory
from bitloom.hw.cost.multipliers import Product
from bitloom.hw.instance import Params
from bitloom.hw.parts import mul

LATENCY, WAIT = 14, 8  # cycles from z to h, and that the output gate waits for tanh


def memories(p: Params) -> list[Memory]:
    """Tables of i, f, g, o and tanh."""
    gate, tanh = (Memory(name, p["ACT_W"], 1 << p[width], rom=True) for name, width in (("gate", "GATE_W"), ("tanh", "TANH_W")))
    return [gate] * 4 + [tanh]


def products(p: Params) -> list[Product]:
    """f*c, i*g, o*tanh."""
    return [made for a in (p["CELL_W"], p["ACT_W"], p["ACT_W"]) for made in mul.products(a, p["ACT_W"] + 1)]


def register_bits(p: Params) -> int:
    """Of products, sums, the cell, what tanh is looked up by, the waiting output gate, the state."""
    act, cell = p["ACT_W"], p["CELL_W"]
    return 3 * (act + 1 + cell) + 6 * (2 * act + 1) + cell + p["TANH_W"] + WAIT * act + p["OUT_W"]
