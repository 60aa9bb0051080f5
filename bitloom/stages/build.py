# SPDX-License-Identifier: Apache-2.0
"""build: solve the folding for the recipe's target and write the hardware folder."""

from __future__ import annotations

import json

from bitloom.flow import Context
from hw.build import build
from hw.graph import Graph


def run(context: Context) -> str:
    """Raises FoldingError: the recipe's target cannot be met."""
    context.progress(None, "solving the folding, writing RTL")
    graph = Graph.load(context.run.stage("export"))
    folding = build(graph, context.recipe.hardware, context.out)
    timing = json.loads((context.out / "timing.json").read_text())
    return (
        f"{folding.multipliers} multipliers, {timing['interval']:,} cycles between sentences of {timing['max_tokens']} "
        f"tokens predicted, bottleneck {timing['bottleneck']}"
    )
