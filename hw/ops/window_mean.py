# SPDX-License-Identifier: Apache-2.0
"""window_mean: for each channel the mean of a window's tokens (average pooling, here over tokens), by one reciprocal of how many they are."""

from __future__ import annotations

import numpy as np

from bitloom.hw.cost.multipliers import Product
from bitloom.hw.graph import Graph, GraphBuilder, Node, Tensor, require
from bitloom.hw.instance import Fold, HlsLayer, Instance, Module, Params, Terms
from bitloom.hw.ops.common import clip, require_bits, round_shift
from bitloom.hw.ops.record import Operator
from bitloom.hw.ops.token_mean import SHIFT_MAX, reciprocal_bits
from bitloom.hw.parts import mul, window
from bitloom.hw.parts.window import offsets

PARAMS = ()
ATTRS = ("kernel", "stride", "recip_bits", "shift")
LATENCY = 5  # from a sum to its mean


def window_mean(x, lengths, kernel, stride, recip_bits, shift, bits, signed):
    """y[i, c] = clip((S*r + half) >> shift), S = sum of the n tokens x[i*stride + offsets[k], c] of k = 0 .. kernel-1 that the sentence has,
    r = floor(2**recip_bits / n); of T tokens ceil(T / stride); ties towards +inf.

    x        int64 [N, C], one LSB = s_x; sentences of `lengths` [S] tokens one behind the other
    returns  int64 [M, C], `bits` wide, as signed as x, one LSB = s_y, with 2**recip_bits / 2**shift = s_x / s_y
    """
    found, there = window.taps(x, lengths, offsets(kernel, 1, stride), stride)
    sums = np.where(there[..., None], found, 0).sum(axis=1)
    return clip(round_shift(sums * ((1 << recip_bits) // there.sum(axis=1))[:, None], shift), bits, signed)


def check(graph: Graph, node: Node) -> None:
    window.check_pool(graph, node)
    x, out, (kernel, _, k, shift) = graph.tensor(node.inputs[0]), graph.tensor(node.name), (node.attrs[key] for key in ATTRS)
    require(x.signed == out.signed, graph, node, f"output got signed {out.signed}, must be {x.signed} as the input")
    for tensor in (x, out):
        require_bits(tensor, 1, 16, graph, node)
    want = reciprocal_bits(x.bits, kernel)
    require(k == want, graph, node, f"recip_bits got {k}, must be {want} for {x.bits} bits and kernel {kernel}")
    require(0 <= shift <= SHIFT_MAX, graph, node, f"shift got {shift}, must be 0 .. {SHIFT_MAX}")


def run(graph: Graph, node: Node, inputs: list[np.ndarray], lengths: np.ndarray) -> np.ndarray:
    out = graph.tensor(node.name)
    return window_mean(inputs[0], lengths, *(node.attrs[key] for key in ATTRS), out.bits, out.signed)


def onnx(b, graph: Graph, node: Node, inputs: list[str]) -> str:
    """Sums of the cuts; how many tokens they are of, from where a window begins and ends within the sentence."""
    places, stride = window.pooled(node), node.attrs["stride"]
    first, *others = window.cuts(b, inputs[0], places, stride, 0)
    for cut in others:
        first = b.op("Add", first, cut)
    tokens = b.op("Gather", b.op("Shape", inputs[0]), b.scalar(0))
    at = b.op("Range", b.scalar(0), tokens, b.scalar(stride))
    end = b.op("Min", b.op("Add", at, b.scalar(places[-1] + 1)), tokens)
    count = b.op("Sub", end, b.op("Max", b.op("Add", at, b.scalar(places[0])), b.scalar(0)))
    r = b.op("Unsqueeze", b.op("Div", b.scalar(1 << node.attrs["recip_bits"]), count), b.ints([1]))
    return b.clip(b.round_shift(b.op("Mul", first, r), node.attrs["shift"]), graph.tensor(node.name), name=node.name)


def _levels(kernel: int) -> int:
    """Of the tree of adders."""
    return (kernel - 1).bit_length()


def timing(graph: Graph, node: Node, fold: Fold, ins, out):
    """The numbers are those of hw/rtl/window_mean.sv."""
    yield from window.timing(window.pooled(node), node.attrs["stride"], _levels(node.attrs["kernel"]) + LATENCY, ins, out)


def rtl(graph: Graph, node: Node, fold: Fold) -> Instance:
    out = graph.tensor(node.name)
    own = {"SIGNED": int(out.signed), "OUT_W": out.bits, "RECIP_BITS": node.attrs["recip_bits"], "SHIFT": node.attrs["shift"]}
    return Instance(module="window_mean", params=own | window.params(graph, node, fold))


def hls(graph: Graph, node: Node, fold: Fold) -> HlsLayer:
    return window.hls(graph, node, fold, sum_bits=sum_bits(rtl(graph, node, fold).params), **{key: node.attrs[key] for key in ("recip_bits", "shift")})


def holds(graph: Graph, node: Node, fold: Fold, port: int) -> int:
    return window.holds(window.pooled(node), node.attrs["stride"])


def append(b: GraphBuilder, name: str, x: Tensor, kernel: int, stride: int, shift: int, bits: int, scale: float = 1.0) -> Tensor:
    """The node of the means of windows of `kernel` tokens, one for each `stride` tokens; shift = recip_bits + log2(scale / x.scale)."""
    out = Tensor(name=name, shape=(str(x.tokens.strided(stride)), x.channels), bits=bits, signed=x.signed, scale=scale)
    return b.add("window_mean", out, (x.name,), {"kernel": kernel, "stride": stride, "recip_bits": reciprocal_bits(x.bits, kernel), "shift": shift})


def sum_bits(p: Params) -> int:
    """As hw/rtl/window_mean.sv has them."""
    return p["W"] + 1 + _levels(p["KERNEL"])


def products(p: Params) -> list[Product]:
    return p["LANES"] * mul.products(sum_bits(p), p["RECIP_BITS"] + 2)


def terms(p: Params) -> Terms:
    lanes, bits = p["LANES"], sum_bits(p)
    return window.terms(p) | {
        "node_bits": lanes * bits * ((1 << _levels(p["KERNEL"])) - 1),
        "product_bits": lanes * (bits + p["RECIP_BITS"] + 2),
        "recip_bits": p["KERNEL"] * (p["RECIP_BITS"] + 1),
    }


MODULE = Module(name="window_mean", terms=terms, memories=window.memories, products=products)


OP = Operator(
    name="window_mean",
    params=PARAMS,
    attrs=ATTRS,
    check=check,
    run=run,
    onnx=onnx,
    observed=True,
    elementwise=True,
    wants_zeros=lambda graph, node: False,
    timing=timing,
    holds=holds,
    rtl=rtl,
    module=MODULE,
    hls=hls,
)
