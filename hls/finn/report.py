# SPDX-License-Identifier: Apache-2.0
"""FINN's cycle estimates beside bitloom's RTL for the same matrix units at the same folding."""

from __future__ import annotations

from dataclasses import dataclass

from bitloom.hls.finn.lower import Lowered
from bitloom.hw.graph import Graph
from bitloom.hw.ops import OPS
from bitloom.hw.plan.folding import Folding


@dataclass(frozen=True, kw_only=True)
class CycleRow:
    """One matrix unit. finn: FINN's estimate of cycles a sentence; rtl: bitloom's, which its simulation holds."""

    tensor: str
    pe: int
    simd: int
    finn: int
    rtl: int


def cycles(graph: Graph, lowered: Lowered, folding: Folding, tokens: int) -> list[CycleRow]:
    """A row for each matrix unit, for sentences of the length that `lowered` was built for."""
    made, rows = {node.tensor: node for node in lowered.nodes}, []
    for node in graph.nodes:
        if OPS[node.op].matrix:
            unit, fold = made[node.name], folding.folds[node.name]
            rows.append(CycleRow(tensor=node.name, pe=unit.pe, simd=unit.simd, finn=unit.cycles, rtl=OPS[node.op].interval(graph, node, fold, tokens)))
    return rows


def without_estimate(lowered: Lowered) -> list[str]:
    """Nodes for which FINN estimates no resources at all: their zeros mean that it does not know."""
    return [n.name for n in lowered.nodes if not (n.lut or n.dsp or n.bram_18k or n.uram)]
