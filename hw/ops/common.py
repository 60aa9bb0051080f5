# SPDX-License-Identifier: Apache-2.0
"""Rounding, saturation and shape rules: written once, used by every golden function."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from bitloom.hw.graph import Graph, Node, Tensor, require, signed_bits
from bitloom.hw.instance import Codes, Fold
from bitloom.hw.keys import FORMS, Border, Keys, runs_of
from bitloom.hw.parts import shared
from bitloom.hw.tokens import Tokens


def half(shift: int) -> int:
    """The rounding term of an arithmetic shift: 2**(shift-1), or 0 for shift 0."""
    return (1 << shift) >> 1


def round_shift(x: np.ndarray, shift: int) -> np.ndarray:
    """floor(x / 2**shift + 1/2), ties towards +inf."""
    return (x + half(shift)) >> shift


def clip(x: np.ndarray, bits: int, signed: bool) -> np.ndarray:
    """Saturate to a word of that many bits."""
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    return np.clip(x, low, high)


def require_rows(tensor: Tensor, heads: int, graph: Graph, node: Node) -> None:
    """Raise GraphError unless the tensor is rows of that many heads over keys that hw/keys.py knows."""
    text = f"{tensor.name} got shape {tensor.shape}, must be ('T', {heads}, KEYS), KEYS {FORMS}"
    require(len(tensor.shape) == 3 and tensor.shape[0] != 1 and tensor.shape[1] == heads, graph, node, text)
    try:
        Tokens.parse(tensor.shape[0])
        Keys.parse(str(tensor.shape[2]))
    except ValueError:
        require(False, graph, node, text)


def require_border(graph: Graph, node: Node, rows: Tensor, inputs: int) -> None:
    """Raise GraphError unless the node reads a border behind its `inputs` inputs where, and only where, the keys of its rows depend on one."""
    more, told = [graph.tensor(name) for name in node.inputs[inputs:]], rows.keys.bordered
    ok = len(more) == told and all(t.shape == (1, 1) and not t.signed for t in more)
    text = f"got {len(node.inputs)} inputs, must be {inputs + told}{', the last one a border (1, 1)' if told else ''} for keys {str(rows.shape[2])!r}"
    require(ok, graph, node, text)
    require(not told or rows.shape[0] == "T", graph, node, f"got keys {str(rows.shape[2])!r} of tokens {rows.shape[0]!r}, must be all of them, 'T'")


def borders(keys: Keys, inputs: Sequence[np.ndarray], at: int, lengths: np.ndarray) -> list[Border]:
    """Of each sentence, from the node's input `at`; None where it has none."""
    if len(inputs) <= at:
        return [None] * len(lengths)
    told = [int(b) for b in inputs[at].reshape(-1)]
    return runs_of(told, lengths) if keys.pack else told


def require_range(value: np.ndarray, low: int, high: int, graph: Graph, node: Node, name: str) -> None:
    """Raise GraphError unless low <= value <= high everywhere."""
    got = (int(value.min()), int(value.max())) if value.size else (0, 0)
    require(low <= got[0] and got[1] <= high, graph, node, f"{name} got {got[0]} .. {got[1]}, must be within {low} .. {high}")


def require_bits(tensor: Tensor, low: int, high: int, graph: Graph, node: Node) -> None:
    """Raise GraphError unless the tensor's width is legal for this operator."""
    require(low <= tensor.bits <= high, graph, node, f"{tensor.name} got {tensor.bits} bits, must be {low} .. {high}")


def require_holds(bound: int, graph: Graph, node: Node) -> None:
    """Raise GraphError unless the (signed) output tensor holds -bound .. bound and int64 arithmetic is safe."""
    out = graph.tensor(node.name)
    need = int(bound).bit_length() + 1
    require(out.signed and out.bits >= need, graph, node, f"output got {out.bits} bits, must be at least {need}, signed; largest value is {bound}")
    require(need <= 53, graph, node, f"accumulator needs {need} bits, must be at most 53")


def largest(tensor: Tensor) -> int:
    """The largest magnitude that the tensor's codes can have."""
    return max(-tensor.low, tensor.high)


def exact_matmul(a: np.ndarray, b: np.ndarray, bound: int) -> np.ndarray:
    """a @ b for integers, through BLAS in the narrowest float that holds every partial sum exactly.

    bound  at least sum |a| |b| of any output; below 2**24 float32 is exact, below 2**53 float64
    """
    dtype = np.float32 if bound < 1 << 24 else np.float64
    return (a.astype(dtype) @ b.astype(dtype)).astype(np.int64)


