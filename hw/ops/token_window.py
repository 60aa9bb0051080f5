# SPDX-License-Identifier: Apache-2.0
"""token_window: each token with its neighbours side by side; a linear layer behind it is a convolution over tokens (Kim 2014, arXiv:1408.5882)."""

from __future__ import annotations

import numpy as np

from bitloom.hw.cost.memories import Memory, index_bits
from bitloom.hw.graph import Graph, GraphBuilder, Node, Tensor
from bitloom.hw.instance import Fold, Instance, Module, Params, Terms
from bitloom.hw.ops.common import require
from bitloom.hw.ops.record import Operator

PARAMS = ()
ATTRS = ("kernel", "dilation")
INSIDE = 2  # tokens that a unit takes beside those that it needs to give one out, and the one that it gives
LAST = (1 << 31) - 1  # an end behind any, of ONNX's Slice


def offsets(kernel: int, dilation: int) -> list[int]:
    """Where the tokens of a window are, from its middle one: (k - (kernel-1)//2) * dilation; of an even kernel one more is behind it."""
    return [(k - (kernel - 1) // 2) * dilation for k in range(kernel)]


def token_window(x, lengths, kernel, dilation):
    """y[i, c*kernel + k] = x[i + offsets[k], c]; 0 where the sentence has no such token.

    x        int64 [N, C], sentences of `lengths` [S] tokens one behind the other
    returns  int64 [N, C*kernel], of the same grid
    """
    at = np.concatenate([np.arange(n) for n in lengths]) if len(lengths) else np.zeros(0, dtype=np.int64)
    left, rows, taps = np.repeat(lengths, lengths) - at, np.arange(len(x)), []
    for offset in offsets(kernel, dilation):
        there = (at + offset >= 0) & (offset < left)
        taps.append(np.where(there[:, None], x[np.where(there, rows + offset, rows)], 0))
    return np.stack(taps, axis=-1).reshape(len(x), -1)


def check(graph: Graph, node: Node) -> None:
    x, out, (kernel, dilation) = graph.tensor(node.inputs[0]), graph.tensor(node.name), (node.attrs[key] for key in ATTRS)
    require(kernel >= 2, graph, node, f"kernel got {kernel}, must be at least 2")
    require(dilation >= 1, graph, node, f"dilation got {dilation}, must be at least 1")
    furthest = max(map(abs, offsets(kernel, dilation)))
    require(furthest < graph.max_tokens, graph, node, f"got a window of tokens up to {furthest} away, must be less than max_tokens {graph.max_tokens}")
    shapes = f"shapes got {x.shape} -> {out.shape}, must be ('T', C) -> ('T', {kernel} C)"
    require(x.kind == "token" and out.shape == (x.shape[0], kernel * x.channels), graph, node, shapes)
    require((x.bits, x.signed) == (out.bits, out.signed), graph, node, f"output got {out.bits} bits, must be the input's {x.bits}")


def run(graph: Graph, node: Node, inputs: list[np.ndarray], lengths: np.ndarray) -> np.ndarray:
    return token_window(inputs[0], lengths, *(node.attrs[key] for key in ATTRS))


def onnx(b, graph: Graph, node: Node, inputs: list[str]) -> str:
    """The sentence between zeros, cut once for each place of the window."""
    places, channels = offsets(*(node.attrs[key] for key in ATTRS)), graph.tensor(node.name).channels
    padded = b.op("Pad", inputs[0], b.ints([-places[0], 0, places[-1], 0]), b.scalar(0))
    cuts = [b.op("Slice", padded, b.ints([at - places[0]]), b.ints([at - places[-1] or LAST]), b.ints([0])) for at in places]
    together = b.op("Concat", *(b.op("Unsqueeze", cut, b.ints([2])) for cut in cuts), axis=2)
    return b.op("Reshape", together, b.ints([-1, channels]), name=node.name)


def behind(node: Node) -> int:
    """Tokens behind the middle one of a window."""
    return offsets(*(node.attrs[key] for key in ATTRS))[-1]


def timing(graph: Graph, node: Node, fold: Fold, ins, out):
    """A token leaves when the last one beside it is there, or the sentence's end; the numbers are those of hw/rtl/token_window.sv."""
    reach, at, free = behind(node), 0, 0
    reads: list[tuple[int, int]] = [(-1, -1)] * (reach + INSIDE)  # in which cycles the tokens were read that make room for the next ones
    done = -1  # when the last one was read
    while True:
        token = yield ins[0].get()
        before, alone = reads[0], token.first
        first = max(token.first, free, before[0] + 1)
        alone = token.taken(first)
        last = max(alone, before[1] + 1)
        ins[0].popped(first, last, alone - first)
        reads, free, at = reads[1:], last + 1, at + 1
        for number in range(max(0, at - 1 - reach), at if token.end else at - reach):
            early = number == at - 1 - reach  # its last neighbour comes beat by beat
            start, end = (first + 1, last + 1) if early else (last + 1, last + token.beats)
            start = max(start, done + 1)
            end = max(end, start + token.beats - 1)
            started, moved = yield out.put(start + 2, end + 2, token.beats, token.end and number == at - 1)
            done = moved - 2
            reads.append((started - 2, done))
        at = 0 if token.end else at


def rtl(graph: Graph, node: Node, fold: Fold) -> Instance:
    x = graph.tensor(node.inputs[0])
    return Instance(
        module="token_window",
        params={
            "KERNEL": node.attrs["kernel"],
            "DILATION": node.attrs["dilation"],
            "LANES": fold.lanes_in,
            "BEATS": fold.into(x.channels).width // fold.lanes_in,
            "W": x.bits,
            "MAX_TOKENS": graph.max_tokens,
        },
    )


def holds(graph: Graph, node: Node, fold: Fold, port: int) -> int:
    return behind(node) + INSIDE + 1


def append(b: GraphBuilder, name: str, x: Tensor, kernel: int, dilation: int = 1) -> Tensor:
    """The node of a window of `kernel` tokens, each `dilation` from the next."""
    out = Tensor(name=name, shape=(x.shape[0], kernel * x.channels), bits=x.bits, signed=x.signed, scale=x.scale)
    return b.add("token_window", out, (x.name,), {"kernel": kernel, "dilation": dilation})


def _depths(p: Params) -> list[int]:
    """Words of each memory."""
    places = offsets(p["KERNEL"], p["DILATION"])
    return [(places[-1] - at + INSIDE) * p["BEATS"] for at in places]


def memories(p: Params) -> list[Memory]:
    queue = index_bits(offsets(p["KERNEL"], p["DILATION"])[-1] + INSIDE + 1)
    beside = [Memory("token", p["LANES"] * p["W"], depth) for depth in _depths(p)]
    return [*beside, Memory("length", p["MAX_TOKENS"].bit_length(), 1 << queue, direct=True)]


def terms(p: Params) -> Terms:
    count = p["MAX_TOKENS"].bit_length()
    return {
        "out_bits": p["LANES"] * p["KERNEL"] * p["W"],
        "count_bits": 2 * count + 2 * index_bits(p["BEATS"]) + 2 * sum(index_bits(depth) for depth in _depths(p)),
        "index_bits": p["KERNEL"] * count,
    }


MODULE = Module(name="token_window", terms=terms, memories=memories)


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
)
