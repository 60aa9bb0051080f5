# SPDX-License-Identifier: Apache-2.0
"""pattern: heads that attend by a fixed pattern: each token takes its neighbours' values, weighted by where they stand. No query, key, score or softmax."""

from __future__ import annotations

from collections import deque

import numpy as np

from bitloom.hw.cost.memories import Memory, index_bits
from bitloom.hw.graph import Graph, GraphBuilder, Node, Tensor, require, signed_bits
from bitloom.hw.instance import Codes, Fold, HlsLayer, Instance, Module, Params, Terms
from bitloom.hw.ops.common import largest, last_read, require_bits, require_holds, sentences
from bitloom.hw.ops.record import Operator
from bitloom.hw.parts import mac_array
from bitloom.hw.parts.mac_array import mac_latency

PARAMS = ()
ATTRS = ("patterns",)
SHIFT = 6  # the weights of each head sum to 2**SHIFT
# Neighbour -> weight. Of a wider context: cubes of 4 .. 1, the nearest the largest, over their sum (Raganato et al. 2020), as integers of that sum.
PATTERNS = {
    "current": {0: 64},
    "previous": {-1: 64},
    "next": {1: 64},
    "left": {-2: 41, -3: 17, -4: 5, -5: 1},
    "right": {2: 41, 3: 17, 4: 5, 5: 1},
}


def pattern(v, heads):
    """acc[i,h,d] = sum_o w[h,o] v[min(max(i + o, 0), T - 1),h,d]: a neighbour beyond the sentence is its first or last token.

    v        int64 [T, H], heads side by side
    heads    of each the neighbours' weights {o: w[h,o]}, which sum to 2**SHIFT
    returns  int64 [T, H], one LSB = s_v 2**-SHIFT
    """
    tokens = len(v)
    split, at = v.reshape(tokens, len(heads), -1), np.arange(tokens)
    acc = np.zeros_like(split)
    for head, weights in enumerate(heads):
        for offset, weight in weights.items():
            acc[:, head] += weight * split[np.clip(at + offset, 0, tokens - 1), head]
    return acc.reshape(tokens, -1)


def heads_of(node: Node) -> list[dict[int, int]]:
    """The weights of each head."""
    return [PATTERNS[name] for name in str(node.attrs["patterns"]).split()]


def check(graph: Graph, node: Node) -> None:
    v, out, names = graph.tensor(node.inputs[0]), graph.tensor(node.name), str(node.attrs["patterns"]).split()
    known = ", ".join(PATTERNS)
    require(bool(names) and set(names) <= set(PATTERNS), graph, node, f"patterns got '{node.attrs['patterns']}', must be of {known}, with blanks between")
    fits = v.kind == "token" and v.shape == out.shape and v.channels % len(names) == 0
    require(fits, graph, node, f"v, output got {v.shape}, {out.shape}, must be equal, divisible by {len(names)} heads")
    require_bits(v, 2, 16, graph, node)
    require(v.signed, graph, node, f"{v.name} got unsigned, must be signed")
    require_holds(largest(v) << SHIFT, graph, node)


def run(graph: Graph, node: Node, inputs: list[np.ndarray], lengths: np.ndarray) -> np.ndarray:
    heads = heads_of(node)
    return np.concatenate([pattern(inputs[0][tok], heads) for _, tok, _ in sentences(lengths)] or [inputs[0]])


