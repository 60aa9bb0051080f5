# SPDX-License-Identifier: Apache-2.0
"""token_max: for each channel the largest code of a sentence's tokens (max over time, Collobert et al. 2011; Kim 2014, arXiv:1408.5882)."""

from __future__ import annotations

import numpy as np

from bitloom.hw.cost.memories import Memory
from bitloom.hw.graph import Graph, GraphBuilder, Node, Tensor, require
from bitloom.hw.instance import Fold, HlsLayer, Instance, Module, Params, Terms
from bitloom.hw.ops.record import Operator
from bitloom.hw.parts import pool

PARAMS = ()
ATTRS = ()


def token_max(x, lengths):
    """y[s, c] = max of x[i, c] over the tokens i of sentence s.

    x        int64 [N, C], sentences of `lengths` [S] tokens one behind the other
    returns  int64 [S, C], of the same grid
    """
    return pool.over_tokens(np.maximum, x, lengths)


def check(graph: Graph, node: Node) -> None:
    pool.require_shapes(graph, node)
    x, out = graph.tensor(node.inputs[0]), graph.tensor(node.name)
    require(x.bits == out.bits, graph, node, f"output got {out.bits} bits, must be the input's {x.bits}")


def run(graph: Graph, node: Node, inputs: list[np.ndarray], lengths: np.ndarray) -> np.ndarray:
    return token_max(inputs[0], lengths)


def onnx(b, graph: Graph, node: Node, inputs: list[str]) -> str:
    return b.op("ReduceMax", inputs[0], b.ints([0]), keepdims=1, name=node.name)


def timing(graph: Graph, node: Node, fold: Fold, ins, out):
    """The numbers are those of hw/rtl/pool.sv."""
    channels, banks, moved = fold.into(graph.tensor(node.name).channels).width, pool.Pool(), -1
    while True:
        token = yield ins[0].get()
        last = banks.take(ins[0], token)
        if token.end:
            first = max(last + 2, moved + 1)
            _, moved = yield out.put(first, first + channels - 1, channels, True)
            banks.left(moved)


def rtl(graph: Graph, node: Node, fold: Fold) -> Instance:
    x = graph.tensor(node.inputs[0])
    params = {"C": fold.into(x.channels).width, "LANES": fold.lanes_in, "W": x.bits, "SIGNED": int(x.signed), "MAX_TOKENS": graph.max_tokens}
    return Instance(module="token_max", params=params)


def hls(graph: Graph, node: Node, fold: Fold) -> HlsLayer:
    return HlsLayer()


def append(b: GraphBuilder, name: str, x: Tensor) -> Tensor:
    """The node of the largest codes of a token stream."""
    return b.add("token_max", Tensor(name=name, shape=(1, x.channels), bits=x.bits, signed=x.signed, scale=x.scale), (x.name,))


def memories(p: Params) -> list[Memory]:
    return pool.memories(p, p["W"])


def terms(p: Params) -> Terms:
    return pool.terms(p, p["W"])


MODULE = Module(name="token_max", terms=terms, memories=memories)


OP = Operator(
    name="token_max",
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
