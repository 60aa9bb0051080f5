# SPDX-License-Identifier: Apache-2.0
"""keep_tokens: the tokens of a sentence that received most attention; the others are taken out.

Goyal et al. 2020, "PoWER-BERT: Accelerating BERT Inference via Progressive Word-vector Elimination" (arXiv:2001.08950): the extract layer, with as many tokens
as a share of those that are there.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from bitloom.hw.cost.memories import Memory, index_bits
from bitloom.hw.graph import Graph, GraphBuilder, Node, Tensor, require
from bitloom.hw.hexfile import Hex, fields
from bitloom.hw.instance import Fold, HlsLayer, Instance, Module, Params, Terms
from bitloom.hw.ops.common import hls_words, require_rows, sentences
from bitloom.hw.ops.record import Operator
from bitloom.hw.parts import banks, first_key, ring
from bitloom.hw.parts.banks import Banks
from bitloom.hw.parts.ring import Ring
from bitloom.hw.tokens import SHARE_BITS, left

PARAMS = ()
ATTRS = ("keep",)


def keep_tokens(x, p, keep):
    """y = x[0] and the x[j] with the largest s_j, ceil(T*keep/256) tokens in all, in order; of equal s_j the lower j.

    s_j = sum_i sum_h p[i,h,j]

    x        int64 [T, C]; p int64 [T, heads, T], unsigned codes, 0 where query i does not see key j
    keep     share that stays, 1 .. 256
    returns  int64 [T', C]
    """
    return x[kept(p.sum(axis=(0, 1)), keep)]


def kept(received: np.ndarray, keep: int) -> np.ndarray:
    """Which tokens stay, ascending int64 [T'], of what each received, int64 [T]."""
    order = 1 + np.argsort(-received[1:], kind="stable")
    return np.sort(np.concatenate([[0], order[: left(len(received), keep) - 1]])).astype(np.int64)


def sum_bits(p: Tensor, tokens: int) -> int:
    """Of what one token receives, of so many tokens: as many queries see it as it sees keys."""
    return (int(p.keys.spans(tokens).max()) * int(p.shape[1]) * p.high).bit_length()


def check(graph: Graph, node: Node) -> None:
    x, p, out, keep = *(graph.tensor(n) for n in (*node.inputs, node.name)), node.attrs["keep"]
    require(1 <= keep <= 1 << SHARE_BITS, graph, node, f"keep got {keep}, must be 1 .. {1 << SHARE_BITS}")
    require(x.kind == "token", graph, node, f"{x.name} got shape {x.shape}, must be (TOKENS, C)")
    require_rows(p, int(p.shape[1]) if len(p.shape) == 3 else 0, graph, node)
    require(p.shape[0] == x.shape[0], graph, node, f"{p.name} got tokens {p.shape[0]!r}, must be {x.name}'s {x.shape[0]!r}")
    rule = "must be 'T' or a window of 1 or more: a row tells then whether it is the last"
    require(p.keys.tells_end, graph, node, f"{p.name} got keys {p.shape[2]!r}, {rule}")
    require(not p.signed, graph, node, f"{p.name} got signed, must be unsigned")
    want = (str(x.tokens.behind(keep)), x.channels)
    require(out.shape == want, graph, node, f"output got shape {out.shape}, must be {want}")
    require((x.bits, x.signed) == (out.bits, out.signed), graph, node, f"output got {out.bits} bits, must be the input's {x.bits}")


def run(graph: Graph, node: Node, inputs: list[np.ndarray], lengths: np.ndarray) -> np.ndarray:
    x, p, heads = *inputs, int(graph.tensor(node.inputs[1]).shape[1])
    found = [keep_tokens(x[tok], p[row].reshape(n, heads, n), node.attrs["keep"]) for n, tok, row in sentences(lengths, heads)]
    return np.concatenate(found) if found else x[:0]


def onnx(b, graph: Graph, node: Node, inputs: list[str]) -> str:
    """TopK takes the lower index first where two are equal; the first token gets more than any has."""
    received = b.op("ReduceSum", inputs[1], b.ints([0, 1]), keepdims=0)
    tokens = b.op("Shape", received)
    at = b.op("Range", b.scalar(0), b.op("Squeeze", tokens), b.scalar(1))
    received = b.op("Where", b.op("Equal", at, b.scalar(0)), b.scalar(1 << 62), received)
    count = b.op("Div", b.op("Add", b.op("Mul", tokens, b.scalar(node.attrs["keep"])), b.scalar((1 << SHARE_BITS) - 1)), b.scalar(1 << SHARE_BITS))
    most = b.op("TopK", received, count, before=f"{node.name}.received")
    place = b.op("TopK", most, count, before=f"{node.name}.at", largest=0)
    return b.op("Gather", inputs[0], b.op("Gather", most, place), name=node.name)


def latency(lanes: int) -> int:
    """Cycles from reading a row's element to its sums being written: it is read, masked, added up in a tree of four-input adders, added to what was there."""
    return 2 + ((lanes - 1).bit_length() + 1) // 2


def timing(graph: Graph, node: Node, fold: Fold, ins, out):
    """Three stages, each on a sentence of its own (numbers as in hw/rtl/keep_tokens.sv): a second process has rows added up and tokens listed."""
    listed, free, tokens = ins[0].told(), ins[0].told(), Ring(graph, graph.longest(node), ins[0])
    yield ins[1].beside(_choose(graph, node, fold, ins[1], listed, free))
    yield ins[0].beside(tokens.each())
    beats = fold.into(graph.tensor(node.name).channels).width // fold.lanes_in
    turns, read, number = [n.attrs["keep"] for _, n in graph.turns(node)], -1, 0
    while True:
        whole, count = yield tokens.whole.get()
        (choice,) = yield listed.get()
        asked = max(choice, read)
        begin, stay = max(asked + 1, whole), left(count, turns[ins[0].turn(number)])
        for index in range(stay):
            _, moved = yield out.put(begin + 1, begin + beats, beats, index == stay - 1)
            read, begin = moved - 1, moved
        tokens.done(read, count)
        done = asked if stay * beats == 1 else read - 1
        free.tell(done + 1)
        number += 1


def _choose(graph: Graph, node: Node, fold: Fold, source, listed, free):
    """Rows in, a token for each sentence out: the cycle from which its list can be read. free: when a list's place can be written again."""
    p, rows = graph.tensor(node.inputs[1]), Banks(source)
    groups, bits = int(p.shape[1]) // fold.side, sum_bits(p, graph.longest(node))
    sums, done, over = deque([0, 0]), -1, -1  # cycles from which sums are free; of a row's last element, and of a list's last
    number = 0
    while True:
        tokens = row_number = 0
        while row_number % groups or tokens == 0 or row_number // groups * fold.queries < tokens:
            row = yield source.get()
            yield from rows.open()
            last = yield from rows.take(row)
            start = max(last, done) + 1
            if not row_number:
                start = max(start, sums.popleft())
            done = start + row.beats - 1
            rows.done(done)
            query = row_number // groups * fold.queries
            tokens = (0 if p.keys.back is None else max(0, query - p.keys.back)) + row.beats  # up to the last one that it sees
            row_number += 1
        begin = max(done + latency(fold.side * fold.queries), over) + 1 + bits * tokens
        if number >= 2:
            (place,) = yield free.get()
            begin = max(begin, place)
        over = begin + tokens - 1
        sums.append(over + 1)
        listed.tell(over + 2)
        number += 1


def rtl(graph: Graph, node: Node, fold: Fold) -> Instance:
    (x, p), turns = (graph.tensor(n) for n in node.inputs), graph.turns(node)
    keeps, longest = [n.attrs["keep"] for _, n in turns], graph.longest(node)
    by_turn = {}
    if len(turns) > 1:
        words = fields([[keep] for keep in keeps], (SHARE_BITS + 1,))
        by_turn = {"TURNS": len(turns), "SENTENCES": graph.inside, "KEEP_FILE": Hex.pack(words, 1)}
    return Instance(
        module="keep_tokens",
        params={
            "C": fold.into(x.channels).width,
            "LANES": fold.lanes_in,
            "W": x.bits,
            "ROWS": int(p.shape[1]) // fold.side,
            "SIDE": fold.side,
            "QUERIES": fold.queries,
            "P_W": p.bits,
            "MAX_TOKENS": longest,
            "SUM_W": sum_bits(p, longest),
            "KEEP": keeps[0],
            "MOST": left(longest, max(keeps)),
            **({} if p.keys.all else p.keys.reach(longest)),
            **by_turn,
            **ring.params(graph),
        },
    )


def hls(graph: Graph, node: Node, fold: Fold) -> HlsLayer:
    p = graph.tensor(node.inputs[1])
    reach = {key.lower(): tokens for key, tokens in p.keys.reach(graph.max_tokens).items()}
    keeps = [[n.attrs["keep"]] for _, n in graph.turns(node)]
    return HlsLayer(
        constants={"keep": keeps[0][0], "groups": int(p.shape[1]) // fold.side, "sum_bits": sum_bits(p, graph.max_tokens), **reach},
        memories=hls_words("keeps", keeps) if any(own != keeps[0] for own in keeps) else {},
    )


def holds(graph: Graph, node: Node, fold: Fold, port: int) -> int:
    """A whole sentence: of its rows and of its tokens."""
    return graph.longest(node)


def append(b: GraphBuilder, name: str, x: Tensor, p: Tensor, keep: int) -> Tensor:
    """The node. keep: share of the tokens that stays, in 256ths."""
    out = Tensor(name=name, shape=(str(x.tokens.behind(keep)), x.channels), bits=x.bits, signed=x.signed, scale=x.scale)
    return b.add("keep_tokens", out, (x.name, p.name), {"keep": keep})


def memories(p: Params) -> list[Memory]:
    beats, lanes = p["C"] // p["LANES"], p["SIDE"] * p["QUERIES"]
    own = [banks.memory("row", p["P_W"], lanes, p["MAX_TOKENS"]), *2 * [Memory("sums", p["SUM_W"], p["MAX_TOKENS"])]]
    own += [banks.memory("list", index_bits(p["MAX_TOKENS"] * beats), 1, p["MOST"]), ring.memory(p, "tokens", p["W"], p["LANES"], beats * p["MAX_TOKENS"])]
    return own + ([Memory("keep", SHARE_BITS + 1, p.get("TURNS", 1), rom=True)] if "KEEP_FILE" in p else [])


def terms(p: Params) -> Terms:
    beats, lanes, at = p["C"] // p["LANES"], p["SIDE"] * p["QUERIES"], index_bits(p["MAX_TOKENS"])
    return {
        "sum_bits": 2 * p["SUM_W"],
        "tree_bits": (lanes - 1) * (p["P_W"] + lanes.bit_length()),
        "lane_bits": lanes * p["P_W"],
        "count_bits": 14 * at
        + index_bits(p["ROWS"])
        + index_bits(beats)
        + ring.count_bits(beats * p["MAX_TOKENS"])
        + 2 * index_bits(p["MOST"])
        + (at + first_key.count_bits(p, 1) if "BACK" in p else 0),
        "index_bits": 2 * index_bits(p["MAX_TOKENS"] * beats),
    }


MODULE = Module(name="keep_tokens", turned=True, terms=terms, memories=memories, styles=ring.STYLES)

OP = Operator(
    name="keep_tokens",
    params=PARAMS,
    attrs=ATTRS,
    check=check,
    run=run,
    onnx=onnx,
    ports=("s", "p"),
    same_layout=True,
    wants_zeros=lambda graph, node: False,
    holds=holds,
    timing=timing,
    rtl=rtl,
    module=MODULE,
    hls=hls,
    hls_turns=True,
)
