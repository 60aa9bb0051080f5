# SPDX-License-Identifier: Apache-2.0
"""mac_array: PE rows of SIMD products, their adder trees and accumulators (hw/rtl/mac_array.sv)."""

from __future__ import annotations

from bitloom.hw.cost.multipliers import ROWS, Operands, Product, whole
from bitloom.hw.instance import Params, Terms


def mac_latency(simd: int) -> int:
    """Cycles from the issue of a sum's last step to the sum.

    They are: memory read, its output register, operands, products twice, the tree of four-input adders, accumulator.
    """
    return 6 + ((simd - 1).bit_length() + 1) // 2


def products(p: Params, *, pe: int, simd: int, x_bits: int, x_signed: bool, w_bits: int) -> list[Product]:
    """Multiplications of an operator with MUL_STYLE; x is what the rows share."""
    if p["MUL_STYLE"] in ("lut", "and") or w_bits == 1:
        return []
    rows = ROWS[p["MUL_STYLE"]]
    return [whole(-(-pe // rows) * simd, *Operands(x_bits, x_signed, w_bits, bool(p.get("W_NARROW"))).joined(rows))]


def terms(p: Params, *, pe: int, simd: int, x_bits: int, w_bits: int, own: bool = False) -> Terms:
    """Operands, products, adder tree, sums of an operator with MUL_STYLE and OUT_W; own: each row has an x of its own.

    own_bits: a multiplier has a register of its own for its x.
    """
    product = x_bits + w_bits
    node = min(product + (simd - 1).bit_length(), p["OUT_W"])
    rows = ROWS.get(p["MUL_STYLE"], 1)
    shared = -(-pe // rows) * simd if rows > 1 else 0
    gated = p["MUL_STYLE"] == "and"
    additions = not gated and (p["MUL_STYLE"] == "lut" or w_bits == 1)
    return {
        "x_bits": (pe if own else 1) * simd * x_bits,
        "own_bits": 0 if own or gated or additions else (-(-pe // rows) - 1) * simd * x_bits,
        "w_bits": pe * simd * w_bits,
        "pair_bits": shared * ((rows - 1) * product + w_bits + 1),
        "product_bits": 0 if gated else pe * simd * product,
        "carries": pe * simd if shared else 0,
        "lut_product_bits": pe * simd * product * max(1, w_bits - 1) if additions else 0,
        "gated_bits": pe * simd * product if gated else 0,
        "held_bits": 0 if additions or gated else pe * simd * product,
        "tree_bits": pe * _tree_nodes(simd) * node,
        "tree_adder_bits": pe * (simd - 1) * node,
        "acc_bits": pe * p["OUT_W"],
    }


def _tree_nodes(leaves: int) -> int:
    """Registers of the tree of four-input adders behind its leaves."""
    nodes = 0
    while leaves > 1:
        leaves = -(-leaves // 4)
        nodes += leaves
    return nodes
