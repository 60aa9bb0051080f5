# SPDX-License-Identifier: Apache-2.0
"""softmax: exponentials from a table, one reciprocal a row, unsigned probabilities."""

from __future__ import annotations

import math
from collections import deque

import numpy as np

from bitloom.hw.cost.memories import Memory, index_bits
from bitloom.hw.cost.multipliers import Product
from bitloom.hw.graph import Graph, GraphBuilder, Node, Tensor, require
from bitloom.hw.hexfile import Hex, fields
from bitloom.hw.instance import Fold, HlsLayer, Instance, Module, Params, Terms
from bitloom.hw.ops.common import (
    borders,
    clip,
    hls_words,
    last_read,
    require_bits,
    require_border,
    require_range,
    require_rows,
    round_shift,
    rounding,
    sentences,
    turn_params,
)
from bitloom.hw.ops.record import TOLD, Finn, Operator
from bitloom.hw.parts import mul, shared
from bitloom.hw.parts.banks import Banks

PARAMS = ("exp_table",)
ATTRS = ("heads", "recip_bits", "shift")


def softmax(x, exp_table, recip_bits, shift, bits, seen=True):
    """e = E[max - x], S = sum e, r = floor(2**k / S), p = clip((e*r + half) >> n), over the keys that are seen; p = 0 elsewhere.

    x          int64 [.., T], signed codes, one LSB = s_x
    exp_table  int64 [2**b_x], E[i] = floor(2**ke exp(-i s_x) + 1/2)
    seen       bool, to be broadcast to x (hw/keys.py), or True: all
    returns    int64 [.., T], unsigned, `bits` wide, one LSB = 2**-bits
    """
    e = exp_table[below_top(x, seen)] * seen
    r = (1 << recip_bits) // e.sum(axis=-1, keepdims=True)
    return clip(round_shift(e * r, shift), bits, False)


def below_top(x, seen=True):
    """max - x over the keys that are seen; 0 elsewhere."""
    top = x.max(axis=-1, keepdims=True, where=seen, initial=np.iinfo(np.int64).min)
    return np.where(seen, top - x, 0)


def exp_table(x: Tensor, p_bits: int) -> np.ndarray:
    """E of numerics.md for scores of that width and scale, int64 [2**b_x]."""
    one = 1 << exp_bits(p_bits)
    return np.array([math.floor(one * math.exp(-i * x.scale) + 0.5) for i in range(1 << x.bits)], dtype=np.int64)


def exp_bits(p_bits: int) -> int:
    """ke: the largest exponential is 2**ke."""
    return p_bits + 2


def constants(p_bits: int, max_tokens: int) -> dict[str, int]:
    """recip_bits k and shift n of numerics.md."""
    k = exp_bits(p_bits) + (max_tokens - 1).bit_length() + p_bits
    return {"recip_bits": k, "shift": k - p_bits}


def check(graph: Graph, node: Node) -> None:
    x, p, table = graph.tensor(node.inputs[0]), graph.tensor(node.name), graph.param(node, "exp_table")
    heads = node.attrs["heads"]
    require_rows(x, heads, graph, node)
    require_border(graph, node, x, 1)
    require(x.shape == p.shape, graph, node, f"output got shape {p.shape}, must be the input's {x.shape}")
    require(x.signed and not p.signed, graph, node, "must take signed codes and make unsigned ones")
    require_bits(x, 2, 10, graph, node)
    require_bits(p, 2, 12, graph, node)
    require(table.shape == (1 << x.bits,), graph, node, f"exp_table got shape {table.shape}, must be ({1 << x.bits},)")
    require_range(table, 0, 1 << exp_bits(p.bits), graph, node, "exp_table")
    require(int(table[0]) == 1 << exp_bits(p.bits), graph, node, f"exp_table[0] got {table[0]}, must be {1 << exp_bits(p.bits)}")
    want = constants(p.bits, graph.max_tokens)
    got = {key: node.attrs[key] for key in want}
    require(got == want, graph, node, f"constants got {got}, must be {want}")


def run(graph: Graph, node: Node, inputs: list[np.ndarray], lengths: np.ndarray) -> np.ndarray:
    bits, table = graph.tensor(node.name).bits, graph.param(node, "exp_table")
    constants = table, node.attrs["recip_bits"], node.attrs["shift"], bits
    rows = [softmax(x, *constants, seen).ravel() for x, seen in _rows(graph, node, inputs, lengths)]
    return np.concatenate(rows) if rows else np.zeros(0, np.int64)


