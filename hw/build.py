# SPDX-License-Identifier: Apache-2.0
"""From an integer graph and a target to a hardware folder, with what it is predicted to do."""

from __future__ import annotations

import json
from pathlib import Path

from bitloom.hw.emit import emit
from bitloom.hw.folding import Folding, HardwareConfig, solve
from bitloom.hw.graph import Graph
from bitloom.hw.ops import OPS
from bitloom.hw.predict import predict, stage_intervals


def build(graph: Graph, config: HardwareConfig, folder: Path) -> Folding:
    """Solve the folding, write encoder.sv and its files into an existing folder, and timing.json beside them.

    Raises FoldingError: the target cannot be met.
    """
    folding = solve(graph, config)
    emit(graph, folding, folder)
    (folder / "timing.json").write_text(json.dumps(timing_report(graph, folding), indent=1) + "\n")
    return folding


def macs_per_sentence(graph: Graph, tokens: int) -> int:
    """Multiply-accumulates of all matrix operators for one sentence."""
    return sum(OPS[n.op].macs(graph, n, tokens) for n in graph.nodes)


def weight_bits(graph: Graph) -> int:
    """Bits of all weight memories of the linear layers (biases and tables not counted)."""
    return sum(n.attrs["weight_bits"] * int(graph.param(n, "weight").size) for n in graph.nodes if n.op == "linear")


def timing_report(graph: Graph, folding: Folding) -> dict:
    """Predicted figures: interval of equal sentences of max_tokens, latency by length, and each stage's share."""
    top = graph.max_tokens
    steady = predict(graph, folding, [top] * 4)
    lengths = sorted({1, top, *range(max(1, top // 8), top, max(1, top // 8))})
    intervals = stage_intervals(graph, folding, top)
    stages = [
        {
            "name": name,
            "op": graph.node(name).op,
            "pe": folding.folds[name].pe,
            "simd": folding.folds[name].simd,
            "multipliers": folding.per_node.get(name, 0),
            "interval": cycles,
            "macs": OPS[graph.node(name).op].macs(graph, graph.node(name), top),
            "weight_bits": graph.node(name).attrs.get("weight_bits", 0),
        }
        for name, cycles in intervals.items()
    ]
    return {
        "max_tokens": top,
        "interval": steady.out_last[-1] - steady.out_last[-2],
        "multipliers": folding.multipliers,
        "macs_per_sentence": macs_per_sentence(graph, top),
        "weight_bits": weight_bits(graph),
        "lanes": max(folding.lanes.values()),
        "bottleneck": max(intervals, key=intervals.get),
        "latency_by_tokens": [[n, predict(graph, folding, [n]).latency[0]] for n in lengths],
        "stages": stages,
    }