def sentences(lengths: np.ndarray, heads: int = 1) -> Iterator[tuple[int, slice, slice]]:
    """For each sentence: T, its slice of a token tensor, its slice of a row tensor (T * heads * T codes)."""
    token = row = 0
    for length in lengths.tolist():
        yield length, slice(token, token + length), slice(row, row + length * heads * length)
        token, row = token + length, row + length * heads * length


class Rounding(NamedTuple):
    """How a unit shifts and saturates, where it serves several nodes in turn (hw/plan/rolled.py) or makes codes of fewer bits than its stream has.

    shift  the least of all turns; more: by how much the largest exceeds it
    words  a row a turn: [the least code, the largest, by how much its shift exceeds `shift`]; None: alike in all turns, and as wide as the stream
    """

    shift: int
    more: int
    words: list[list[int]] | None


def rounding(graph: Graph, node: Node) -> Rounding:
    """Of a unit with the attribute `shift`."""
    turns, wide = graph.turns(node), graph.tensor(node.name)
    shifts = [n.attrs["shift"] for _, n in turns]
    outs = [g.tensor(n.name) for g, n in turns]
    least = min(shifts)
    alike = max(shifts) == least and all((t.low, t.high) == (wide.low, wide.high) for t in outs)
    words = [[t.low, t.high, shift - least] for t, shift in zip(outs, shifts, strict=True)]
    return Rounding(least, max(shifts) - least, None if alike else words)


def hls_words(name: str, words: Sequence[Sequence[int]] | None) -> dict[str, Codes]:
    """A memory of an HLS layer with some numbers for each turn; {} where there are none."""
    if not words:
        return {}
    bits = signed_bits(max(abs(number) for own in words for number in own))
    return {name: shared.codes([np.array(own, dtype=np.int64) for own in words], bits)}


def turn_spans(graph: Graph, node: Node, tokens: int, border: Border = None) -> np.ndarray:
    """Of a node with rows of keys: how many each query of a sentence sees in each turn, int64 [turns, T] (hw/keys.py)."""
    found = []
    for g, n in graph.turns(node):
        rows = next(t for t in (g.tensor(name) for name in (*n.inputs, n.name)) if t.kind == "row")
        found.append(rows.keys.spans(tokens, g.border(tokens) if border is None else border))
    return np.array(found)


def mean(values: Sequence[int]) -> int:
    """Rounded up."""
    return -(-int(sum(values)) // len(values))


PARTS = 15  # of folded streams that are between a matrix unit and a place behind it, at most: as many beats as the FIFOs and pipelines between hold


def turn_params(graph: Graph, node: Node, fold: Fold) -> dict[str, int]:
    """Parameters TURNS and SENTENCES of a unit of a rolled graph, and ROWS and QUERIES where it works on row streams; {} of any other."""
    count = len(graph.turns(node))
    if count == 1:
        return {}
    row = next((graph.tensor(name) for name in (*node.inputs, node.name) if graph.tensor(name).kind == "row"), None)
    own = {"TURNS": count, "SENTENCES": PARTS if fold.folded else graph.inside}
    return own | {"ROWS": int(row.shape[1]) // fold.side, "QUERIES": fold.queries} if row else own


def last_read(latency: int, beats: int, planned: int, moved: int, before: int) -> int:
    """When a pipeline that stalls as a whole reads the last beat of a token from its memory.

    A stalled output stalls the reading as well, but early in a token: behind the two beats that the FIFO takes. The beat that is at the output when the
    last one is read is one of the rest, or one of those two, or of the token before.

    planned, moved  the token's last beat out: without stalls, and as it was taken
    before          the last beat out of the token before
    """
    at_output = beats - 1 - latency
    return moved - latency if at_output > 1 else max(planned - latency, before + 1 + at_output)


def pipeline(ins, out, latency: int):
    """Timing generator (hw/plan/timing.py) of a pipeline that stalls as a whole: II 1, `latency` cycles.

    The inputs' tokens have equally many beats and are taken beat by beat together.
    """
    free = 0  # cycle from which the next beat can be taken
    while True:
        tokens = []
        for channel in ins:
            tokens.append((yield channel.get()))
        beats = tokens[0].beats
        first = max(free, *(token.first for token in tokens))
        last = max(token.taken(first) for token in tokens)
        pace = last - first
        first, last = yield out.put(first + latency, last + latency, beats, tokens[0].end, tokens[0].group)
        for channel in ins:
            channel.popped(first - latency, last - latency, pace)
        free = last - latency + 1
