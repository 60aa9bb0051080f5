# SPDX-License-Identifier: Apache-2.0
"""FIFO depths, and why they cannot deadlock.

The encoder is a Kahn network of a directed acyclic graph of operators. Each operator needs only a bounded number of its input tokens before it
gives out a token: `holds` says how many it may have taken and not yet given (its buffers; for scores, a whole sentence of keys). A cycle of waiting
can therefore only arise where two paths from a fork meet again: the short path's FIFO is full, so the fork stops, while the long path still waits for
tokens from the fork. It cannot if the short path's FIFO holds as many tokens as the long path may hold before it gives its first: then, when that FIFO
is full, the long path has received all that it needs and gives a token, the join takes one of each, and the fork moves on. `depths` computes just that:
the longest path's holdings (longest path over the graph) minus the branch's own, plus two beats so that a FIFO never costs a cycle.
A double buffer that waits for an older sentence to leave waits only for tokens downstream of it, so it adds no cycle.
"""

from __future__ import annotations

from bitloom.hw.folding import Folding
from bitloom.hw.graph import Graph, Node

MIN_DEPTH = 2
# Tokens inside: two input buffers and the one being given out; a pipeline's registers hold less than a token and are covered by that margin of 1.
BUFFERED = {"linear": 3, "layernorm": 4, "softmax": 4, "context": 4}


def holds(graph: Graph, node: Node, port: int) -> int:
    """Tokens that may be inside `node` between input `port` and its output."""
    if node.op == "scores":
        return graph.max_tokens + 2 if port == 1 else 2
    if node.op == "context" and port == 1:
        return graph.max_tokens + BUFFERED["softmax"] + BUFFERED["context"] + 2
    return BUFFERED.get(node.op, 1)


def depths(graph: Graph, folding: Folding) -> dict[tuple[str, int], int]:
    """Beats of the FIFO in front of each node's input port, {(node, port): depth}."""
    held: dict[str, int] = {graph.entry: 0}
    result: dict[tuple[str, int], int] = {}
    for node in graph.nodes:
        if node.op == "embed":
            continue
        reach = [held[name] + holds(graph, node, port) for port, name in enumerate(node.inputs)]
        held[node.name] = max(reach)
        for port, name in enumerate(node.inputs):
            tensor = graph.tensor(name)
            slack = max(reach) - reach[port] if tensor.kind == "token" else 0
            result[node.name, port] = MIN_DEPTH + slack * (tensor.channels // folding.lanes[name])
    return result
