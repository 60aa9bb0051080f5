# SPDX-License-Identifier: Apache-2.0
"""build: solve the folding for the recipe's target, or the fastest that fits a board, and write the hardware folder."""

from __future__ import annotations

import json

from bitloom.flow import Context
from bitloom.hw.build import build
from bitloom.hw.plan.solve import HardwareConfig

TOLERANCE = 1.01  # as predictions have


def run(context: Context) -> str:
    """Raises FoldingError: the recipe's target cannot be met, or the board is too small. BoardError: no such board."""
    context.progress(None, "solving the folding, writing RTL")
    hardware = context.recipe.hardware
    if board := context.option("board"):
        hardware = HardwareConfig(board=board, clock_mhz=hardware.clock_mhz)
    folding = build(context.graph, hardware, context.out)
    timing = json.loads((context.out / "timing.json").read_text())
    bound = f", bound by {folding.bound_by} of {folding.board}" if folding.bound_by else ""
    how = f"layers in hardware: {folding.how}, " if folding.layers or folding.memory else ""
    return (
        f"{how}{folding.multipliers} multipliers, {timing['interval']:,} cycles between sentences of {timing['max_tokens']} "
        f"tokens predicted, bottleneck {timing['bottleneck']}{bound}{above(timing['interval'], hardware.target_cycles)}"
    )


def above(interval: int, target: int | None) -> str:
    """A word where operators that wait for each other take more cycles than the slowest of them, for which the folding was found."""
    if target is None or interval <= TOLERANCE * target:
        return ""
    return f"; {interval / target - 1:.1%} above target_cycles: operators wait for each other, so set {target * target // interval}"
