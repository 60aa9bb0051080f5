# SPDX-License-Identifier: Apache-2.0
"""Predicted cycles of a whole encoder: its timing network, run for any mix of sentence lengths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bitloom.hw.fifos import depths
from bitloom.hw.folding import Folding
from bitloom.hw.graph import Graph
from bitloom.hw.ops import OPS
from bitloom.hw.timing import Channel, Fork, Process, run, simulate_node, sink, source


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """Cycles per sentence, counted from the first accepted input beat of the first sentence."""

    lengths: list[int]
    in_first: list[int]
    out_last: list[int]

    @property
    def latency(self) -> list[int]:
        """First beat in to last beat out, per sentence."""
        return [out - start for start, out in zip(self.in_first, self.out_last, strict=True)]

    @property
    def interval(self) -> float:
        """Mean cycles between the sentences' last beats (0 for one sentence)."""
        count = len(self.out_last) - 1
        return (self.out_last[-1] - self.out_last[0]) / count if count else 0.0


def predict(graph: Graph, folding: Folding, lengths: Sequence[int], starts: Sequence[int] | None = None) -> Prediction:
    """Back-to-back sentences of these lengths through the whole encoder, source and sink never stalling.

    starts  of sentences that come apart: the earliest cycle of each one's first beat, from 0 on
    """
    fifos = depths(graph, folding)
    edges = {key: Channel(f"{key[0]}.{key[1]}", depth=depth) for key, depth in fifos.items()}
    result = Channel("result")
    outs: dict[str, Channel | Fork] = {}
    for tensor in {graph.entry: 0} | {n.name: 0 for n in graph.nodes}:
        branches = [edges[r.name, port] for r in graph.readers(tensor) for port, name in enumerate(r.inputs) if name == tensor]
        branches += [result] if tensor in graph.outputs else []
        outs[tensor] = branches[0] if len(branches) == 1 else Fork(branches)
    entry = outs[graph.entry]
    first_edge = entry if isinstance(entry, Channel) else entry.branches[0]
    beats = graph.tensor(graph.entry).channels // folding.lanes[graph.entry]
    processes: dict[str, Process] = {"sink": sink(result), "source": source(entry, lengths, beats, starts=starts)}
    for node in graph.nodes:
        if not OPS[node.op].host:
            ins = [edges[node.name, port] for port in range(len(node.inputs))]
            processes[node.name] = OPS[node.op].timing(graph, node, folding.folds[node.name], ins, outs[node.name])
    run(processes, [*edges.values(), result])
    starts = [0, *(i + 1 for i, t in enumerate(first_edge.log) if t.end)][:-1]
    out_last = [t.last + result.latency for t in result.log if t.end]
    return Prediction(lengths=list(lengths), in_first=[first_edge.log[i].first for i in starts], out_last=out_last)


def stage_intervals(graph: Graph, folding: Folding, tokens: int) -> dict[str, int]:
    """Steady-state cycles per sentence of that many tokens, for each operator alone."""
    intervals = {}
    for node in graph.nodes:
        if OPS[node.op].host:
            continue
        trace = simulate_node(graph, node, folding.folds[node.name], [tokens] * 4)
        per_sentence = len(trace.last) // 4
        intervals[node.name] = trace.last[-1] - trace.last[-1 - per_sentence]
    return intervals
