# SPDX-License-Identifier: Apache-2.0
"""first_token: the sentence's first token, which the pooler reads."""

from __future__ import annotations

from itertools import accumulate

import numpy as np

from bitloom.hw.cost.memories import index_bits
from bitloom.hw.graph import Graph, GraphBuilder, Node, Tensor, require
from bitloom.hw.instance import Fold, HlsLayer, Instance, Module, Params, Terms
from bitloom.hw.ops.record import TOLD, Finn, Operator

PARAMS = ()
ATTRS = ()


RUNS = 1  # input: of packs, tokens of each of their sentences


def first_token(x, lengths):
    """y[s] = x[first token of sentence s]; int64 [N, C], lengths [S] -> int64 [S, C]."""
    return x[np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64)] if len(lengths) else x[:0]


def check(graph: Graph, node: Node) -> None:
    x, out = graph.tensor(node.inputs[0]), graph.tensor(node.name)
    require(all(graph.tensor(name).shape == (1, 1) for name in node.inputs[RUNS:]), graph, node, "got a second input, must be a border (1, 1)")
    require(x.kind == "token" and out.shape == (1, x.channels), graph, node, f"shapes got {x.shape} -> {out.shape}, must be ('T', C) -> (1, C)")
    require((x.bits, x.signed) == (out.bits, out.signed), graph, node, f"output got {out.bits} bits, must be the input's {x.bits}")


def run(graph: Graph, node: Node, inputs: list[np.ndarray], lengths: np.ndarray) -> np.ndarray:
    return first_token(inputs[0], inputs[RUNS].reshape(-1) if len(inputs) > RUNS else lengths)


def onnx(b, graph: Graph, node: Node, inputs: list[str]) -> str:
    return b.op("Slice", inputs[0], b.ints([0]), b.ints([1]), b.ints([0]), name=node.name)


def timing(graph: Graph, node: Node, fold: Fold, ins, out):
    """A beat of a first token takes `lanes_in` cycles, any other one (numbers as in hw/rtl/first_token.sv)."""
    lanes, channels = fold.lanes_in, fold.into(graph.tensor(node.name).channels).width
    free = hold_free = told = sentence = index = 0  # free, hold_free: cycles from which the next beat can be taken, and the next one of a first token
    starts, packed, end = True, len(ins) > RUNS, True  # end: it is the last sentence of its pack
    while True:
        token = yield ins[0].get()
        index += 1
        if packed and starts:
            told, _, _, end, *_ = yield ins[RUNS].get()
        first = max(token.first, free, told, hold_free if starts else 0)
        last = max(token.taken(first), first + (token.beats - 1) * (lanes if starts else 1))
        if starts:
            first, last = yield out.put(first + 1, last + lanes, channels, end)
            first, last, hold_free = first - 1, last - lanes, last
        ins[0].popped(first, last)
        starts = index in accumulate(ins[0].border(sentence)) if packed else token.end
        if packed and starts:
            ins[RUNS].popped(last, last)
        if token.end:
            sentence, index = sentence + 1, 0
        free = last + 1


def rtl(graph: Graph, node: Node, fold: Fold) -> Instance:
    x = graph.tensor(node.inputs[0])
    told = {"BORDER_W": graph.tensor(node.inputs[RUNS]).bits} if len(node.inputs) > RUNS else {}
    return Instance(module="first_token", params={"C": fold.into(x.channels).width, "LANES": fold.lanes_in, "W": x.bits} | told)


def hls(graph: Graph, node: Node, fold: Fold) -> HlsLayer:
    return HlsLayer()


def append(b: GraphBuilder, name: str, x: Tensor) -> Tensor:
    """The node that keeps a sentence's first token."""
    return b.add("first_token", Tensor(name=name, shape=(1, x.channels), bits=x.bits, signed=x.signed, scale=x.scale), (x.name,))


def terms(p: Params) -> Terms:
    return {"lane_bits": p["LANES"] * p["W"], "count_bits": index_bits(p["C"] // p["LANES"]) + p.get("BORDER_W", 0)}


MODULE = Module(name="first_token", terms=terms)


def finn(b, graph: Graph, node: Node) -> None:
    b.op("Gather", [node.inputs[0], b.ints(f"{node.name}.index", 0)], node.name, b.datatype(graph.tensor(node.name)), axis=1)


def finn_values(b, graph: Graph, node: Node, inputs: list):
    """Quantized once more, which changes nothing: FINN cannot move a scale past the selection."""
    return inputs[0][:, 0]


OP = Operator(
    name="first_token",
    params=PARAMS,
    attrs=ATTRS,
    packs=TOLD,
    check=check,
    run=run,
    onnx=onnx,
    ports=("s", "b"),
    same_layout=True,
    wants_zeros=lambda graph, node: False,
    timing=timing,
    rtl=rtl,
    module=MODULE,
    hls=hls,
    hls_turns=True,
    finn=Finn(nodes=finn, values=finn_values, quant=True),
)
