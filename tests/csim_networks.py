# SPDX-License-Identifier: Apache-2.0
"""Whole networks as HLS projects: compiled, run and compared with the golden model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from encoders import random_encoder, random_sentences
from operator_bench import carried

from bitloom.hls import csim
from bitloom.hls.project import to_hls4ml
from bitloom.hw import golden
from bitloom.hw.graph import Graph
from bitloom.hw.plan.design import Design
from bitloom.hw.plan.solve import HardwareConfig, solve


def check(folder: Path, seed: int, hardware: HardwareConfig, lengths: Sequence[int], shape: dict) -> tuple[Graph, csim.CsimReport]:
    """Of a random encoder of that shape (tests/encoders.py)."""
    return check_graph(folder, seed, random_encoder(seed, **shape), hardware, lengths)


def check_graph(folder: Path, seed: int, graph: Graph, hardware: HardwareConfig, lengths: Sequence[int]) -> tuple[Graph, csim.CsimReport]:
    """All tensors but the host's were compared, the output once more where it leaves, and none differs."""
    design = Design(graph, solve(graph, hardware))
    to_hls4ml(design, "pynq_z2", folder).write()
    ids, segments = random_sentences(graph, lengths, seed)
    want = golden.run(graph, ids, segments)
    report = csim.verify(design, csim.compile_project(folder), ids, segments)
    made = [n.name for n in graph.nodes if n.op != "embed"]
    assert report.ok and report.mismatches == 0, str(report)
    borders = golden.borders(graph, want)
    sizes = {name: carried(t, want[name], t.tokens.of(np.array(lengths)), borders) for name, t in ((name, graph.tensor(name)) for name in made)}
    assert report.per_tensor == sizes | {"m_axis": want[graph.outputs[0]].size}
    assert report.values_compared == sum(report.per_tensor.values()) > 0
    assert np.array_equal(report.outputs, want[graph.outputs[0]].ravel())
    return graph, report


def in_turn() -> tuple[Design, tuple[list, list]]:
    """An encoder whose four layers are one in hardware, with off-ramps and pairs, and sentences for it that leave here and there.

    One of them just reaches the second off-ramp's threshold, nothing the first one's; two equal logits decide over another.
    """
    bits = dict(weight_bits=(3, 4), act_bits=(2, 3, 4), residual_bits=(8, 10, 12), prob_bits=(4, 6, 8))
    shape = dict(layers=4, hidden=8, heads=2, intermediate=8, max_tokens=6, labels=3, keys=("segment", "T", "segment", "T"), exits=(0.0, 2), **bits)
    graph = random_encoder(87, **shape)
    sentences = random_sentences(graph, [6, 1, 3, 4, 2, 5, 6, 6, 4, 3], 3)
    logits = np.sort(golden.run(graph, *sentences)[graph.node("answer").inputs[1]], axis=1)
    threshold = np.array([1 << 16, logits[3, -1] - logits[3, -2], 0])
    graph = replace(graph, params=graph.params | {"answer.threshold": threshold})
    return Design(graph, solve(graph, HardwareConfig(multipliers=30, layers=1))), sentences
