# SPDX-License-Identifier: Apache-2.0
"""Cycles of one operator alone, its sources always valid, its sink always ready: what its RTL must keep to, exactly.

The last beat of each token (or row) leaves in the cycle that `simulate_node` says, cycle 0 being that of the first accepted input beat.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bitloom.hw.graph import Graph, Node
from bitloom.hw.instance import Fold
from bitloom.hw.keys import Border
from bitloom.hw.ops import OPS
from bitloom.hw.plan.requests import Process
from bitloom.hw.plan.timing import Channel, run, sink, source


@dataclass(frozen=True, kw_only=True)
class NodeTrace:
    """Output cycles of one operator alone: of each token's (or row's) first and last beat."""

    first: list[int]
    last: list[int]


def simulate_node(graph: Graph, node: Node, fold: Fold, lengths: Sequence[int], turn: int = 0, borders: Sequence[Border] | None = None) -> NodeTrace:
    """One operator alone, its sources always valid, its sink always ready; cycle 0 is the first accepted beat.

    turn     of all sentences, in a rolled graph
    borders  of pairs, or of packs (hw/keys.py); None: as plans count them (hw/graph.py: Graph.border)
    """
    names = [name for _, name in OPS[node.op].takes(node)]
    ins = [Channel(f"{node.name}.in{i}", latency=0) for i in range(len(names))]
    if borders is None:
        borders = [0 if _sees_all(graph, node, turn) else graph.border(n) for n in lengths]
    for channel in ins:
        channel.turns, channel.borders = turn, borders
    out = Channel(f"{node.name}.out", latency=0)
    processes = {node.name: OPS[node.op].timing(graph, node, fold, ins, out), "sink": sink(out)}
    for index, (channel, name) in enumerate(zip(ins, names, strict=True)):
        processes[f"source{index}"] = _unit_source(graph, name, names[0], channel, fold, lengths)
    run(processes, [*ins, out])
    return NodeTrace(first=[t.first for t in out.log], last=[t.last for t in out.log])


def _sees_all(graph: Graph, node: Node, turn: int) -> bool:
    """All keys are seen in that turn."""
    own, served = graph.turns(node)[turn]
    rows = [own.tensor(name) for name in (*served.inputs, served.name) if own.tensor(name).kind == "row"] if graph.around else []
    return any(tensor.keys.all for tensor in rows)


def unlike_turns(graph: Graph, node: Node, fold: Fold) -> Sequence[int]:
    """Turns that take a unit other cycles than each other; where all are alike, the first."""
    turns = range(len(graph.turns(node)))
    return turns if fold.words or len({_sees_all(graph, node, turn) for turn in turns}) > 1 else turns[:1]


def node_interval(graph: Graph, node: Node, fold: Fold, tokens: int, sentences: int = 4) -> int:
    """Steady-state cycles of a unit alone for a sentence of that many tokens; of a rolled encoder, in all turns. sentences: behind which it is steady.

    Of sentences that take turns the mean of as many, with as many in front of them and behind.
    """
    unlike, flight = unlike_turns(graph, node, fold), fold.in_flight
    count = sentences if flight == 1 else 4 * flight
    traces = [simulate_node(graph, node, fold, [tokens] * count, turn) for turn in unlike]
    ends = [t.last[len(t.last) // count - 1 :: len(t.last) // count] for t in traces]
    behind = 0 if flight == 1 else flight
    return len(graph.turns(node)) // len(traces) * sum((own[-1 - behind] - own[-1 - behind - flight]) // flight for own in ends)


def _unit_source(graph: Graph, name: str, first: str, channel: Channel, fold: Fold, lengths: Sequence[int]) -> Process:
    """first: the input whose tokens `lengths` counts."""
    tensor = graph.tensor(name)
    if tensor.kind == "row":
        each = [tensor.keys.spans(n, channel.border(i))[:: fold.queries].tolist() for i, n in enumerate(lengths)]
        return _rows(channel, each, int(tensor.shape[1]) // fold.side)
    counts = [tensor.tokens.beside(graph.tensor(first).tokens, n) for n in lengths] if tensor.kind == "token" else [1] * len(lengths)
    if fold.folded:
        return _parts(channel, counts, fold.into(tensor.channels).width, fold)
    if tensor.shape == (1, 1):
        told = [len(own) if isinstance(own, tuple) else 1 for own in channel.borders]
        return source(channel, told, 1, always_valid=True)
    return source(channel, counts, fold.into(tensor.channels).width // fold.lanes_in, always_valid=True)


def _parts(out: Channel, counts: Sequence[int], elements: int, fold: Fold) -> Process:
    """A folded stream (hw/rtl/blocks.sv), each sentence as one block."""
    for count in counts:
        for part in range(elements // fold.folded):
            yield out.put(0, 0, count * fold.folded // fold.lanes_in, part == elements // fold.folded - 1)


def _rows(out: Channel, sentences: Sequence[Sequence[int]], rows: int) -> Process:
    """sentences: of each token, or of those side by side, how long their rows are; rows: a token."""
    for spans in sentences:
        for span in spans:
            for _ in range(rows):
                yield out.put(0, 0, span, True)
