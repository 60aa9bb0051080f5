# SPDX-License-Identifier: Apache-2.0
"""window_max: for each channel the largest code of a window's tokens (max pooling, here over tokens)."""

from __future__ import annotations

import numpy as np

from bitloom.hw.graph import Graph, GraphBuilder, Node, Tensor, require
from bitloom.hw.instance import Fold, HlsLayer, Instance, Module, Params, Terms
from bitloom.hw.ops.record import Operator
from bitloom.hw.parts import window
from bitloom.hw.parts.window import offsets

PARAMS = ()
ATTRS = ("kernel", "stride")


def window_max(x, lengths, kernel, stride):
    """y[i, c] = max of x[i*stride + offsets[k], c] over those of k = 0 .. kernel-1 that the sentence has; of T tokens ceil(T / stride).

    x        int64 [N, C], sentences of `lengths` [S] tokens one behind the other
    returns  int64 [M, C], of the same grid
    """
    found, there = window.taps(x, lengths, offsets(kernel, 1, stride), stride)
    return np.where(there[..., None], found, np.iinfo(np.int64).min).max(axis=1)


def check(graph: Graph, node: Node) -> None:
    x, out = graph.tensor(node.inputs[0]), graph.tensor(node.name)
    window.check_pool(graph, node)
    require((x.bits, x.signed) == (out.bits, out.signed), graph, node, f"output got {out.bits} bits, must be the input's {x.bits}")


def run(graph: Graph, node: Node, inputs: list[np.ndarray], lengths: np.ndarray) -> np.ndarray:
    return window_max(inputs[0], lengths, *(node.attrs[key] for key in ATTRS))


def onnx(b, graph: Graph, node: Node, inputs: list[str]) -> str:
    low = graph.tensor(node.inputs[0]).low
    return b.op("Max", *window.cuts(b, inputs[0], window.pooled(node), node.attrs["stride"], low), name=node.name)


def latency(kernel: int) -> int:
    """Levels of the tree of comparisons."""
    return (kernel - 1).bit_length()


def timing(graph: Graph, node: Node, fold: Fold, ins, out):
    """The numbers are those of hw/rtl/window_max.sv."""
    yield from window.timing(window.pooled(node), node.attrs["stride"], latency(node.attrs["kernel"]), ins, out)


def rtl(graph: Graph, node: Node, fold: Fold) -> Instance:
    return Instance(module="window_max", params={"SIGNED": int(graph.tensor(node.name).signed), **window.params(graph, node, fold)})


def hls(graph: Graph, node: Node, fold: Fold) -> HlsLayer:
    return window.hls(graph, node, fold)


def holds(graph: Graph, node: Node, fold: Fold, port: int) -> int:
    return window.holds(window.pooled(node), node.attrs["stride"])


def append(b: GraphBuilder, name: str, x: Tensor, kernel: int, stride: int = 1) -> Tensor:
    """The node of the largest codes of windows of `kernel` tokens, one for each `stride` tokens."""
    out = Tensor(name=name, shape=(str(x.tokens.strided(stride)), x.channels), bits=x.bits, signed=x.signed, scale=x.scale)
    return b.add("window_max", out, (x.name,), {"kernel": kernel, "stride": stride})


def terms(p: Params) -> Terms:
    return window.terms(p) | {"node_bits": p["LANES"] * (p["W"] + 1) * ((1 << latency(p["KERNEL"])) - 1)}


MODULE = Module(name="window_max", terms=terms, memories=window.memories)


OP = Operator(
    name="window_max",
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
