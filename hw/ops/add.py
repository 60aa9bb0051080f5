# SPDX-License-Identifier: Apache-2.0
"""add: residual sum of two tensors of different scales, one rounding."""

from __future__ import annotations

import math

import numpy as np

from bitloom.hw.cost.memories import Memory
from bitloom.hw.cost.multipliers import Product, factor_bits, whole
from bitloom.hw.graph import Graph, GraphBuilder, Node, Tensor, require, signed_bits
from bitloom.hw.hexfile import Hex, fields
from bitloom.hw.instance import Fold, HlsLayer, Instance, Module, Params, Terms
from bitloom.hw.ops.common import clip, hls_words, largest, pipeline, require_bits, round_shift, rounding, turn_params
from bitloom.hw.ops.record import ALIKE, Finn, Operator

PARAMS = ()
ATTRS = ("mult_a", "mult_b", "shift")
MULT_BITS, SHIFT_MAX = 24, 31


def add(a, b, mult_a, mult_b, shift, bits):
    """y = clip((a*mult_a + b*mult_b + half) >> shift); ties towards +inf.

    a, b     int64 [N, C], one LSB = s_a, s_b; mult / 2**shift = s_a / s_y, s_b / s_y
    returns  int64 [N, C], signed, `bits` wide, one LSB = s_y
    """
    return clip(round_shift(a * mult_a + b * mult_b, shift), bits, True)


def check(graph: Graph, node: Node) -> None:
    a, b, out = (graph.tensor(n) for n in (*node.inputs, node.name))
    require(a.shape == b.shape == out.shape, graph, node, f"shapes got {a.shape}, {b.shape} -> {out.shape}, must be equal")
    check_sum(graph, node)


def check_sum(graph: Graph, node: Node) -> None:
    """Raise GraphError unless widths, multipliers and shift of the sum are legal."""
    require(graph.tensor(node.name).signed, graph, node, "output got unsigned, must be signed")
    for name in (*node.inputs, node.name):
        require_bits(graph.tensor(name), 2, 16, graph, node)
    for key in ("mult_a", "mult_b"):
        require(1 <= node.attrs[key] <= 1 << MULT_BITS, graph, node, f"{key} got {node.attrs[key]}, must be 1 .. 2**{MULT_BITS}")
    require(0 <= node.attrs["shift"] <= SHIFT_MAX, graph, node, f"shift got {node.attrs['shift']}, must be 0 .. {SHIFT_MAX}")


def run(graph: Graph, node: Node, inputs: list[np.ndarray], lengths: np.ndarray) -> np.ndarray:
    return add(*inputs, *(node.attrs[key] for key in ATTRS), graph.tensor(node.name).bits)


def onnx(b, graph: Graph, node: Node, inputs: list[str]) -> str:
    terms = [b.op("Mul", x, b.scalar(node.attrs[key])) for x, key in zip(inputs, ("mult_a", "mult_b"), strict=True)]
    return b.clip(b.round_shift(b.op("Add", *terms), node.attrs["shift"]), graph.tensor(node.name), name=node.name)


def timing(graph: Graph, node: Node, fold: Fold, ins, out):
    yield from pipeline(ins, out, 3 if _words(graph, node) else 2)


def _factors(graph: Graph, node: Node) -> list[list[int]]:
    """Multipliers of b and a in each turn."""
    return [[n.attrs["mult_b"], n.attrs["mult_a"]] for _, n in graph.turns(node)]


def _words(graph: Graph, node: Node) -> list[list[int]] | None:
    """Of each turn limits, shift (hw/ops/common.py: Rounding) and multipliers; None where they are alike in all turns."""
    factors, rounds, y = _factors(graph, node), rounding(graph, node), graph.tensor(node.name)
    if not rounds.words and all(own == factors[0] for own in factors):
        return None
    return [words + own for words, own in zip(rounds.words or [[y.low, y.high, 0]] * len(factors), factors, strict=True)]


def rtl(graph: Graph, node: Node, fold: Fold) -> Instance:
    a, b, y = (graph.tensor(n) for n in (*node.inputs, node.name))
    rounds = rounding(graph, node)
    by_turn: Params = {}
    if words := _words(graph, node):
        width = max(max(own[3:]) for own in words).bit_length()
        file = Hex.pack(fields(words, (y.bits, y.bits, 6, width, width)), 1)
        by_turn = {"MORE": rounds.more, "FACTOR_W": width, "ROUND_FILE": file, **turn_params(graph, node, fold)}
    return Instance(
        module="add",
        params={
            "LANES": fold.lanes_in,
            "A_W": a.bits,
            "B_W": b.bits,
            "OUT_W": y.bits,
            "A_SIGNED": int(a.signed),
            "B_SIGNED": int(b.signed),
            "MULT_A": node.attrs["mult_a"],
            "MULT_B": node.attrs["mult_b"],
            "SHIFT": rounds.shift,
        }
        | by_turn,
    )


