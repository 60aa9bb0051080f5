# SPDX-License-Identifier: Apache-2.0
"""mvau: what both matrix-vector units of stored weights have, that with its weights on the chip (hw/rtl/linear.sv) and that of tiles (linear_tiles.sv)."""

from __future__ import annotations

import numpy as np

from bitloom.hw.cost.memories import Memory, index_bits
from bitloom.hw.cost.multipliers import Product
from bitloom.hw.graph import Graph, Node
from bitloom.hw.instance import Fold, Params, Terms
from bitloom.hw.parts import decode, mac_array, pick, schedule, two_values, weights
from bitloom.hw.parts.mac_array import mac_latency


def widths(graph: Graph, node: Node, fold: Fold) -> tuple[int, int]:
    """Elements of an output token and of an input token in their streams."""
    return fold.out_of(graph.tensor(node.name).channels).width, fold.into(graph.tensor(node.inputs[0]).channels).width


def slots(graph: Graph, node: Node, fold: Fold) -> tuple[np.ndarray, ...]:
    """Words of weights of each fold, in each turn."""
    channels, inputs = widths(graph, node, fold)
    if not fold.words:
        return (np.full(channels // fold.pe, inputs // fold.inputs),) * len(graph.turns(node))
    pattern = schedule.Pattern.of([g.param(n, "weight") for g, n in graph.turns(node)])
    return schedule.slots(fold, pattern, fold.into(graph.tensor(node.inputs[0]).channels), fold.out_of(graph.tensor(node.name).channels))


def latency(graph: Graph, node: Node, fold: Fold) -> int:
    """Cycles from a sum's last step to its first beat: 3 for unpacked, bias read, bias added."""
    return mac_latency(fold.simd) + 3 + (two_values.LATENCY if weights.takes_two(graph, node) else 0)


def stored_bits(p: Params) -> int:
    return p.get("INDEX_W") or p["WEIGHT_W"]


def element_bits(p: Params) -> int:
    return stored_bits(p) + pick.index_bits(p.get("GROUP", 1))


def book_memories(p: Params) -> list[Memory]:
    return two_values.memories(p) if two_values.used(p) else decode.memories(p) if p.get("INDEX_W") else []


def inputs_of(p: Params) -> int:
    """That it takes each cycle."""
    return p["SIMD"] // p["KEEP"] * p["GROUP"] if "KEEP" in p else p["SIMD"]


def products(p: Params) -> list[Product]:
    if two_values.used(p):
        return two_values.products(p)
    return mac_array.products(p, pe=p["PE"], simd=p["SIMD"], x_bits=p["IN_W"], x_signed=p["IN_SIGNED"], w_bits=p["WEIGHT_W"])


def terms(p: Params) -> Terms:
    inputs = inputs_of(p)
    words = p.get("WORDS", 0) or p["C"] // p["PE"] * (p["K"] // inputs)
    steps = 0 if "WORDS" in p else 2 * index_bits(p["K"] // inputs)
    sizes = {
        "part_bits": (inputs - p["LANES_IN"]) * p["IN_W"],
        "out_bits": p["LANES_OUT"] * p["OUT_W"],
        "count_bits": index_bits(words) + index_bits(p["C"] // p["LANES_OUT"]) + steps,
        "pick_bits": pick.choices(p["PE"] * p["SIMD"], p["GROUP"], p["IN_W"]) if "KEEP" in p else 0,
    }
    if two_values.used(p):  # a row more sums all inputs
        sums = p | {"OUT_W": two_values.sum_bits(p)}
        return sizes | mac_array.terms(sums, pe=p["PE"] + 1, simd=p["SIMD"], x_bits=p["IN_W"], w_bits=1) | two_values.terms(p)
    made = mac_array.terms(p, pe=p["PE"], simd=p["SIMD"], x_bits=p["IN_W"], w_bits=p["WEIGHT_W"], own="KEEP" in p)
    return sizes | made | (decode.terms(p, count=p["PE"] * p["SIMD"]) if p.get("INDEX_W") else {})