def _rows(graph: Graph, node: Node, inputs: list[np.ndarray], lengths: np.ndarray):
    """Of each sentence: the input's codes [T, heads, T], and which of them are seen [T, 1, T]."""
    heads, keys, x = node.attrs["heads"], graph.tensor(node.name).keys, inputs[0]
    each = zip(sentences(lengths, heads), borders(keys, inputs, 1, lengths), strict=True)
    return [(x[row].reshape(n, heads, n), keys.seen(n, border)) for (n, _, row), border in each]


def onnx(b, graph: Graph, node: Node, inputs: list[str]) -> str:
    table = b.constant(f"{node.name}.exp_table", graph.param(node, "exp_table"))
    x, keys = inputs[0], graph.tensor(node.name).keys
    seen = None if keys.all else b.seen(x, keys, *inputs[1:])
    if seen:
        x = b.op("Where", seen, x, b.scalar(graph.tensor(node.inputs[0]).low))
    top = b.op("ReduceMax", x, b.ints([-1]), keepdims=1)
    e = b.op("Gather", table, b.op("Sub", top, x))
    if seen:
        e = b.op("Where", seen, e, b.scalar(0))
    r = b.op("Div", b.scalar(1 << node.attrs["recip_bits"]), b.op("ReduceSum", e, b.ints([-1]), keepdims=1))
    return b.clip(b.round_shift(b.op("Mul", e, r), node.attrs["shift"]), graph.tensor(node.name), name=node.name)


def divide_cycles(recip_bits: int, p_bits: int) -> int:
    """Cycles from one division to the next: a quotient bit each, and one to begin."""
    return recip_bits - exp_bits(p_bits) + 2


def timing(graph: Graph, node: Node, fold: Fold, ins, out):
    """Three passes and a divider, each on a row of its own; the numbers are those of hw/rtl/softmax.sv."""
    rows, summed, written = Banks(ins[0]), ins[0].told(), ins[0].told()
    yield ins[0].beside(rows.each())
    yield ins[0].beside(_sum(rows, summed, written))
    divide, divider_free = divide_cycles(node.attrs["recip_bits"], _least_bits(graph, node)), 0
    done = moved = -1  # when a row of the e bank was read for the last time, and its last beat left
    while True:
        read, beats, end = yield summed.get()
        divider_free = max(read + 5, divider_free) + divide
        write = max(divider_free, done) + 1
        last, before = write + beats + 6, moved
        _, moved = yield out.put(write + 7, last, beats, end)
        done = last_read(7, beats, last, moved, before)
        written.tell(done)


def _sum(rows: Banks, summed, written):
    """The second pass, from the x bank to the e bank, which has room for four rows: tells of each when it was read, its beats, whether it ends a sentence."""
    free, read = deque([-1] * 4), -1
    while True:
        whole, beats, end = yield rows.whole.get()
        if not free:
            free.extend((yield written.get()))
        read = max(whole - 1, read, free.popleft()) + beats
        rows.done(read)
        summed.tell(read, beats, end)


def _least_bits(graph: Graph, node: Node) -> int:
    """Of the probabilities, of all turns."""
    return min(g.tensor(n.name).bits for g, n in graph.turns(node))


def _by_turn(graph: Graph, node: Node) -> Params:
    """What differs from turn to turn, or from what the streams' widths say."""
    turns, p, least = graph.turns(node), graph.tensor(node.name), _least_bits(graph, node)
    rounds, most = rounding(graph, node), node.attrs["recip_bits"]
    if not rounds.words:
        return {}
    words = [[high, most - n.attrs["recip_bits"], more] for (_, high, more), (_, n) in zip(rounds.words, turns, strict=True)]
    return {"SHIFT": rounds.shift, "EXP_LEAST": exp_bits(least), "MORE": rounds.more, "ROUND_FILE": Hex.pack(fields(words, (p.bits, 6, 6)), 1)}


def _exponentials(graph: Graph, node: Node) -> list[np.ndarray]:
    """The table of each turn, each as long as that of the widest scores."""
    size = 1 << graph.tensor(node.inputs[0]).bits
    tables = [g.param(n, "exp_table") for g, n in graph.turns(node)]
    return [np.pad(table, (0, size - len(table))) for table in tables]


def rtl(graph: Graph, node: Node, fold: Fold) -> Instance:
    x, p = graph.tensor(node.inputs[0]), graph.tensor(node.name)
    width, tables = exp_bits(p.bits) + 1, _exponentials(graph, node)
    banks = shared.banks(graph, [[table] for table in tables])
    return Instance(
        module="softmax",
        params={
            "SIDE": fold.side * fold.queries,
            "MAX_TOKENS": graph.longest(node),
            "IN_W": x.bits,
            "OUT_W": p.bits,
            "EXP_W": width,
            "EXP_FILE": Hex.pack(np.concatenate([tables[turn] for turn in banks.first]).reshape(-1, 1), width),
            "RECIP_BITS": node.attrs["recip_bits"],
            "SHIFT": node.attrs["shift"],
        }
        | _by_turn(graph, node)
        | turn_params(graph, node, fold)
        | banks.params(),
    )


