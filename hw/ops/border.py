# SPDX-License-Identifier: Apache-2.0
"""border: how many tokens the first sentence of a pair has, from the marks that the second one's carry; or each sentence of a pack, from those of its end."""

from __future__ import annotations

from itertools import accumulate

import numpy as np

from bitloom.hw.cost.memories import index_bits
from bitloom.hw.graph import Graph, GraphBuilder, Node, Tensor, require
from bitloom.hw.instance import Fold, HlsLayer, Instance, Module, Params, Terms
from bitloom.hw.ops.common import sentences
from bitloom.hw.ops.record import Operator

PARAMS = ()
ATTRS = ()
ENDS = "ends"  # attribute: the last tokens of a pack's sentences are marked (hw/pack.py)


def border(x, lengths):
    """y[s] = tokens of sentence s in front of the first one whose channel 0 is odd; all of them where none is.

    x        int64 [N, C], marked sums of embeddings (`marked`)
    lengths  int64 [S]
    returns  int64 [S, 1], 0 .. T
    """
    marks = x[:, 0] & 1
    return np.array([[int(np.argmax(own)) if (own := marks[tok]).any() else n] for n, tok, _ in sentences(lengths)], dtype=np.int64).reshape(-1, 1)


def ends(x):
    """y = tokens of each sentence of packs, whose last tokens have an odd channel 0; int64 [N, C] -> int64 [S, 1]."""
    return np.diff(np.flatnonzero(x[:, 0] & 1), prepend=-1).reshape(-1, 1)


def marked(word, position, segment):
    """The three tables of `embed` whose sums also tell the segment: 2 x - s, for the sum x of a token in segment s, 0 or 1; (2 x - s + 1) >> 1 = x."""
    return 2 * word, 2 * position, 2 * segment - np.minimum(np.arange(len(segment)), 1)[:, None]


def check(graph: Graph, node: Node) -> None:
    x, out = graph.tensor(node.inputs[0]), graph.tensor(node.name)
    require(x.kind == "token" and out.shape == (1, 1), graph, node, f"shapes got {x.shape} -> {out.shape}, must be ('T', C) -> (1, 1)")
    bits = graph.max_tokens.bit_length()
    require((out.bits, out.signed) == (bits, False), graph, node, f"output got {out.bits} bits, must be {bits}, unsigned, for {graph.max_tokens} tokens")


def run(graph: Graph, node: Node, inputs: list[np.ndarray], lengths: np.ndarray) -> np.ndarray:
    return ends(inputs[0]) if node.attrs.get(ENDS) else border(inputs[0], lengths)


def onnx(b, graph: Graph, node: Node, inputs: list[str]) -> str:
    first = b.op("Reshape", b.op("Gather", inputs[0], b.ints([0]), axis=1), b.ints([-1]))
    mark = b.op("Mod", first, b.scalar(2))
    tokens = b.op("Gather", b.op("Shape", inputs[0]), b.scalar(0))
    at = b.op("Range", b.scalar(0), tokens, b.scalar(1))
    behind = b.op("Where", b.op("Equal", mark, b.scalar(1)), at, tokens)
    return b.op("Reshape", b.op("ReduceMin", behind, b.ints([0]), keepdims=1), b.ints([1, 1]), name=node.name)


def timing(graph: Graph, node: Node, fold: Fold, ins, out):
    """Tells the border with the first beat of the second sentence, or the last of all (numbers as in hw/rtl/border.sv)."""
    if node.attrs.get(ENDS):
        yield from _ends(ins[0], out)
    free = sentence = 0
    while True:
        index, end, told = 0, False, False
        while not end:
            token = yield ins[0].get()
            end, index = token.end, index + 1
            first = max(token.first, free)
            begins = not told and index - 1 == ins[0].border(sentence)
            if begins:
                _, moved = yield out.put(first + 1, first + 1, 1, True)
                last = max(token.taken(first), moved + token.beats - 2)
            else:
                last = token.taken(first)
            ins[0].popped(first, last)
            free, told = last + 1, told or begins
        if not told:
            _, moved = yield out.put(last + 1, last + 1, 1, True)
        free, sentence = max(free, moved), sentence + 1


def _ends(x, out):
    """Of packs: with the last beat of each sentence."""
    free = sentence = index = 0
    while True:
        token = yield x.get()
        index += 1
        first = max(token.first, free)
        last = token.taken(first)
        x.popped(first, last)
        free = last + 1
        if index in accumulate(x.border(sentence)):
            _, moved = yield out.put(last + 1, last + 1, 1, token.end)
            free = max(free, moved)
        if token.end:
            sentence, index = sentence + 1, 0


def rtl(graph: Graph, node: Node, fold: Fold) -> Instance:
    x, out = graph.tensor(node.inputs[0]), graph.tensor(node.name)
    width = fold.into(x.channels).width
    params = {"BEATS": width // fold.lanes_in, "WIDTH": fold.lanes_in * x.bits, "OUT_W": out.bits}
    return Instance(module="border", params=params | ({"ENDS": 1} if node.attrs.get(ENDS) else {}))


def hls(graph: Graph, node: Node, fold: Fold) -> HlsLayer:
    return HlsLayer()


def append(b: GraphBuilder, name: str, x: Tensor, *, ends: bool = False) -> Tensor:
    """The node that counts the tokens of the first sentence in marked sums `x`; ends: of each sentence of a pack, from the marks of their last tokens."""
    return b.add("border", Tensor(name=name, shape=(1, 1), bits=b.max_tokens.bit_length(), signed=False), (x.name,), {ENDS: 1} if ends else {})


def terms(p: Params) -> Terms:
    return {"count_bits": 2 * p["OUT_W"] + index_bits(p["BEATS"])}


MODULE = Module(name="border", terms=terms)
OP = Operator(
    name="border",
    params=PARAMS,
    attrs=ATTRS,
    check=check,
    run=run,
    onnx=onnx,
    wants_zeros=lambda graph, node: False,
    aside=True,
    timing=timing,
    rtl=rtl,
    module=MODULE,
    hls=hls,
)
