# SPDX-License-Identifier: Apache-2.0
"""scores: products of queries and keys, per head, over the keys that a query sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

import numpy as np

from bitloom.hw.cost.memories import Memory, index_bits
from bitloom.hw.cost.multipliers import Operands, Product, style_params
from bitloom.hw.divisors import divisors
from bitloom.hw.graph import Graph, GraphBuilder, Node, Tensor, require, signed_bits
from bitloom.hw.instance import Fold, HlsLayer, Instance, Module, Params, Terms
from bitloom.hw.ops.common import borders, exact_matmul, largest, mean, require_bits, require_border, require_holds, require_rows, sentences, turn_spans
from bitloom.hw.ops.record import TOLD, Finn, Operator
from bitloom.hw.parts import banks, first_key, mac_array, ring
from bitloom.hw.parts.banks import Banks
from bitloom.hw.parts.mac_array import mac_latency
from bitloom.hw.parts.ring import Ring

PARAMS = ()
ATTRS = ("heads",)


def scores(q, k, heads, bound, seen=True):
    """acc[i,h,j] = sum_d q[i,h,d] k[j,h,d], 0 where query i does not see key j.

    q, k     int64 [T, H], heads side by side; 1/sqrt(d) is already in q
    bound    at least the largest |acc|
    seen     bool [T, 1, T] (hw/keys.py), or True: all
    returns  int64 [T, heads, T]
    """
    q, k = (m.reshape(len(m), heads, -1).transpose(1, 0, 2) for m in (q, k))
    return exact_matmul(q, k.transpose(0, 2, 1), bound).transpose(1, 0, 2) * seen


def acc_bound(q: Tensor, k: Tensor, heads: int) -> int:
    """The largest |acc|."""
    return q.channels // heads * largest(q) * largest(k)


def _bound(graph: Graph, node: Node) -> int:
    return acc_bound(*(graph.tensor(n) for n in node.inputs[:2]), node.attrs["heads"])


def check(graph: Graph, node: Node) -> None:
    q, k, out, heads = *(graph.tensor(n) for n in (*node.inputs[:2], node.name)), node.attrs["heads"]
    require(q.shape == k.shape and q.channels % heads == 0, graph, node, f"q, k got {q.shape}, {k.shape}, must be equal and divisible by {heads} heads")
    require_rows(out, heads, graph, node)
    require_border(graph, node, out, 2)
    require(out.shape[0] == q.shape[0], graph, node, f"output got tokens {out.shape[0]!r}, must be q's {q.shape[0]!r}")
    for tensor in (q, k):
        require_bits(tensor, 2, 16, graph, node)
        require(tensor.signed, graph, node, f"{tensor.name} got unsigned, must be signed")
    require_holds(_bound(graph, node), graph, node)


def run(graph: Graph, node: Node, inputs: list[np.ndarray], lengths: np.ndarray) -> np.ndarray:
    heads, bound, keys = node.attrs["heads"], _bound(graph, node), graph.tensor(node.name).keys
    each = zip(sentences(lengths, heads), borders(keys, inputs, 2, lengths), strict=True)
    rows = [scores(inputs[0][tok], inputs[1][tok], heads, bound, keys.seen(n, border)).ravel() for (n, tok, _), border in each]
    return np.concatenate(rows) if rows else np.zeros(0, np.int64)


def onnx(b, graph: Graph, node: Node, inputs: list[str]) -> str:
    tensors, heads = [graph.tensor(n) for n in node.inputs[:2]], node.attrs["heads"]
    split = b.ints([0, heads, tensors[0].channels // heads])
    q = b.op("Transpose", b.op("Reshape", inputs[0], split), perm=[1, 0, 2])
    k = b.op("Transpose", b.op("Reshape", inputs[1], split), perm=[1, 2, 0])
    out = graph.tensor(node.name)
    acc = b.matmul(q, tensors[0], k, tensors[1], out.bits)
    if out.keys.all:
        return b.op("Transpose", acc, perm=[1, 0, 2], name=node.name)
    return b.op("Where", b.seen(inputs[0], out.keys, *inputs[2:]), b.op("Transpose", acc, perm=[1, 0, 2]), b.scalar(0), name=node.name)


def macs(graph: Graph, node: Node, tokens: int, border: int | None = None) -> int:
    return mean(turn_spans(graph, node, tokens, border).sum(axis=1)) * graph.tensor(node.inputs[0]).channels


def _width(graph: Graph, node: Node, fold: Fold) -> int:
    """Elements of a query or a key in its stream: heads * DIM."""
    return fold.into(graph.tensor(node.inputs[0]).channels).width


def foldings(graph: Graph, node: Node, fold: Fold) -> list[Fold]:
    """Every legal SIMD: divides a head's width, whole beats on the inputs."""
    return [replace(fold, simd=simd) for simd in divisors(_width(graph, node, fold) // node.attrs["heads"], fold.lanes_in)]


def interval(graph: Graph, node: Node, fold: Fold, tokens: int) -> int:
    """Cycles a sentence of that many tokens takes in steady state."""
    channels, spans = _width(graph, node, fold), turn_spans(graph, node, tokens)
    groups = np.arange(0, tokens, fold.queries)
    came = np.minimum(fold.queries, tokens - groups) * channels // fold.lanes_in
    return mean(np.maximum(came, spans[:, groups] * channels // (fold.simd * fold.side)).sum(axis=1))


def timing(graph: Graph, node: Node, fold: Fold, ins, out):
    """A sentence's keys are stored, then its queries attend to them, fold.queries at once; numbers as in hw/rtl/scores.sv."""
    heads = node.attrs["heads"]
    steps, groups = _width(graph, node, fold) // heads // fold.simd, heads // fold.side
    side = fold.queries
    queries, keys, done, sentence = [Banks(ins[0]) for _ in range(side)], Ring(graph, graph.longest(node), ins[1]), -1, 0
    yield ins[0].beside(_take(ins[0], queries))
    yield ins[0].beside(keys.each())
    while True:
        known, tokens = yield keys.whole.get()
        attended, border = graph.tensor(node.name).keys, ins[0].border(sentence)
        spans, told = attended.spans(tokens, border).tolist(), 0
        ends = set(accumulate(attended.runs(tokens, border))) if attended.pack else {tokens}  # of what a border is told for
        sentence += 1
        for index in range(0, tokens, side):
            span, count = spans[index], min(side, tokens - index)
            if len(ins) > 2 and (index == 0 or index in ends):
                told = (yield ins[2].get()).first
            row_cycles = span * steps
            start = max(known, done + 1, told)
            for lane in queries[:count]:
                (whole,) = yield lane.whole.get()
                start = max(start, whole)
            for _ in range(groups):
                first = start + steps - 1 + mac_latency(fold.simd)
                last = first + row_cycles - steps
                _, moved = yield out.put(first, last, span, True)
                # A stalled output stalls the multipliers, but early in a row: the rest of a short one is read by then.
                read = start + row_cycles - 1 + (moved - last if (span - 2) * steps > mac_latency(fold.simd) else 0)
                start += row_cycles + moved - last
            done = start - 1
            for lane in queries[:count]:
                lane.done(read)
            if len(ins) > 2 and index + count in ends:
                ins[2].popped(read, read)
        keys.done(read, tokens)


def _take(taken, lanes: Sequence[Banks]):
    """The process that takes queries: to the lanes in turn, each of which has two banks; a sentence's first one to the first."""
    while True:
        end = False
        for lane in lanes:
            if end:
                break
            token = yield taken.get()
            yield from lane.open()
            last, end = (yield from lane.take(token)), token.end
            for other in lanes:
                other.after(last)
            lane.close()


def rtl(graph: Graph, node: Node, fold: Fold) -> Instance:
    (q, k), acc, heads = (graph.tensor(n) for n in node.inputs[:2]), graph.tensor(node.name), node.attrs["heads"]
    return Instance(
        module="scores",
        params={
            "HEADS": heads,
            "DIM": _width(graph, node, fold) // heads,
            "MAX_TOKENS": graph.longest(node),
            "SIDE": fold.side,
            "QUERIES": fold.queries,
            "SIMD": fold.simd,
            "LANES": fold.lanes_in,
            "Q_W": q.bits,
            "K_W": k.bits,
            "OUT_W": acc.bits,
            **acc.keys.reach(graph.longest(node)),
            **({"BORDER_W": graph.tensor(node.inputs[2]).bits} if acc.keys.bordered else {}),
            **({"PACK": 1} if acc.keys.pack else {}),
            **style_params(fold, multiplies(graph, node)),
            **ring.params(graph),
        },
    )


def multiplies(graph: Graph, node: Node) -> Operands:
    q, k = map(graph.tensor, node.inputs[:2])
    return Operands(q.bits, q.signed, k.bits)


def hls(graph: Graph, node: Node, fold: Fold) -> HlsLayer:
    keys = graph.tensor(node.name).keys
    reach: dict[str, int | bool] = {key.lower(): tokens for key, tokens in keys.reach(graph.max_tokens).items()} | {"segment": keys.segment}
    return HlsLayer(constants={"heads": node.attrs["heads"], "side": fold.side, "simd": fold.simd, **reach})


def spaces(graph: Graph, node: Node) -> dict[str, int]:
    return dict.fromkeys(node.inputs[:2], node.attrs["heads"])


def holds(graph: Graph, node: Node, fold: Fold, port: int) -> int:
    """A whole sentence of keys; two queries, or twice as many as go side by side."""
    return graph.longest(node) + 2 * fold.queries if port == 1 else 2 * fold.queries


def append(b: GraphBuilder, name: str, q: Tensor, k: Tensor, heads: int, keys: str = "T", border: Tensor | None = None) -> Tensor:
    """The node; its accumulator is as wide as a head of these codes needs. keys: those that a query sees (hw/keys.py); border: that they depend on."""
    bits = signed_bits(acc_bound(q, k, heads))
    out = Tensor(name=name, shape=(q.shape[0], heads, keys), bits=bits, signed=True, scale=q.scale * k.scale)
    return b.add("scores", out, (q.name, k.name, *((border.name,) if border else ())), {"heads": heads})


def memories(p: Params) -> list[Memory]:
    word = p["SIDE"] * p["SIMD"]
    words = p["HEADS"] * p["DIM"] // word
    return p["QUERIES"] * [banks.memory("query", p["Q_W"], word, words)] + [ring.memory(p, "keys", p["K_W"], word, words * p["MAX_TOKENS"])]


def products(p: Params) -> list[Product]:
    return p["QUERIES"] * p["SIDE"] * mac_array.products(p, pe=1, simd=p["SIMD"], x_bits=p["Q_W"], x_signed=True, w_bits=p["K_W"])


def terms(p: Params) -> Terms:
    words = p["HEADS"] * p["DIM"] // (p["SIDE"] * p["SIMD"])
    sentence = index_bits(words * p["MAX_TOKENS"])
    last_key = index_bits(words * (p["MAX_TOKENS"] + p["AHEAD"])) if p["AHEAD"] < p["MAX_TOKENS"] - 1 else 0
    head = mac_array.terms(p, pe=1, simd=p["SIMD"], x_bits=p["Q_W"], w_bits=p["K_W"])
    query_banks = p["QUERIES"] if p["QUERIES"] > 1 else 0  # each with counters of its own
    return {key: p["QUERIES"] * p["SIDE"] * size for key, size in head.items()} | {
        "part_bits": (p["SIDE"] * p["SIMD"] - p["LANES"]) * (p["QUERIES"] * p["Q_W"] + p["K_W"]),
        "count_bits": 2 * sentence
        + (3 + query_banks) * index_bits(words)
        + ring.count_bits(words * p["MAX_TOKENS"])
        + first_key.count_bits(p, words, p.get("BORDER_W", 0))
        + p.get("BORDER_W", 0)
        + last_key,
    }


MODULE = Module(name="scores", terms=terms, memories=memories, products=products, styles=ring.STYLES)


def finn(b, graph: Graph, node: Node) -> None:
    query, key = (b.heads(x, node, perm) for x, perm in zip(node.inputs, ([0, 2, 1, 3], [0, 2, 3, 1]), strict=True))
    b.op("MatMul", [query, key], node.name, "INT32")


def finn_values(b, graph: Graph, node: Node, inputs: list):
    query, key = (b.heads(x, node) for x in inputs)
    return query @ key.transpose(-2, -1)


OP = Operator(
    name="scores",
    params=PARAMS,
    attrs=ATTRS,
    packs=TOLD,
    check=check,
    run=run,
    onnx=onnx,
    ports=("q", "k", "b"),
    spaces=spaces,
    macs=macs,
    multiplies=multiplies,
    foldings=foldings,
    interval=interval,
    holds=holds,
    timing=timing,
    rtl=rtl,
    module=MODULE,
    hls=hls,
    hls_turns=True,
    finn=Finn(nodes=finn, values=finn_values),
)
