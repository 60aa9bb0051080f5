# SPDX-License-Identifier: Apache-2.0
"""window: tokens of a sentence side by side, for one place in each `stride` (hw/rtl/window.sv)."""

from __future__ import annotations

import numpy as np

from bitloom.hw.cost.memories import Memory, index_bits
from bitloom.hw.graph import Graph, Node, require
from bitloom.hw.instance import Fold, HlsLayer, Params, Terms

INSIDE = 2  # tokens that a unit takes beside those that it needs to give one out, and the one that it gives
LATENCY = 2  # cycles from reading a beat to its window at the output
LAST = (1 << 31) - 1  # an end behind any, of ONNX's Slice


def offsets(kernel: int, dilation: int = 1, stride: int = 1) -> list[int]:
    """Where the tokens of window i are, from token i*stride: (k - (kernel-1)//2) * dilation + (stride-1)//2.

    The middle one of a window (of an even kernel one more is behind it) is that of the `stride` tokens that it stands for.
    """
    return [(k - (kernel - 1) // 2) * dilation + (stride - 1) // 2 for k in range(kernel)]


def taps(x: np.ndarray, lengths: np.ndarray, places: list[int], stride: int) -> tuple[np.ndarray, np.ndarray]:
    """The tokens of all windows int64 [M, K, C], any where there is none, and which exist, bool [M, K]; x int64 [N, C], M of its N tokens begin a stride."""
    at = np.concatenate([np.arange(n) for n in lengths]) if len(lengths) else np.zeros(0, dtype=np.int64)
    rows, left = np.flatnonzero(at % stride == 0), np.repeat(lengths, lengths) - at
    places = np.array(places)
    there = (at[rows, None] + places >= 0) & (places < left[rows, None])
    return x[np.where(there, rows[:, None] + places, rows[:, None])], there


def check(graph: Graph, node: Node, kernel: int, dilation: int, stride: int, times: int) -> None:
    """Raise GraphError unless the node makes windows of a token stream, `times` codes of each of its own."""
    x, out = graph.tensor(node.inputs[0]), graph.tensor(node.name)
    require(kernel >= 2, graph, node, f"kernel got {kernel}, must be at least 2")
    require(dilation >= 1, graph, node, f"dilation got {dilation}, must be at least 1")
    require(stride >= 1, graph, node, f"stride got {stride}, must be at least 1")
    most, furthest = graph.longest(node), max(map(abs, offsets(kernel, dilation, stride)))
    require(furthest < most, graph, node, f"got a window of tokens up to {furthest} away, must be less than {most}, as many as a sentence has")
    require(stride < most or stride == 1, graph, node, f"stride got {stride}, must be less than {most}, as many tokens as a sentence has")
    want = (str(x.tokens.strided(stride)), times * x.channels)
    require(x.kind == "token" and out.shape == want, graph, node, f"shapes got {x.shape} -> {out.shape}, must be ('T', C) -> {want}")


def pooled(node: Node) -> list[int]:
    """The offsets of a node that pools windows."""
    return offsets(node.attrs["kernel"], 1, node.attrs["stride"])


def check_pool(graph: Graph, node: Node) -> None:
    """Raise GraphError unless the node makes one token of each window, and leaves none out."""
    kernel, stride = node.attrs["kernel"], node.attrs["stride"]
    check(graph, node, kernel, 1, stride, times=1)
    require(stride <= kernel, graph, node, f"stride got {stride}, must be at most the kernel {kernel}: else tokens are in no window")


def cuts(b, x: str, places: list[int], stride: int, absent: int) -> list[str]:
    """In ONNX: of each place in the windows its token of all of them [M, C]; `absent` where there is none."""
    first, last = min(places[0], 0), max(places[-1], 0)
    padded = b.op("Pad", x, b.ints([-first, 0, last, 0]), b.scalar(absent))
    step = [] if stride == 1 else [b.ints([stride])]
    return [b.op("Slice", padded, b.ints([at - first]), b.ints([at - last or LAST]), b.ints([0]), *step) for at in places]


def behind(places: list[int], stride: int) -> int:
    """Tokens behind one that are there when it is read: all of its window, and the one behind which it is known if another window follows."""
    return max(places[-1], stride - 1)


def timing(places: list[int], stride: int, latency: int, ins, out):
    """A window leaves when its last token is there, or the sentence's end; latency: of what stands behind (hw/rtl/window.sv)."""
    reach, delay, at, free = behind(places, stride), LATENCY + latency, 0, 0
    reads: list[tuple[int, int]] = [(-1, -1)] * (reach + INSIDE)  # in which cycles the tokens were read that make room for the next ones
    done = -1  # when the last one was read
    while True:
        token = yield ins[0].get()
        before = reads[0]
        first = max(token.first, free, before[0] + 1)
        alone = token.taken(first)
        last = yield ins[0].leave(token, max(alone, before[1] + 1))
        ins[0].popped(first, last, alone - first)
        reads, free, at = reads[1:], last + 1, at + 1
        for number in range(max(0, at - 1 - reach), at if token.end else at - reach):
            early = number == at - 1 - reach  # its last neighbour comes beat by beat
            start, end = (first + 1, last + 1) if early else (last + 1, last + token.beats)
            start = max(start, done + 1)
            end = max(end, start + token.beats - 1)
            if number % stride == 0:
                start, end = yield out.put(start + delay, end + delay, token.beats, token.end and number + stride >= at)
                start, end = start - delay, end - delay
            done = end
            reads.append((start, done))
        at = 0 if token.end else at


def holds(places: list[int], stride: int) -> int:
    """Tokens inside."""
    return behind(places, stride) + INSIDE + 1


def hls(graph: Graph, node: Node, fold: Fold, **own: int) -> HlsLayer:
    """The constants of hls/nnet/window.h, and the operator's own."""
    kernel, dilation, stride = (int(node.attrs.get(key, 1)) for key in ("kernel", "dilation", "stride"))
    places = offsets(kernel, dilation, stride)
    later, beats = behind(places, stride), fold.into(graph.tensor(node.inputs[0]).channels).width // fold.lanes_in
    constants = {"kernel": kernel, "dilation": dilation, "stride": stride, "behind": later, "lag": later - places[-1]}
    return HlsLayer(constants=constants | own, interval=(graph.max_tokens + later) * beats)


def params(graph: Graph, node: Node, fold: Fold) -> Params:
    """Of hw/rtl/window.sv, without the dilation."""
    x = graph.tensor(node.inputs[0])
    return {
        "KERNEL": node.attrs["kernel"],
        "STRIDE": node.attrs["stride"],
        "LANES": fold.lanes_in,
        "BEATS": fold.into(x.channels).width // fold.lanes_in,
        "W": x.bits,
        "MAX_TOKENS": graph.longest(node),
    }


def _places(p: Params) -> list[int]:
    return offsets(p["KERNEL"], p.get("DILATION", 1), p["STRIDE"])


def _depths(p: Params) -> list[int]:
    """Words of each memory."""
    return [(behind(_places(p), p["STRIDE"]) - at + INSIDE) * p["BEATS"] for at in _places(p)]


def memories(p: Params) -> list[Memory]:
    queue = index_bits(behind(_places(p), p["STRIDE"]) + INSIDE + 1)
    beside = [Memory("token", p["LANES"] * p["W"], depth) for depth in _depths(p)]
    return [*beside, Memory("length", p["MAX_TOKENS"].bit_length(), 1 << queue, direct=True)]


def terms(p: Params) -> Terms:
    count = p["MAX_TOKENS"].bit_length()
    return {
        "out_bits": p["LANES"] * p["KERNEL"] * p["W"],
        "count_bits": 2 * count + 2 * index_bits(p["BEATS"]) + 2 * sum(index_bits(depth) for depth in _depths(p)),
        "index_bits": p["KERNEL"] * count,
    }
