# SPDX-License-Identifier: Apache-2.0
"""token_mean: for each channel the mean of a sentence's tokens, by one reciprocal of its length."""

from __future__ import annotations

import numpy as np

from bitloom.hw.cost.memories import Memory
from bitloom.hw.cost.multipliers import Product
from bitloom.hw.graph import Graph, GraphBuilder, Node, Tensor, require
from bitloom.hw.instance import Fold, HlsLayer, Instance, Module, Params, Terms
from bitloom.hw.ops.common import clip, require_bits, round_shift
from bitloom.hw.ops.record import Operator
from bitloom.hw.parts import mul, pool

PARAMS = ()
ATTRS = ("recip_bits", "shift")
SPARE = 3  # bits of the reciprocal beyond those with which an error of one of its LSB is one LSB of x
SHIFT_MAX = 47
LATENCY = 5  # from a sum to its mean


def token_mean(x, lengths, recip_bits, shift, bits, signed):
    """y[s, c] = clip((S*r + half) >> shift), S = sum of x[i, c] over the tokens i of sentence s, r = floor(2**recip_bits / T); ties towards +inf.

    x        int64 [N, C], one LSB = s_x; sentences of `lengths` [S] tokens one behind the other
    returns  int64 [S, C], `bits` wide, as signed as x, one LSB = s_y, with 2**recip_bits / 2**shift = s_x / s_y
    """
    sums = pool.over_tokens(np.add, x, lengths)
    return clip(round_shift(sums * ((1 << recip_bits) // np.asarray(lengths, dtype=np.int64))[:, None], shift), bits, signed)


def reciprocal_bits(x_bits: int, max_tokens: int) -> int:
    """k of numerics.md."""
    return x_bits + (max_tokens - 1).bit_length() + SPARE


def check(graph: Graph, node: Node) -> None:
    pool.require_shapes(graph, node)
    x, out, (k, shift) = graph.tensor(node.inputs[0]), graph.tensor(node.name), (node.attrs[key] for key in ATTRS)
    for tensor in (x, out):
        require_bits(tensor, 1, 16, graph, node)
    want = reciprocal_bits(x.bits, graph.max_tokens)
    require(k == want, graph, node, f"recip_bits got {k}, must be {want} for {x.bits} bits and max_tokens {graph.max_tokens}")
    require(0 <= shift <= SHIFT_MAX, graph, node, f"shift got {shift}, must be 0 .. {SHIFT_MAX}")


def run(graph: Graph, node: Node, inputs: list[np.ndarray], lengths: np.ndarray) -> np.ndarray:
    out = graph.tensor(node.name)
    return token_mean(inputs[0], lengths, *(node.attrs[key] for key in ATTRS), out.bits, out.signed)


def onnx(b, graph: Graph, node: Node, inputs: list[str]) -> str:
    tokens = b.op("Gather", b.op("Shape", inputs[0]), b.scalar(0))
    r = b.op("Div", b.scalar(1 << node.attrs["recip_bits"]), tokens)
    product = b.op("Mul", b.op("ReduceSum", inputs[0], b.ints([0]), keepdims=1), r)
    return b.clip(b.round_shift(product, node.attrs["shift"]), graph.tensor(node.name), name=node.name)


def timing(graph: Graph, node: Node, fold: Fold, ins, out):
    """The numbers are those of hw/rtl/token_mean.sv."""
    channels, banks = fold.into(graph.tensor(node.name).channels).width, pool.Pool()
    moved, wait = -1, node.attrs["recip_bits"] + 2  # when the last sum moved on; cycles for a reciprocal
    while True:
        token = yield ins[0].get()
        last = banks.take(ins[0], token)
        if token.end:
            first = max(last + 2, moved + 1) + wait + LATENCY
            _, end = yield out.put(first, first + channels - 1, channels, True)
            moved = end - LATENCY
            banks.left(moved)


def rtl(graph: Graph, node: Node, fold: Fold) -> Instance:
    x, out = graph.tensor(node.inputs[0]), graph.tensor(node.name)
    return Instance(
        module="token_mean",
        params={
            "C": fold.into(x.channels).width,
            "LANES": fold.lanes_in,
            "W": x.bits,
            "SIGNED": int(x.signed),
            "OUT_W": out.bits,
            "RECIP_BITS": node.attrs["recip_bits"],
            "SHIFT": node.attrs["shift"],
            "MAX_TOKENS": graph.max_tokens,
        },
    )


def hls(graph: Graph, node: Node, fold: Fold) -> HlsLayer:
    made = rtl(graph, node, fold).params
    return HlsLayer(constants={key: node.attrs[key] for key in ATTRS} | {"sum_bits": sum_bits(made)})


def append(b: GraphBuilder, name: str, x: Tensor, shift: int, bits: int, scale: float = 1.0) -> Tensor:
    """The node of the means of a token stream; shift = recip_bits + log2(scale / x.scale)."""
    out = Tensor(name=name, shape=(1, x.channels), bits=bits, signed=x.signed, scale=scale)
    return b.add("token_mean", out, (x.name,), {"recip_bits": reciprocal_bits(x.bits, b.max_tokens), "shift": shift})


def sum_bits(p: Params) -> int:
    """As hw/rtl/token_mean.sv has them."""
    return p["W"] + 1 + (p["MAX_TOKENS"] - 1).bit_length()


def memories(p: Params) -> list[Memory]:
    return pool.memories(p, sum_bits(p))


def products(p: Params) -> list[Product]:
    return mul.products(sum_bits(p), p["RECIP_BITS"] + 2)


def terms(p: Params) -> Terms:
    return pool.terms(p, sum_bits(p)) | {"recip_bits": p["RECIP_BITS"] + 1, "product_bits": sum_bits(p) + p["RECIP_BITS"] + 2}


MODULE = Module(name="token_mean", terms=terms, memories=memories, products=products)


OP = Operator(
    name="token_mean",
    params=PARAMS,
    attrs=ATTRS,
    check=check,
    run=run,
    onnx=onnx,
    observed=True,
    same_layout=True,
    wants_zeros=lambda graph, node: False,
    timing=timing,
    rtl=rtl,
    module=MODULE,
    hls=hls,
)
