# SPDX-License-Identifier: Apache-2.0
"""concat: the channels of two tensors one behind the other, of each token or of a vector."""

from __future__ import annotations

import numpy as np

from bitloom.hw.cost.memories import index_bits
from bitloom.hw.graph import Graph, GraphBuilder, Node, Tensor, require
from bitloom.hw.instance import Fold, HlsLayer, Instance, Module, Params, Terms
from bitloom.hw.ops.record import Operator

PARAMS = ()
ATTRS = ()


def concat(a, b):
    """y = a's channels, then b's.

    a, b     int64 [N, C_a], [N, C_b], of one grid
    returns  int64 [N, C_a + C_b], of the same
    """
    return np.concatenate([a, b], axis=1)


def check(graph: Graph, node: Node) -> None:
    a, b, out = (graph.tensor(n) for n in (*node.inputs, node.name))
    fits = a.kind == b.kind != "row" and a.shape[0] == b.shape[0] and out.shape == (a.shape[0], a.channels + b.channels)
    require(fits, graph, node, f"shapes got {a.shape}, {b.shape} -> {out.shape}, must be two of tokens, or of vectors, and their channels together")
    for x in (a, b):
        same = (x.bits, x.signed, x.scale) == (out.bits, out.signed, out.scale)
        require(same, graph, node, f"{x.name} got {x.bits} bits, scale {x.scale}, must be {out.bits}, {out.scale}, signed {out.signed} as the output")


def run(graph: Graph, node: Node, inputs: list[np.ndarray], lengths: np.ndarray) -> np.ndarray:
    return concat(*inputs)


def onnx(b, graph: Graph, node: Node, inputs: list[str]) -> str:
    return b.op("Concat", *inputs, axis=1, name=node.name)


def timing(graph: Graph, node: Node, fold: Fold, ins, out):
    """A beat a cycle; the numbers are those of hw/rtl/concat.sv."""
    free = 0  # cycle from which the next beat can be taken
    while True:
        a = yield ins[0].get()
        first_a = max(free, a.first)
        last_a = a.taken(first_a)
        b = yield ins[1].get()
        first_b = max(last_a + 1, b.first)
        last_b = b.taken(first_b)
        _, moved = yield out.put(first_a + 1, last_b + 1, a.beats + b.beats, b.end)
        late = moved - 1 - last_b
        ins[0].popped(first_a, last_a)
        ins[1].popped(first_b + late, last_b + late, last_b - first_b)
        free = moved


def _beats(graph: Graph, node: Node, fold: Fold) -> list[int]:
    """Of a token of each input."""
    return [fold.into(graph.tensor(name).channels).width // fold.lanes_in for name in node.inputs]


def rtl(graph: Graph, node: Node, fold: Fold) -> Instance:
    beats = _beats(graph, node, fold)
    return Instance(module="concat", params={"A_BEATS": beats[0], "B_BEATS": beats[1], "WIDTH": fold.lanes_in * graph.tensor(node.name).bits})


def hls(graph: Graph, node: Node, fold: Fold) -> HlsLayer:
    return HlsLayer(constants=dict(zip(("a_beats", "b_beats"), _beats(graph, node, fold), strict=True)))


def append(g: GraphBuilder, name: str, a: Tensor, b: Tensor) -> Tensor:
    """The node of both tensors' channels."""
    out = Tensor(name=name, shape=(a.shape[0], a.channels + b.channels), bits=a.bits, signed=a.signed, scale=a.scale)
    return g.add("concat", out, (a.name, b.name))


def terms(p: Params) -> Terms:
    return {"out_bits": p["WIDTH"], "count_bits": index_bits(max(p["A_BEATS"], p["B_BEATS"]))}


MODULE = Module(name="concat", terms=terms)


OP = Operator(
    name="concat",
    params=PARAMS,
    attrs=ATTRS,
    check=check,
    run=run,
    onnx=onnx,
    observed=True,
    ports=("a", "b"),
    joins=True,
    wants_zeros=lambda graph, node: False,
    timing=timing,
    rtl=rtl,
    module=MODULE,
    hls=hls,
)