def looked_up(graph: Graph, node: Node, inputs: list[np.ndarray], lengths: np.ndarray) -> dict[str, np.ndarray]:
    rows = _rows(graph, node, inputs, lengths)
    return {"EXP_FILE": np.concatenate([below_top(x, seen)[np.broadcast_to(seen, x.shape)] for x, seen in rows])}


def hls(graph: Graph, node: Node, fold: Fold) -> HlsLayer:
    rounds, recips = rounding(graph, node), [n.attrs["recip_bits"] for _, n in graph.turns(node)]
    ones = [1 << exp_bits(g.tensor(n.name).bits) for g, n in graph.turns(node)]  # the largest exponential of each turn, and the least sum
    by_turn = {}
    if rounds.words:
        by_turn = hls_words("rounds", rounds.words) | hls_words("recips", [[recip - min(recips)] for recip in recips])
    return HlsLayer(
        constants={
            "recip_bits": max(recips),
            "recip_least": min(recips),
            "shift": rounds.shift,
            "more": rounds.more,
            "sum_bits": (graph.max_tokens * max(ones)).bit_length(),
            "recip_width": max((1 << recip) // one for recip, one in zip(recips, ones, strict=True)).bit_length(),
        },
        memories={"exp_table": shared.codes(_exponentials(graph, node), max(ones).bit_length(), signed=False)} | by_turn,
    )


HELD = 4  # rows inside, those side by side as one


def holds(graph: Graph, node: Node, fold: Fold, port: int) -> int:
    return HELD * fold.queries


def append(b: GraphBuilder, name: str, x: Tensor, bits: int, border: Tensor | None = None) -> Tensor:
    """The node with the tables and constants of numerics.md for rows `x` of up to b.max_tokens; border: that their keys depend on."""
    out = Tensor(name=name, shape=x.shape, bits=bits, signed=False, scale=2.0**-bits)
    attrs = {"heads": x.shape[1], **constants(bits, b.max_tokens)}
    return b.add("softmax", out, (x.name, *((border.name,) if border else ())), attrs, exp_table=exp_table(x, bits))


def recip_width(p: Params) -> int:
    """Bits of a row's reciprocal, as hw/rtl/softmax.sv has it."""
    return p["RECIP_BITS"] - p.get("EXP_LEAST", p["EXP_W"] - 1) + 1


def memories(p: Params) -> list[Memory]:
    row = 1 << index_bits(p["MAX_TOKENS"])
    return p["SIDE"] * [
        Memory("x", p["IN_W"], 2 * row),
        Memory("e", p["EXP_W"], 4 * row),
        Memory("exp", p["EXP_W"], shared.count(p) << p["IN_W"], rom=True),
        Memory("sum", p["EXP_W"] + (p["MAX_TOKENS"] - 1).bit_length(), 4),
        Memory("recip", recip_width(p), 4),
    ]


def products(p: Params) -> list[Product]:
    return p["SIDE"] * mul.products(p["EXP_W"] + 1, recip_width(p) + 1)


def terms(p: Params) -> Terms:
    recip = recip_width(p)
    row = {"index_bits": index_bits(p["MAX_TOKENS"]), "recip_bits": recip, "product_bits": p["EXP_W"] + recip, "exp_bits": p["EXP_W"], "in_bits": p["IN_W"]}
    return {key: p["SIDE"] * size for key, size in row.items()}


MODULE = Module(name="softmax", turned=True, terms=terms, memories=memories, products=products)


def finn(b, graph: Graph, node: Node) -> None:
    """In float32, rounded by thresholds."""
    x, out = graph.tensor(node.inputs[0]), graph.tensor(node.name)
    logits = b.value("Mul", x.name, x.scale, f"{node.name}.logits")
    real = b.op("Softmax", [logits], f"{node.name}.real", axis=-1)
    b.rounded(real, out.scale, out)


def finn_values(b, graph: Graph, node: Node, inputs: list):
    return inputs[0].softmax(dim=-1)


OP = Operator(
    name="softmax",
    params=PARAMS,
    attrs=ATTRS,
    packs=TOLD,
    check=check,
    run=run,
    onnx=onnx,
    holds=holds,
    timing=timing,
    rtl=rtl,
    looked_up=looked_up,
    module=MODULE,
    hls=hls,
    hls_turns=True,
    finn=Finn(nodes=finn, values=finn_values, quant=True, exact=False),
)