def hls(graph: Graph, node: Node, fold: Fold) -> HlsLayer:
    reach = sum(largest(graph.tensor(name)) * node.attrs[key] for name, key in zip(node.inputs, ("mult_a", "mult_b"), strict=True))
    rounds = rounding(graph, node)
    return HlsLayer(
        constants={
            "mult_a": node.attrs["mult_a"],
            "mult_b": node.attrs["mult_b"],
            "shift": rounds.shift,
            "more": rounds.more,
            "sum_bits": signed_bits(reach),
            "mult_a_bits": node.attrs["mult_a"].bit_length(),
            "mult_b_bits": node.attrs["mult_b"].bit_length(),
        },
        memories=hls_words("rounds", _words(graph, node)),
    )


def rescale(a: Tensor, b: Tensor, scale: float) -> tuple[int, int, int]:
    """mult_a, mult_b and shift that bring two addends of power-of-two scales to the finer one's grid, and the sum to `scale`."""
    exponents, target = [math.frexp(t.scale)[1] for t in (a, b)], math.frexp(scale)[1]
    shift = max(0, target - min(exponents))
    return 2 ** (exponents[0] - target + shift), 2 ** (exponents[1] - target + shift), shift


def append(g: GraphBuilder, name: str, a: Tensor, b: Tensor, *, mult_a: int, mult_b: int, shift: int, bits: int, scale: float = 1.0) -> Tensor:
    """The node of the rescaled sum."""
    out = Tensor(name=name, shape=a.shape, bits=bits, signed=True, scale=scale)
    return g.add("add", out, (a.name, b.name), {"mult_a": mult_a, "mult_b": mult_b, "shift": shift})


def products(p: Params) -> list[Product]:
    factors = {i: p["FACTOR_W"] + 1 if "FACTOR_W" in p else factor_bits(p[f"MULT_{i}"]) for i in "AB"}
    return [whole(p["LANES"], p[f"{i}_W"] + (not p[f"{i}_SIGNED"]), factors[i]) for i in "AB"]


def memories(p: Params) -> list[Memory]:
    return [Memory("round", 2 * p["OUT_W"] + 2 * p["FACTOR_W"] + 6, p.get("TURNS", 1), rom=True)] if "ROUND_FILE" in p else []


def terms(p: Params) -> Terms:
    return {"in_bits": p["LANES"] * (p["A_W"] + p["B_W"]), "out_bits": p["LANES"] * p["OUT_W"]}


MODULE = Module(name="add", turned=True, terms=terms, memories=memories, products=products)


def finn(b, graph: Graph, node: Node) -> None:
    parts, reach = [], 0
    for x, key in zip(node.inputs, ("a", "b"), strict=True):
        mult = node.attrs[f"mult_{key}"]
        reach += mult * largest(graph.tensor(x))
        if mult > 1:
            factor = b.constant(f"{node.name}.{key}.mult", np.array([mult]), f"UINT{mult.bit_length()}")
            x = b.op("Mul", [x, factor], f"{node.name}.{key}", "INT32")
        parts.append(x)
    total = b.op("Add", parts, f"{node.name}.total", "INT32")
    b.rescale(total, np.ones(1, dtype=np.int64), node.attrs["shift"], node, node.name, 0, reach)


def finn_values(b, graph: Graph, node: Node, inputs: list):
    return inputs[0] + inputs[1]


def finn_uniform(graph: Graph, node: Node) -> bool:
    return True


OP = Operator(
    name="add",
    params=PARAMS,
    attrs=ATTRS,
    packs=ALIKE,
    check=check,
    run=run,
    onnx=onnx,
    ports=("a", "b"),
    elementwise=True,
    wants_zeros=lambda graph, node: False,
    hls_array=True,
    timing=timing,
    rtl=rtl,
    module=MODULE,
    hls=hls,
    hls_turns=True,
    finn=Finn(nodes=finn, values=finn_values, uniform=finn_uniform),
)
