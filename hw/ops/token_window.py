# SPDX-License-Identifier: Apache-2.0
"""token_window: tokens with their neighbours side by side; a linear layer behind it is a convolution over tokens (Kim 2014, arXiv:1408.5882)."""

from __future__ import annotations

import numpy as np

from bitloom.hw.graph import Graph, GraphBuilder, Node, Tensor, require
from bitloom.hw.instance import Fold, HlsLayer, Instance, Module
from bitloom.hw.ops.record import Operator
from bitloom.hw.parts import window
from bitloom.hw.parts.window import offsets

PARAMS = ()
ATTRS = ("kernel", "dilation", "stride")


def token_window(x, lengths, kernel, dilation, stride=1):
    """y[i, c*kernel + k] = x[i*stride + offsets[k], c]; 0 where the sentence has no such token; of T tokens ceil(T / stride).

    x        int64 [N, C], sentences of `lengths` [S] tokens one behind the other
    returns  int64 [M, C*kernel], of the same grid
    """
    found, there = window.taps(x, lengths, offsets(kernel, dilation, stride), stride)
    return np.where(there[..., None], found, 0).swapaxes(1, 2).reshape(len(found), -1)


def _shape(node: Node) -> tuple[int, int, int]:
    """kernel, dilation, stride."""
    return tuple(node.attrs[key] for key in ATTRS)


def check(graph: Graph, node: Node) -> None:
    x, out = graph.tensor(node.inputs[0]), graph.tensor(node.name)
    window.check(graph, node, *_shape(node), times=node.attrs["kernel"])
    require((x.bits, x.signed) == (out.bits, out.signed), graph, node, f"output got {out.bits} bits, must be the input's {x.bits}")


def run(graph: Graph, node: Node, inputs: list[np.ndarray], lengths: np.ndarray) -> np.ndarray:
    return token_window(inputs[0], lengths, *_shape(node))


def onnx(b, graph: Graph, node: Node, inputs: list[str]) -> str:
    """The sentence between zeros, cut once for each place of the window."""
    cuts = window.cuts(b, inputs[0], offsets(*_shape(node)), node.attrs["stride"], 0)
    together = b.op("Concat", *(b.op("Unsqueeze", cut, b.ints([2])) for cut in cuts), axis=2)
    return b.op("Reshape", together, b.ints([-1, graph.tensor(node.name).channels]), name=node.name)


def timing(graph: Graph, node: Node, fold: Fold, ins, out):
    yield from window.timing(offsets(*_shape(node)), node.attrs["stride"], 0, ins, out)


def rtl(graph: Graph, node: Node, fold: Fold) -> Instance:
    return Instance(module="token_window", params={"DILATION": node.attrs["dilation"], **window.params(graph, node, fold)})


def hls(graph: Graph, node: Node, fold: Fold) -> HlsLayer:
    return window.hls(graph, node, fold)


def holds(graph: Graph, node: Node, fold: Fold, port: int) -> int:
    return window.holds(offsets(*_shape(node)), node.attrs["stride"])


def append(b: GraphBuilder, name: str, x: Tensor, kernel: int, dilation: int = 1, stride: int = 1) -> Tensor:
    """The node of windows of `kernel` tokens, each `dilation` from the next, one for each `stride` tokens."""
    shape = (str(x.tokens.strided(stride)), kernel * x.channels)
    out = Tensor(name=name, shape=shape, bits=x.bits, signed=x.signed, scale=x.scale)
    return b.add("token_window", out, (x.name,), {"kernel": kernel, "dilation": dilation, "stride": stride})


MODULE = Module(name="token_window", terms=window.terms, memories=window.memories)


OP = Operator(
    name="token_window",
    params=PARAMS,
    attrs=ATTRS,
    check=check,
    run=run,
    onnx=onnx,
    times=lambda graph, node: int(node.attrs["kernel"]),
    wants_zeros=lambda graph, node: False,
    timing=timing,
    holds=holds,
    rtl=rtl,
    module=MODULE,
    hls=hls,
)
