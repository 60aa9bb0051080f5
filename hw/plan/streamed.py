# SPDX-License-Identifier: Apache-2.0
"""Weights in external memory: which matrix units fetch theirs, for how many tokens at once, and where they lie.

A unit computes a block of tokens tile by tile (hw/rtl/linear_tiles.sv), so each weight is fetched once a block: the more tokens a block has, the less
bandwidth the memory must have, and the more memory the blocks take on the chip. What such a unit gives is folded; operators that work on each beat by
itself pass that on, and the next matrix unit takes it as it is; in front of any other an `unfold` brings the tokens back in order.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bitloom.boards.pynq_driver.header import HEADER_BYTES as HEADER
from bitloom.hw.graph import Graph, Node
from bitloom.hw.instance import Fold
from bitloom.hw.ops import OPS
from bitloom.hw.parts import tiles, weights
from bitloom.hw.plan.folding import Folding, FoldingError, Memory

SMALL = 1 << 10  # bits: weights of fewer stay on the chip
BELOW = 1 << 32  # addresses have 32 bits
PLANNED = 0.85  # of a memory's bandwidth: near all of it, tiles come too late now and then (docs/results.md)


def stream(graph: Graph, folding: Folding, memory: Memory) -> Folding:
    """The folding with weights in `memory`.

    Raises FoldingError: they do not fit, or constants cannot be loaded by turn.
    """
    folds, base = dict(folding.folds), HEADER
    for node in graph.nodes:
        op = OPS[node.op]
        if op.host or op.tiled is None or _bits(graph, node) < SMALL:
            continue
        tokens = min(memory.block, graph.longest(node)) if graph.tensor(node.name).kind == "token" else 1
        fold = folds[node.name] = replace(folds[node.name], block=tokens, places=memory.places, base=base, data_bits=memory.data_bits)
        base += size(graph, node, fold)
        _pass_on(graph, node, folds)
    if base == HEADER:
        raise FoldingError(f"folding: got no matrix with {SMALL} bits of weights or more, must be one for hardware.memory; remove the setting")
    if base > memory.bytes:
        raise FoldingError(
            f"folding: got {base:,} bytes of weights, must be at most the memory's {memory.bytes:,}; lower the weights' bits or take a larger memory"
        )
    if memory.by_turn:
        _check_by_turn(graph, folding)
    return replace(folding, folds=folds, memory=memory)


def _check_by_turn(graph: Graph, folding: Folding) -> None:
    if graph.around is None or graph.inside != 1:
        got = "layers that are all in hardware" if graph.around is None else f"{graph.inside} sentences inside"
        raise FoldingError(f"folding: got {got} for hardware.memory.by_turn, must be layers in turn with one sentence inside; set hardware.layers, inside: 1")
    if sparse := [name for name, fold in folding.folds.items() if fold.words and len(graph.turns(graph.node(name))) > 1]:
        raise FoldingError(f"folding: got {sparse[0]} without its zero weights for hardware.memory.by_turn, must hold all; remove by_turn")


def size(graph: Graph, node: Node, fold: Fold) -> int:
    """Bytes of a unit's weights: of turns that share theirs once."""
    each = sizes(graph, node, fold)
    return sum(each[turn] for turn in weights.tile_banks(graph, node).first)


def begins(graph: Graph, node: Node, fold: Fold) -> list[int]:
    """Where each turn's weights begin, in bytes behind the unit's first."""
    each, (first, of) = sizes(graph, node, fold), weights.tile_banks(graph, node)
    ends = np.cumsum([each[turn] for turn in first]).tolist()
    return [ends[bank] - each[first[bank]] for bank in of]


def sizes(graph: Graph, node: Node, fold: Fold) -> list[int]:
    """Bytes of a unit's weights in each turn."""
    op, found = OPS[node.op], []
    for slots in op.slots(graph, node, fold):
        counts, times = np.unique(slots, return_counts=True)
        beats = [tiles.beats(fold.products * op.element_bits(graph, node, fold), int(steps), fold.data_bits) for steps in counts]
        found.append(int(np.dot(beats, times)) * fold.data_bits // 8)
    return found


def fetch_cycles(graph: Graph, folding: Folding) -> int:
    """Cycles that the memory takes for the weights of one sentence of max_tokens."""
    memory = folding.memory
    return -(-fetch_beats(graph, folding) * memory.cycles // memory.beats)


def fetch_beats(graph: Graph, folding: Folding) -> int:
    """Beats of the memory for the weights of one sentence of max_tokens."""
    return sum(beats_of(graph, node, folding) for node in graph.nodes)


def beats_of(graph: Graph, node: Node, folding: Folding) -> int:
    """Those of one unit; 0 where its weights are on the chip."""
    fold = folding.folds.get(node.name)
    if not fold or not fold.block:
        return 0
    tokens = graph.longest(node) if graph.tensor(node.name).kind == "token" else 1
    return -(-tokens // fold.block) * sum(sizes(graph, node, fold)) // (folding.memory.data_bits // 8)


def most_beats(folding: Folding, target: int) -> float:
    """Of one sentence in `target` cycles, or those of the folding if it has more: what the memory may be planned with."""
    return PLANNED * max(target, folding.interval) * folding.memory.beats / folding.memory.cycles


def shortage(graph: Graph, folding: Folding, target: int) -> str:
    """By how much the memory is too slow for a sentence of max_tokens in `target` cycles, or those of the folding if it has more; "" if it is not."""
    memory, cycles = folding.memory, max(target, folding.interval)
    times = fetch_cycles(graph, folding) / (PLANNED * cycles)
    if times <= 1:
        return ""
    rate = memory.data_bits / 8 * memory.beats / memory.cycles
    blocks = "hardware.memory.block, " if memory.block < graph.max_tokens else ""
    return (
        f"got a memory of {rate:.4g} bytes a cycle, must be at least {rate * times:.4g} for blocks of {memory.block} tokens in {cycles:,} cycles a sentence "
        f"({times:.1f} times); raise {blocks}hardware.target_cycles or the memory's rate"
    )


def _bits(graph: Graph, node: Node) -> int:
    return sum(g.param(n, "weight").size for g, n in graph.turns(node)) * graph.stored_bits(node)


def _pass_on(graph: Graph, node: Node, folds: dict[str, Fold]) -> None:
    """What is behind a unit that gives a folded stream, and takes it so."""
    tensor, part = node.name, folds[node.name].pe
    while tensor not in graph.outputs and len(readers := graph.readers(tensor)) == 1:
        (reader,) = readers
        op = OPS[reader.op]
        if op.any_order or op.tiled and _bits(graph, reader) >= SMALL and graph.tensor(reader.name).kind == "token":
            folds[reader.name] = replace(folds[reader.name], folded=part)
        if not op.any_order:
            return
        tensor = reader.name
