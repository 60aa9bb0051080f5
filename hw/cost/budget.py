# SPDX-License-Identifier: Apache-2.0
"""A board's resources as a budget: what is used of what there is, and what to do when it is too little."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bitloom.hw.board import Board, boards

ADVICE = "take fewer bits (weights, activations), fewer layers, shorter sentences (max_tokens) or a slower hardware target"
# How much of a resource a design may plan with: beyond it, routing fails or costs much of the clock. DSP and block RAM have places of their own, but
# ecp5: where nearly all DSPs are taken, what stands around them has nowhere to be near.
# ice40up: a cell is a LUT, a flip-flop or both, and half of the flip-flops stand alone: with 66 % of both planned, 99 % of the cells were taken, not placed.
# gw2a: flip-flops share control signals; nextpnr found no legal placement in 8 minutes at 80 % of them, one in 5 minutes at 61 %.
PLANNED = {"lut": 0.8, "ff": 0.8}
PLANNED_BY_FAMILY = {"ecp5": {"dsp": 0.9}, "gw2a": {"lut": 0.6, "ff": 0.6}, "ice40up": {"lut": 0.64, "ff": 0.64}}

# Beyond this share of DSPs some stand far from what they multiply, which costs clock: matrix units multiply in LUTs instead, as long as no more than
# their share is taken (ecp5: sst2-tiny, docs/synthesis.md).
EASY = {"ecp5": {"dsp": 0.45, "lut": 0.5}}


@dataclass(frozen=True, kw_only=True)
class Usage:
    """How many of a resource a design takes, and how many it may."""

    used: int
    available: int

    @property
    def share(self) -> float:
        return self.used / self.available if self.available else float("inf") if self.used else 0.0


def planned(board: Board) -> dict[str, float]:
    """The share of each resource that a design may plan with."""
    return PLANNED | PLANNED_BY_FAMILY.get(board.family, {})


def usage(board: Board, counted: Mapping, limits: Mapping[str, float] | None = None) -> dict[str, Usage]:
    """Counts (`lut`, `ff`, `dsp`, `block_ram` {kind: n}) beside what the board has, or beside that share of it."""
    have, limits = board.resources, limits or {}
    totals = {"lut": have.lut, "ff": have.ff, "dsp": have.dsp.count} | {ram.kind: ram.count for ram in have.block_ram}
    used = {key: counted[key] for key in ("lut", "ff", "dsp")} | {ram.kind: counted["block_ram"].get(ram.kind, 0) for ram in have.block_ram}
    return {key: Usage(used=used[key], available=int(total * limits.get(key, 1))) for key, total in totals.items()}


def too_much(board: Board, resources: Mapping[str, Usage]) -> str | None:
    """What is used beyond the budget, by how much and what would help, as the rest of an error's sentence; None if all fits."""
    over = {name: use for name, use in resources.items() if use.used > use.available}
    if not over:
        return None
    text = ", ".join(f"{use.used} {label(board, name)} of {use.available} ({use.share:.1f} times)" for name, use in over.items())
    has = {"lut": board.resources.lut, "ff": board.resources.ff}
    most = (
        "what the board has"
        if all(resources[key].available == total for key, total in has.items() if key in resources)
        else ("what may be planned with (" + ", ".join(f"{share:.0%} of {key.upper()}" for key, share in planned(board).items()) + ")")
    )
    return f"got {text}, must be at most {most}; {ADVICE}{larger(board, {name: use.used for name, use in resources.items()})}"


def label(board: Board, name: str) -> str:
    """What people call a resource: the primitive's name where it is one."""
    return {"lut": f"LUT{board.resources.lut_inputs}", "ff": "FF", "dsp": board.resources.dsp.kind}.get(name, name)


def larger(board: Board, needs: Mapping[str, int]) -> str:
    """The boards of `boards/` that have enough, smallest first, as the end of a sentence; across families these figures are only a guide."""
    bits = {ram.kind: ram.bits for ram in board.resources.block_ram if ram.initialised}
    ram_bits = sum(needs.get(kind, 0) * size for kind, size in bits.items())
    fits = [other for other in boards().values() if other.name != board.name and _has(other, needs, ram_bits)]
    names = [other.name for other in sorted(fits, key=lambda other: other.resources.lut)]
    return f", or a larger board: {', '.join(names)}" if names else ""


def _has(board: Board, needs: Mapping[str, int], ram_bits: int) -> bool:
    have = board.resources
    blocks = sum(ram.count * ram.bits for ram in have.block_ram if ram.initialised)
    return (
        all(needs.get(key, 0) <= total * planned(board).get(key, 1) for key, total in (("lut", have.lut), ("ff", have.ff), ("dsp", have.dsp.count)))
        and ram_bits <= blocks
    )
