# SPDX-License-Identifier: Apache-2.0
"""Packs: consecutive sentences that travel through the hardware as one, each attending within itself alone (Krell et al. 2021, arXiv:2107.02027).

With weights in external memory each weight is fetched for a block of tokens, and a block ends where what it is part of ends: at the pack's end then, not at
each short sentence's. The host makes packs, by the sentences' lengths alone. It sends codes 2 x - e for the sums x of embeddings, e = 1 for a sentence's last
token: `border` counts each sentence's tokens from that (hw/rtl/border.sv), a rescaling gives x back, attention and `first_token` are told the counts. All
else takes a pack as a sentence. Graph, hash and golden model are those of the sentences alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bitloom.hw.graph import Graph, GraphBuilder
from bitloom.hw.keys import PACK, Packs
from bitloom.hw.ops import OPS, aside_of, border, requant
from bitloom.hw.ops.record import TOLD
from bitloom.hw.plan.folding import FoldingError

MARKED, RUNS = "marked", "runs"  # what the tensors are called behind the names of those that they are made for


@dataclass(frozen=True, kw_only=True)
class PackedGraph(Graph):
    """What is built for packs of sentences of the graph `alone`: it takes marked codes, and its rows see their own sentence of a pack."""

    alone: Graph

    @property
    def hash(self) -> str:
        return self.alone.hash

    @property
    def packed(self) -> bool:
        return True

    def border(self, tokens: int) -> tuple[int, ...]:
        """Plans count one sentence in a pack: the most products that it can take."""
        return (tokens,)


def pack(graph: Graph) -> PackedGraph:
    """The graph for packs of its sentences.

    Raises FoldingError: it is another kind of network, or its keys are not all of a sentence's.
    """
    _check(graph)
    entry, b = graph.tensor(graph.entry), GraphBuilder(graph.max_tokens)
    marked = replace(entry, name=f"{entry.name}.{MARKED}", bits=entry.bits + 1, scale=entry.scale / 2)
    rows = [n.name for n in graph.nodes if graph.tensor(n.name).kind == "row"]
    told = {n.name: f"{entry.name if n.name in rows else n.name}.{RUNS}" for n in graph.nodes if OPS[n.op].packs == TOLD}
    for name in dict.fromkeys(told.values()):
        border.append(b, name, marked, ends=True)
    requant.append(b, entry.name, marked, np.ones(1, dtype=np.int64), 1, bits=entry.bits, signed=entry.signed, scale=entry.scale)
    nodes = [replace(n, inputs=(*n.inputs, told[n.name])) if n.name in told else n for n in graph.nodes if not OPS[n.op].host]
    tensors = graph.tensors | {name: replace(graph.tensor(name), shape=(*graph.tensor(name).shape[:2], PACK)) for name in rows}
    return PackedGraph(
        name=graph.name,
        nodes=(*b.nodes, *nodes),
        tensors=tensors | b.tensors | {marked.name: marked},
        params=graph.params | b.params,
        inputs=(marked.name,),
        outputs=graph.outputs,
        max_tokens=graph.max_tokens,
        meta=graph.meta,
        alone=graph,
    )


def _check(graph: Graph) -> None:
    if some := [n.name for n in graph.nodes if graph.tensor(n.name).kind == "row" and not graph.tensor(n.name).keys.all]:
        raise FoldingError(f"folding: got keys {graph.tensor(some[0]).shape[2]!r} ({some[0]}) for hardware.pack, must be all, 'T'; remove hardware.pack")
    if other := [n for n in graph.nodes if not OPS[n.op].host and not OPS[n.op].packs]:
        raise FoldingError(
            f"folding: got {other[0].op} ({other[0].name}) for hardware.pack, must be attention and what works on each token alone; remove hardware.pack"
        )


def packs_of(lengths: Sequence[int] | np.ndarray, most: int) -> list[tuple[int, ...]]:
    """Which sentences go together: each joins those before it while all are `most` tokens together at most. lengths: 1 .. most each."""
    found: list[tuple[int, ...]] = []
    for length in map(int, lengths):
        if found and sum(found[-1]) + length <= most:
            found[-1] += (length,)
        else:
            found.append((length,))
    return found


def firsts(packs: Packs) -> list[int]:
    """Index of the first sentence of each pack, and the end."""
    return np.cumsum([0, *map(len, packs)]).tolist()


def sent(sentences: Sequence[np.ndarray], packs: Packs) -> list[np.ndarray]:
    """What the host sends: of each pack the marked codes [T, C] of its sentences, whose own codes [T, C] are those of the graph's entry."""
    marked = [2 * np.asarray(codes) - (np.arange(len(codes)) == len(codes) - 1)[:, None] for codes in sentences]
    starts = firsts(packs)
    return [np.concatenate(marked[begin:end]) for begin, end in zip(starts, starts[1:], strict=False)]


def golden(graph: Graph, values: Mapping[str, np.ndarray], packs: Packs) -> dict[str, np.ndarray]:
    """Golden tensors of sentences as those of their packs: rows [T, heads, T] of packs, 0 where another sentence's keys are, and what `border` tells.

    values  as bitloom.hw.golden.run gives them for the graph of sentences alone
    """
    found, packed = dict(values), pack(graph)
    lengths = np.array([n for own in packs for n in own], dtype=np.int64)
    found |= {name: lengths.reshape(-1, 1) for name in aside_of(packed)}
    for name in found:
        if graph.tensors.get(name) and graph.tensor(name).kind == "row":
            found[name] = _rows(values[name], int(graph.tensor(name).shape[1]), packs)
    return found


def _rows(values: np.ndarray, heads: int, packs: Packs) -> np.ndarray:
    made, at = [], 0
    for own in packs:
        whole, begin = np.zeros((sum(own), heads, sum(own)), dtype=values.dtype), 0
        for n in own:
            whole[begin : begin + n, :, begin : begin + n] = values[at : at + n * heads * n].reshape(n, heads, n)
            begin, at = begin + n, at + n * heads * n
        made.append(whole.reshape(-1))
    return np.concatenate(made)
