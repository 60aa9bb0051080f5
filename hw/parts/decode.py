# SPDX-License-Identifier: Apache-2.0
"""decode: the weights that indices of a codebook stand for (hw/rtl/decode.sv)."""

from __future__ import annotations

from bitloom.hw.cost.memories import Memory
from bitloom.hw.instance import Params, Terms


def memories(p: Params) -> list[Memory]:
    """A codebook a turn."""
    return [Memory("codebook", p["WEIGHT_W"] << p["INDEX_W"], p.get("CONSTANTS", p.get("TURNS", 1)), rom=True)]


def terms(p: Params, *, count: int) -> Terms:
    """Of `count` weights: sixteenths of a table of the index for each of their bits where there is one codebook (what few index bits give is shared, or part of
    what follows), else the two-input multiplexers that choose an entry's bits.

    w_bits, as in mac_array.py: the first of two registers holds indices.
    """
    bits = count * p["WEIGHT_W"]
    chosen = (
        {"decoded_bits": bits * (1 << p["INDEX_W"]) / 16} if p.get("CONSTANTS", p.get("TURNS", 1)) == 1 else {"chosen_bits": bits * ((1 << p["INDEX_W"]) - 1)}
    )
    return chosen | {"w_bits": (bits + count * p["INDEX_W"]) / 2}
