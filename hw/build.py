# SPDX-License-Identifier: Apache-2.0
"""From an integer graph and a target to a hardware folder, with what it is predicted to do."""

from __future__ import annotations

import json
import math
from pathlib import Path

from bitloom.hw.emit import emit
from bitloom.hw.graph import Graph
from bitloom.hw.ops import OPS
from bitloom.hw.plan.design import Design
from bitloom.hw.plan.folding import Folding
from bitloom.hw.plan.predict import predict, stage_intervals, steady_interval
from bitloom.hw.plan.solve import HardwareConfig, solve


def build(graph: Graph, config: HardwareConfig, folder: Path) -> Folding:
    """Solve the folding, write encoder.sv and its files into an existing folder, and timing.json beside them.

    Raises FoldingError: the target cannot be met.
    """
    design = Design(graph, solve(graph, config))
    emit(design, folder)
    (folder / "timing.json").write_text(json.dumps(timing_report(design), indent=1) + "\n")
    return design.folding


def macs_per_sentence(graph: Graph, tokens: int) -> int:
    """Multiply-accumulates of all matrix operators for one sentence."""
    return sum(OPS[n.op].macs(graph.source, n, graph.source.taken(n, tokens)) for n in graph.source.nodes)


def weight_bits(graph: Graph) -> int:
    """Bits of all weight memories of the linear layers (biases and tables not counted)."""
    return sum(bits * int(graph.param(n, "weight").size) for n in graph.source.nodes if (bits := graph.source.stored_bits(n)))


def timing_report(design: Design) -> dict:
    """Predicted figures: interval of equal sentences of max_tokens, latency by length, and each stage's share."""
    top = design.graph.max_tokens
    lengths = sorted({1, top, *range(max(1, top // 8), top, max(1, top // 8))})
    intervals = stage_intervals(design, top)
    stages = [
        {
            "name": unit.name,
            "op": unit.node.op,
            "pe": unit.fold.pe,
            "simd": unit.fold.simd,
            "side": unit.fold.side,
            "queries": unit.fold.queries,
            "multipliers": unit.multipliers,
            "interval": intervals[unit.name],
            "macs": unit.macs(top),
            "weight_bits": unit.graph.stored_bits(unit.node),
        }
        for unit in design.units
    ]
    return {
        "max_tokens": top,
        "interval": math.ceil(steady_interval(design)),
        "multipliers": design.multipliers,
        "macs_per_sentence": macs_per_sentence(design.graph, top),
        "weight_bits": weight_bits(design.graph),
        "lanes": max(s.lanes for s in design.streams.values()),
        "bottleneck": max(intervals, key=intervals.get),
        "latency_by_tokens": [[n, predict(design, [n]).latency[0]] for n in lengths],
        "stages": stages,
    }
