# SPDX-License-Identifier: Apache-2.0
"""A graph's RTL against its golden model, every tensor."""

from pathlib import Path

import numpy as np
from bitloom.hw import golden
from bitloom.hw.build import build
from bitloom.hw.folding import HardwareConfig
from bitloom.hw.graph import Graph
from bitloom.sim.encoder import run_encoder
from bitloom.sim.verify import compare


def compare_rtl(graph: Graph, ids: list[list[int]], segments: list[list[int]], folder: Path) -> int:
    """Build, simulate, compare; the number of values that were compared. Fails where one differs."""
    folder.mkdir(parents=True, exist_ok=True)
    want = golden.run(graph, ids, segments)
    matrices = sum(node.op in ("linear", "scores", "context") for node in graph.nodes)
    build(graph, HardwareConfig(multipliers=3 * matrices), folder)
    inputs = np.split(want[graph.entry], np.cumsum([len(s) for s in ids])[:-1])
    report = compare(graph, want, run_encoder(folder, inputs, identity=graph.hash[:16]))
    assert report.ok, report
    return report.values_compared
