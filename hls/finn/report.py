# SPDX-License-Identifier: Apache-2.0
"""FINN's cycle estimates beside bitloom's RTL for the same matrix units."""

from __future__ import annotations

from dataclasses import dataclass

from bitloom.hls.finn.lower import Lowered
from bitloom.hw.plan.design import Design


@dataclass(frozen=True, kw_only=True)
class CycleRow:
    """One matrix unit, at FINN's PE and SIMD: those of bitloom's unit, if they divide FINN's matrix.

    finn  FINN's estimate of cycles a sentence; rtl: bitloom's, which its simulation holds
    """

    tensor: str
    pe: int
    simd: int
    finn: int
    rtl: int


def cycles(design: Design, lowered: Lowered, tokens: int) -> list[CycleRow]:
    """A row for each matrix unit, for sentences of the length that `lowered` was built for."""
    made, rows = {node.tensor: node for node in lowered.nodes}, []
    for unit in design.units:
        if unit.op.matrix:
            finn, rtl = made[unit.name], unit.op.interval(design.graph, unit.node, unit.fold, tokens)
            rows.append(CycleRow(tensor=unit.name, pe=finn.pe, simd=finn.simd, finn=finn.cycles, rtl=rtl))
    return rows


def without_estimate(lowered: Lowered) -> list[str]:
    """Nodes for which FINN estimates no resources at all: their zeros mean that it does not know."""
    return [n.name for n in lowered.nodes if not (n.lut or n.dsp or n.bram_18k or n.uram)]
