# SPDX-License-Identifier: Apache-2.0
"""context: values weighted by probabilities, per head, over the keys that a query sees."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bitloom.hw.cost.memories import Memory, index_bits
from bitloom.hw.cost.multipliers import Operands, Product, style_params
from bitloom.hw.divisors import divisors
from bitloom.hw.graph import Graph, GraphBuilder, Node, Tensor, require, signed_bits
from bitloom.hw.instance import Fold, HlsLayer, Instance, Module, Params, Terms
from bitloom.hw.ops import softmax
from bitloom.hw.ops.common import exact_matmul, largest, mean, require_bits, require_holds, require_rows, sentences, turn_spans
from bitloom.hw.ops.record import ALIKE, Finn, Operator
from bitloom.hw.parts import banks, first_key, mac_array, regroup, ring
from bitloom.hw.parts.banks import Banks
from bitloom.hw.parts.mac_array import mac_latency
from bitloom.hw.parts.regroup import Regroup
from bitloom.hw.parts.ring import Ring

PARAMS = ()
ATTRS = ("heads",)


def context(p, v, heads, bound):
    """acc[i,h,d] = sum_j p[i,h,j] v[j,h,d].

    p        int64 [T, heads, T], unsigned codes, 0 where query i does not see key j; v int64 [T, H], heads side by side
    bound    at least the largest |acc|
    returns  int64 [T, H], one LSB = s_p s_v
    """
    tokens = len(v)
    v = v.reshape(tokens, heads, -1).transpose(1, 0, 2)
    return exact_matmul(p.transpose(1, 0, 2), v, bound).transpose(1, 0, 2).reshape(tokens, -1)


def bound(p_bits: int, v_max: int, max_tokens: int) -> int:
    """The largest |acc|: a softmax row sums to at most 2**p_bits + T/2 (each of T roundings adds at most 1/2)."""
    return ((1 << p_bits) + max_tokens // 2 + 1) * v_max


def check(graph: Graph, node: Node) -> None:
    p, v, out, heads = *(graph.tensor(n) for n in (*node.inputs, node.name)), node.attrs["heads"]
    require_rows(p, heads, graph, node)
    require(not p.signed, graph, node, f"{p.name} got signed, must be unsigned")
    require(v.shape == out.shape and v.channels % heads == 0, graph, node, f"v, output got {v.shape}, {out.shape}, must be equal, divisible by {heads} heads")
    require(p.shape[0] == v.shape[0], graph, node, f"p got tokens {p.shape[0]!r}, must be v's {v.shape[0]!r}")
    require(v.signed, graph, node, f"{v.name} got unsigned, must be signed")
    producer = graph.node(p.name).op
    require(producer == "softmax", graph, node, f"p comes from {producer}, must be a softmax (its row sums bound the accumulator)")
    require_bits(p, 2, 16, graph, node)
    require_bits(v, 2, 16, graph, node)
    require_holds(bound(p.bits, largest(v), graph.max_tokens), graph, node)


def run(graph: Graph, node: Node, inputs: list[np.ndarray], lengths: np.ndarray) -> np.ndarray:
    heads, v = node.attrs["heads"], graph.tensor(node.inputs[1])
    limit = bound(graph.tensor(node.inputs[0]).bits, largest(v), graph.max_tokens)
    rows = [context(inputs[0][row].reshape(n, heads, n), inputs[1][tok], heads, limit) for n, tok, row in sentences(lengths, heads)]
    return np.concatenate(rows) if rows else np.zeros((0, v.channels), np.int64)


def onnx(b, graph: Graph, node: Node, inputs: list[str]) -> str:
    (p, v), heads = [graph.tensor(n) for n in node.inputs], node.attrs["heads"]
    probs = b.op("Transpose", inputs[0], perm=[1, 0, 2])
    values = b.op("Transpose", b.op("Reshape", inputs[1], b.ints([0, heads, v.channels // heads])), perm=[1, 0, 2])
    acc = b.op("Transpose", b.matmul(probs, p, values, v, graph.tensor(node.name).bits), perm=[1, 0, 2])
    return b.op("Reshape", acc, b.ints([0, v.channels]), name=node.name)


def macs(graph: Graph, node: Node, tokens: int, border: int | None = None) -> int:
    return mean(turn_spans(graph, node, tokens, border).sum(axis=1)) * graph.tensor(node.name).channels


def _width(graph: Graph, node: Node, fold: Fold) -> int:
    """Elements of a value in its stream: heads * DIM."""
    return fold.out_of(graph.tensor(node.name).channels).width


def foldings(graph: Graph, node: Node, fold: Fold) -> list[Fold]:
    """Every legal PE: divides a head's width, whole beats on values and output (which have the same lanes)."""
    return [replace(fold, pe=pe) for pe in divisors(_width(graph, node, fold) // node.attrs["heads"], fold.lanes_out)]


def interval(graph: Graph, node: Node, fold: Fold, tokens: int) -> int:
    """Cycles a sentence of that many tokens takes in steady state."""
    channels, spans = _width(graph, node, fold), turn_spans(graph, node, tokens)[:, :: fold.queries]
    return mean(np.maximum(fold.queries * channels // fold.lanes_out, spans * channels // (fold.pe * fold.side)).sum(axis=1))


def timing(graph: Graph, node: Node, fold: Fold, ins, out):
    """A sentence's values are stored, then its rows weight them, those of fold.queries tokens at once; numbers as in hw/rtl/context_op.sv."""
    heads, channels = node.attrs["heads"], _width(graph, node, fold)
    folds, groups, beats = channels // heads // fold.pe, heads // fold.side, fold.queries * fold.side * fold.pe // fold.lanes_out
    rows, values, done = Banks(ins[0]), Ring(graph, graph.longest(node), ins[1]), -1
    leaving = Regroup(channels // fold.lanes_out)
    yield ins[0].beside(rows.each())
    yield ins[0].beside(values.each())
    while True:
        known, tokens = yield values.whole.get()
        for index in range(0, tokens, fold.queries):
            starts = []
            for _ in range(groups):
                whole, span, _ = yield rows.whole.get()
                slot, start = max(span, beats), max(whole, known, done + 1)
                done = start + folds * slot - 1
                rows.done(done)
                starts.append(start)
            latency = slot - 1 + mac_latency(1) + 1  # 1: unpacked
            last = starts[-1] + (folds - 1) * slot + latency + beats - 1
            if fold.queries == 1:
                _, moved = yield out.put(starts[0] + latency, last, groups * folds * beats, index == tokens - 1, beats)
            else:
                count = min(fold.queries, tokens - index)
                moved = yield from leaving.pass_on(out, starts[0] + latency, last, count, index + count == tokens)
            # A stalled output stalls the multipliers, but early in a token: its other words may be read by then.
            read = done if (groups * folds - 2) * slot <= mac_latency(1) + 1 else done + moved - last
            done += moved - last
        values.done(read, tokens)


def rtl(graph: Graph, node: Node, fold: Fold) -> Instance:
    (p, v), acc, heads = (graph.tensor(n) for n in node.inputs), graph.tensor(node.name), node.attrs["heads"]
    return Instance(
        module="context_op",
        params={
            "HEADS": heads,
            "DIM": _width(graph, node, fold) // heads,
            "MAX_TOKENS": graph.longest(node),
            "SIDE": fold.side,
            "QUERIES": fold.queries,
            "PE": fold.pe,
            "LANES": fold.lanes_out,
            "P_W": p.bits,
            "V_W": v.bits,
            "OUT_W": acc.bits,
            "BACK": p.keys.reach(graph.longest(node))["BACK"],
            **({"SEGMENT": 1 + p.keys.pack} if p.keys.bordered else {}),
            **style_params(fold, multiplies(graph, node)),
            **ring.params(graph),
        },
    )


def multiplies(graph: Graph, node: Node) -> Operands:
    p, v = map(graph.tensor, node.inputs)
    return Operands(p.bits, p.signed, v.bits)


def hls(graph: Graph, node: Node, fold: Fold) -> HlsLayer:
    keys = graph.tensor(node.inputs[0]).keys
    reach: dict[str, int | bool] = {key.lower(): tokens for key, tokens in keys.reach(graph.max_tokens).items()} | {"segment": keys.segment}
    return HlsLayer(constants={"heads": node.attrs["heads"], "side": fold.side, "pe": fold.pe, "channels": _width(graph, node, fold), **reach})


def spaces(graph: Graph, node: Node) -> dict[str, int]:
    return dict.fromkeys((node.inputs[1], node.name), node.attrs["heads"])


def holds(graph: Graph, node: Node, fold: Fold, port: int) -> int:
    """Values wait for their sentence's first row, which comes when the keys and a softmax's rows have been held."""
    own = 4 * fold.queries + (2 * fold.queries if fold.queries > 1 else 0)
    return graph.longest(node) + softmax.HELD * fold.queries + own + 2 * fold.queries if port == 1 else own


def append(b: GraphBuilder, name: str, p: Tensor, v: Tensor, heads: int) -> Tensor:
    """The node; its accumulator is as wide as rows of probabilities need."""
    bits = signed_bits(bound(p.bits, largest(v), b.max_tokens))
    out = Tensor(name=name, shape=v.shape, bits=bits, signed=True, scale=p.scale * v.scale)
    return b.add("context", out, (p.name, v.name), {"heads": heads})


def memories(p: Params) -> list[Memory]:
    word = p["SIDE"] * p["PE"]
    words = p["HEADS"] * p["DIM"] // word
    row = banks.memory("row", p["P_W"], p["QUERIES"] * p["SIDE"], p["MAX_TOKENS"])
    own = [row, ring.memory(p, "values", p["V_W"], word, words * p["MAX_TOKENS"])]
    return own + ([regroup.memory(p["QUERIES"] * words * word // p["LANES"], p["LANES"] * p["OUT_W"])] if p["QUERIES"] > 1 else [])


def products(p: Params) -> list[Product]:
    return p["QUERIES"] * p["SIDE"] * mac_array.products(p, pe=p["PE"], simd=1, x_bits=p["P_W"], x_signed=False, w_bits=p["V_W"])


def terms(p: Params) -> Terms:
    word = p["SIDE"] * p["PE"]
    words = p["HEADS"] * p["DIM"] // word
    sentence, held = index_bits(words * p["MAX_TOKENS"]), ring.count_bits(words * p["MAX_TOKENS"])
    head = mac_array.terms(p, pe=p["PE"], simd=1, x_bits=p["P_W"], w_bits=p["V_W"])
    leaving = regroup.count_bits(p["QUERIES"], words * word // p["LANES"]) if p["QUERIES"] > 1 else 0
    return {key: p["QUERIES"] * p["SIDE"] * size for key, size in head.items()} | {
        "part_bits": (word - p["LANES"]) * p["V_W"],
        "count_bits": leaving
        + 2 * sentence
        + 4 * index_bits(p["MAX_TOKENS"])
        + index_bits(words)
        + held
        + first_key.count_bits(p, words, index_bits(p["MAX_TOKENS"]) * (p.get("SEGMENT", 0) > 0)),
    }


MODULE = Module(name="context_op", terms=terms, memories=memories, products=products, styles=ring.STYLES)


def finn(b, graph: Graph, node: Node) -> None:
    b.op("MatMul", [node.inputs[0], b.heads(node.inputs[1], node, [0, 2, 1, 3])], node.name, "INT32")


def finn_values(b, graph: Graph, node: Node, inputs: list):
    return (inputs[0] @ b.heads(inputs[1], node)).permute(0, 2, 1, 3).reshape(1, b.tokens, -1)


OP = Operator(
    name="context",
    params=PARAMS,
    attrs=ATTRS,
    packs=ALIKE,
    check=check,
    run=run,
    onnx=onnx,
    ports=("p", "v"),
    spaces=spaces,
    wants_zeros=lambda graph, node: False,
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
    finn=Finn(nodes=finn, values=finn_values, heads=True),
)