def onnx(b, graph: Graph, node: Node, inputs: list[str]) -> str:
    heads, width = heads_of(node), graph.tensor(node.name).channels
    tokens = b.op("Gather", b.op("Shape", inputs[0]), b.scalar(0))
    at, last = b.op("Range", b.scalar(0), tokens, b.scalar(1)), b.op("Sub", tokens, b.scalar(1))
    sums = ""
    for offset in sorted({o for weights in heads for o in weights}):
        there = b.op("Min", b.op("Max", b.op("Add", at, b.scalar(offset)), b.scalar(0)), last)
        weight = np.repeat([weights.get(offset, 0) for weights in heads], width // len(heads))
        product = b.op("Mul", b.op("Gather", inputs[0], there), b.constant(f"{node.name}.{offset}", weight))
        sums = b.op("Add", sums, product) if sums else product
    return b.op("Identity", sums, name=node.name)


def _taps(heads: list[dict[int, int]]) -> tuple[int, list[list[tuple[int, int]]]]:
    """The farthest neighbour's distance; of each head equally many (neighbour, weight), those that are missing with weight 0."""
    most = max(len(weights) for weights in heads)
    return max(abs(o) for weights in heads for o in weights), [[*weights.items(), *[(0, 0)] * (most - len(weights))] for weights in heads]


def room(reach: int) -> int:
    """Tokens that the window holds: a power of two, those before and behind, the one in work, and one that comes."""
    return 1 << (2 * reach + 1).bit_length()


def timing(graph: Graph, node: Node, fold: Fold, ins, out):
    """A token goes out when those behind it that it takes are there; numbers as in hw/rtl/pattern.sv."""
    reach, taps = _taps(heads_of(node))
    latency, ahead = mac_latency(len(taps[0])), room(reach) - reach
    places, waiting, free, done, moved = deque([0] * ahead), deque(), 0, -1, -1  # waiting: when each token that came, and is not out, was whole
    while True:
        token = yield ins[0].get()
        first = max(token.first, free, places.popleft())
        last = token.taken(first)
        ins[0].popped(first, last)
        free = last + 1
        waiting.append(last)
        while waiting and (token.end or len(waiting) > reach):
            start = max(waiting[min(reach, len(waiting) - 1)], done) + 1
            planned, before = start + token.beats - 1 + latency, moved
            _, moved = yield out.put(start + latency, planned, token.beats, token.end and len(waiting) == 1)
            done = last_read(latency, token.beats, planned, moved, before)
            places.append(done + 1)
            waiting.popleft()


def rtl(graph: Graph, node: Node, fold: Fold) -> Instance:
    v, acc, heads = graph.tensor(node.inputs[0]), graph.tensor(node.name), heads_of(node)
    reach, taps = _taps(heads)
    weight_bits, offset_bits = 8, max(1, (2 * reach).bit_length())
    table = 0
    for place, (offset, weight) in enumerate(tap for own in taps for tap in own):
        table |= (weight << offset_bits | offset + reach) << place * (weight_bits + offset_bits)
    return Instance(
        module="pattern",
        params={
            "WIDTH": fold.into(v.channels).width,
            "HEADS": len(heads),
            "DIM": v.channels // len(heads),
            "LANES": fold.lanes_in,
            "V_W": v.bits,
            "OUT_W": acc.bits,
            "REACH": reach,
            "TAPS": len(taps[0]),
            "WEIGHT_W": weight_bits,
            "TABLE": table,
        },
    )


def hls(graph: Graph, node: Node, fold: Fold) -> HlsLayer:
    v, (reach, taps) = graph.tensor(node.inputs[0]), _taps(heads_of(node))
    table = np.repeat(np.array(taps), v.channels // len(taps), axis=0)  # [channel, tap, (neighbour, weight)]
    neighbour, weight = (fold.into(v.channels).place(table[..., which], axis=0).ravel() for which in (0, 1))
    memories = {
        "weight": Codes(data=weight, bits=SHIFT + 1, signed=False),
        "neighbour": Codes(data=reach - neighbour, bits=max(1, (2 * reach).bit_length()), signed=False),
    }
    beats = fold.into(v.channels).width // fold.lanes_in
    return HlsLayer(constants={"reach": reach, "taps": len(taps[0])}, memories=memories, interval=(graph.max_tokens + reach) * beats)


def holds(graph: Graph, node: Node, fold: Fold, port: int) -> int:
    return room(_taps(heads_of(node))[0])


def append(b: GraphBuilder, name: str, v: Tensor, patterns: tuple[str, ...]) -> Tensor:
    """The node; patterns: of each head."""
    bits = signed_bits(largest(v) << SHIFT)
    out = Tensor(name=name, shape=v.shape, bits=bits, signed=True, scale=v.scale * 2.0**-SHIFT)
    return b.add("pattern", out, (v.name,), {"patterns": " ".join(patterns)})


def memories(p: Params) -> list[Memory]:
    depth = room(p["REACH"]) << index_bits(p["WIDTH"] // p["LANES"])
    return p["LANES"] * p["TAPS"] * [Memory("window", p["V_W"], depth)]


def terms(p: Params) -> Terms:
    own = mac_array.terms(p | {"MUL_STYLE": "lut"}, pe=1, simd=p["TAPS"], x_bits=p["V_W"], w_bits=p["WEIGHT_W"])
    slots = room(p["REACH"])
    counts = 2 * index_bits(p["WIDTH"] // p["LANES"]) + 3 * index_bits(slots) + slots
    return {key: p["LANES"] * size for key, size in own.items()} | {"count_bits": counts}


MODULE = Module(name="pattern", terms=terms, memories=memories)
OP = Operator(
    name="pattern",
    params=PARAMS,
    attrs=ATTRS,
    check=check,
    run=run,
    onnx=onnx,
    same_layout=True,
    wants_zeros=lambda graph, node: False,
    gives_zeros=lambda graph, node, zeros: True,
    holds=holds,
    timing=timing,
    rtl=rtl,
    module=MODULE,
    hls=hls,
    hls_turns=True,
)
