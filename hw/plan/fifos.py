# SPDX-License-Identifier: Apache-2.0
"""FIFO depths, and why they cannot deadlock.

The encoder is a Kahn network of a directed acyclic graph of operators. Each operator needs only a bounded number of its input tokens before it
gives out a token: `holds` says how many it may have taken and not yet given (its buffers; for scores, a whole sentence of keys). A cycle of waiting
can therefore only arise where two paths from a fork meet again: the short path's FIFO is full, so the fork stops, while the long path still waits for
tokens from the fork. It cannot if the short path's FIFO holds as many tokens as the long path may hold before it gives its first: then, when that FIFO
is full, the long path has received all that it needs and gives a token, the join takes one of each, and the fork moves on. `depths` computes just that:
the longest path's holdings (longest path over the graph) minus the branch's own, plus two beats so that a FIFO never costs a cycle.
A double buffer or a ring that waits for an older unit or sentence to leave waits only for tokens downstream of it, so it adds no cycle: a ring of twice
max_tokens holds a whole sentence beside the one that is attended, whatever their lengths.
A unit that computes blocks of tokens needs a whole block before it gives the first part of it, and an `unfold` a whole one before its first token: a block
each is counted. Both may hold a second one, which they need only to go on without a pause; while the first is computed the FIFO is emptied as fast as the
second fills, so counting it as well makes no encoder faster.
Where tokens are pooled, one stands for several: holdings are counted in tokens of the sentence, and a FIFO of pooled ones holds as many fewer, and one more, as
the last of a sentence may stand for fewer. All that is between a fork and a join waits for tokens of the sentences that it has, never for the next one's.
What tells units how to work (record field `aside`) comes once a sentence, ahead of its tokens: its FIFO holds as many as may be between where it is told
and where it is taken, at most as many as the rings on the way; were it full, the unit that tells would wait, and with it the next sentences.
Of packs it comes for each of their sentences, of a token at least.
What puts tokens one behind the other takes nothing of one input while the other's token passes: a token of each is counted, so that its producer goes on.
In the layers of a rolled encoder no more tokens can wait than the sentences have that are inside.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from bitloom.hw.graph import Graph, Node
from bitloom.hw.instance import Fold
from bitloom.hw.ops import OPS, aside_of
from bitloom.hw.parts import ring

MIN_DEPTH = 2


def depths(graph: Graph, nodes: Sequence[Node], beats: Mapping[str, int], folds: Mapping[str, Fold], behind: Mapping[str, int]) -> dict[tuple[str, int], int]:
    """Beats of the FIFO in front of each node's input port, {(node, port): depth}.

    nodes   those in hardware, in topological order; beats: of a token of each tensor's stream
    folds   of the nodes; behind: tokens of a block, of the `unfold` behind a node, 0 where there is none
    """
    held: dict[str, int] = {graph.entry: 0}
    asides = aside_of(graph)
    told = dict.fromkeys(asides, 0)  # units that have taken each
    result: dict[tuple[str, int], int] = {}
    for node in nodes:
        fold = folds[node.name]
        inside = fold.block + 1 if fold.block else 0
        each = [graph.tensor(name).tokens.stride for name in node.inputs]  # tokens of the sentence that one stands for
        reach = [held[name] + each[port] * (inside or OPS[node.op].holds(graph, node, fold, port)) for port, name in enumerate(node.inputs)]
        held[node.name] = max(reach) + graph.tensor(node.name).tokens.stride * behind[node.name]
        for port, name in enumerate(node.inputs):
            gap, stands = max(reach) - reach[port], each[port]
            apart = gap if stands == 1 else gap and -(-gap // stands) + 1
            slack = min(apart + OPS[node.op].joins, _most(graph, node)) if graph.tensor(name).kind == "token" else 0
            if name in asides:
                told[name] += 1
                sentences = ring.SENTENCES * (told[name] + 1)
                slack = _runs(graph, node, max(reach)) if graph.packed else min(max(reach), sentences, _most(graph, node) / graph.max_tokens)
            result[node.name, port] = MIN_DEPTH + int(slack * beats[name])
    return result


def _runs(graph: Graph, node: Node, reach: int) -> float:
    """Of packs, lengths of sentences that may wait in front of a node: one for each token that is on the way, of those that go round too."""
    round_ = graph.inside * graph.max_tokens if graph.around else 0
    return min(2 * reach, _most(graph, node)) if len(graph.turns(node)) > 1 else 2 * reach + round_


def _most(graph: Graph, node: Node) -> float:
    """Tokens that can wait in front of a node: of the sentences in the layers of a rolled encoder, each once."""
    return graph.inside * graph.max_tokens if graph.around and len(graph.turns(node)) > 1 else math.inf
