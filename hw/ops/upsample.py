# SPDX-License-Identifier: Apache-2.0
"""upsample: residual sum whose second addend has one token for each `stride` of the first one's: each of its tokens is repeated.

Dai et al. 2020, "Funnel-Transformer" (arXiv:2006.03236, section 2.2); Nawrot et al. 2021, "Hierarchical Transformers Are More Efficient Language Models"
(arXiv:2110.13711).
"""

from __future__ import annotations

import numpy as np

from bitloom.hw.cost.memories import Memory, index_bits
from bitloom.hw.graph import Graph, GraphBuilder, Node, Tensor, require
from bitloom.hw.instance import Fold, HlsLayer, Instance, Module, Params, Terms
from bitloom.hw.ops import add
from bitloom.hw.ops.record import Operator

PARAMS = ()
ATTRS = ("stride", *add.ATTRS)
LATENCY = 2


def upsample(a, b, lengths, stride, mult_a, mult_b, shift, bits):
    """y[i] = clip((a[i]*mult_a + b[i // stride]*mult_b + half) >> shift) in each sentence; ties towards +inf.

    a, b     int64 [N, C], [M, C], sentences of `lengths` [S] and ceil(lengths / stride) tokens one behind the other, one LSB = s_a, s_b;
             mult / 2**shift = s_a / s_y, s_b / s_y
    returns  int64 [N, C], signed, `bits` wide, one LSB = s_y
    """
    return add.add(a, b[repeated(lengths, stride)], mult_a, mult_b, shift, bits)


def repeated(lengths, stride: int) -> np.ndarray:
    """Of each token of sentences of these lengths the row of b, int64 [N]."""
    coarse = -(-np.asarray(lengths, dtype=np.int64) // stride)
    return np.concatenate([start + np.arange(n) // stride for start, n in zip(np.cumsum(coarse) - coarse, lengths, strict=True)] or [coarse])


def check(graph: Graph, node: Node) -> None:
    (a, b), out, stride = (graph.tensor(n) for n in node.inputs), graph.tensor(node.name), node.attrs["stride"]
    require(stride >= 2, graph, node, f"stride got {stride}, must be at least 2")
    require(a.kind == "token" and a.shape == out.shape, graph, node, f"shapes got {a.shape} -> {out.shape}, must be equal, of tokens")
    want = (str(a.tokens.strided(stride)), a.channels)
    require(b.shape == want, graph, node, f"{b.name} got shape {b.shape}, must be {want}, a token for each {stride} of {a.name}")
    add.check_sum(graph, node)


def run(graph: Graph, node: Node, inputs: list[np.ndarray], lengths: np.ndarray) -> np.ndarray:
    return upsample(*inputs, lengths, *(node.attrs[key] for key in ATTRS), graph.tensor(node.name).bits)


def onnx(b, graph: Graph, node: Node, inputs: list[str]) -> str:
    tokens = b.op("Gather", b.op("Shape", inputs[0]), b.scalar(0))
    at = b.op("Div", b.op("Range", b.scalar(0), tokens, b.scalar(1)), b.scalar(node.attrs["stride"]))
    return add.onnx(b, graph, node, [inputs[0], b.op("Gather", inputs[1], at)])


def timing(graph: Graph, node: Node, fold: Fold, ins, out):
    """A pipeline that stalls as a whole: II 1; a token of b is taken with the first of those of a that it stands beside (hw/rtl/upsample.sv)."""
    stride, free, at = node.attrs["stride"], 0, 0
    while True:
        tokens = [(yield ins[0].get())]
        if at == 0:
            tokens.append((yield ins[1].get()))
        beats, end = tokens[0].beats, tokens[0].end
        first = max(free, *(token.first for token in tokens))
        last = max(token.taken(first) for token in tokens)
        pace = last - first
        first, last = yield out.put(first + LATENCY, last + LATENCY, beats, end)
        for channel, _ in zip(ins, tokens, strict=False):
            channel.popped(first - LATENCY, last - LATENCY, pace)
        free, at = last - LATENCY + 1, 0 if end else (at + 1) % stride


def rtl(graph: Graph, node: Node, fold: Fold) -> Instance:
    own = {"STRIDE": node.attrs["stride"], "BEATS": fold.into(graph.tensor(node.name).channels).width // fold.lanes_in}
    return Instance(module="upsample", params=own | add.rtl(graph, node, fold).params)


def hls(graph: Graph, node: Node, fold: Fold) -> HlsLayer:
    return HlsLayer(constants={"stride": node.attrs["stride"]} | add.hls(graph, node, fold).constants)


def append(g: GraphBuilder, name: str, a: Tensor, b: Tensor, stride: int, *, mult_a: int, mult_b: int, shift: int, bits: int, scale: float = 1.0) -> Tensor:
    """The node of the rescaled sum on a's tokens."""
    out = Tensor(name=name, shape=a.shape, bits=bits, signed=True, scale=scale)
    return g.add("upsample", out, (a.name, b.name), {"stride": stride, "mult_a": mult_a, "mult_b": mult_b, "shift": shift})


def memories(p: Params) -> list[Memory]:
    return [Memory("token", p["LANES"] * p["B_W"], p["BEATS"])] if p["BEATS"] > 1 else []


def terms(p: Params) -> Terms:
    return add.terms(p) | {"word_bits": p["LANES"] * p["B_W"], "count_bits": index_bits(p["BEATS"]) + index_bits(p["STRIDE"])}


MODULE = Module(name="upsample", terms=terms, memories=memories, products=add.products)


OP = Operator(
    name="upsample",
    params=PARAMS,
    attrs=ATTRS,
    check=check,
    run=run,
    onnx=onnx,
    observed=True,
    ports=("a", "b"),
    elementwise=True,
    wants_zeros=lambda graph, node: False,
    timing=timing,
    rtl=rtl,
    module=MODULE,
    hls=hls,
)
