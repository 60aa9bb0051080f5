# SPDX-License-Identifier: Apache-2.0
"""FIFO depths for FINN's graph without its simulation-based sizing, which needs Vivado: a bound that keeps forks from stopping their joins.

Waiting in a circle is possible only where two paths from a fork meet again (residual sums, queries against keys and values, GELU's two halves):
the short path's FIFO fills and stops the fork while the long one still waits for tokens. So each input of such a node gets room for all that the
longest path from the graph's input may hold in front of it: two sentences a node that turns a whole sentence (shuffles, and the weight port of a
matrix unit whose weights are activations), and BEATS a node otherwise. Elsewhere 2 entries. It is an argument, not a measurement.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

SENTENCES = 2  # a node that turns a sentence fills one buffer while it empties the other
BEATS = 32  # entries in the pipeline and stream interfaces of any other node


def insert(finn: SimpleNamespace, model: Any, part: str, report: Path) -> Any:
    """Width converters and FIFOs between all nodes of a folded model; depths and sizes into `report`, in FINN's fifo_config_file format."""
    set_depths(finn, model)
    steps = (finn.dwc.InsertDWC(), finn.fifo.InsertFIFO(create_shallow_fifos=True), finn.specialize.SpecializeLayers(part), finn.general.SortGraph(),
             finn.general.GiveUniqueNodeNames())  # fmt: skip
    for transformation in steps:
        model = model.transform(transformation)
    _report(finn, model, report)
    return model


def set_depths(finn: SimpleNamespace, model: Any) -> None:
    """inFIFODepths of every node with several streamed inputs; the nodes are in topological order."""
    held: dict[str, tuple[int, int]] = {}  # per tensor: sentences and beats that the longest path in front of it may hold
    for node in model.graph.node:
        unit = finn.registry.getCustomOp(node)
        streamed = [name for name in node.input if model.get_initializer(name) is None]
        most = max((held.get(name, (0, 0)) for name in streamed), default=(0, 0))
        turns = "Shuffle" in node.op_type or (node.op_type.startswith("MVAU") and len(streamed) > 1)
        for name in node.output:
            held[name] = (most[0] + SENTENCES * turns, most[1] + BEATS)
        if len(streamed) > 1:
            unit.set_nodeattr("inFIFODepths", [_depth(unit, index, held.get(name, (0, 0)), most) for index, name in enumerate(streamed)])


def _depth(unit: Any, port: int, own: tuple[int, int], most: tuple[int, int]) -> int:
    """Room for what the longest path holds more than this one."""
    sentence = int(np.prod(unit.get_folded_input_shape(port)[:-1]))
    return max(2, (most[0] - own[0]) * sentence + max(0, most[1] - own[1]))


def _report(finn: SimpleNamespace, model: Any, path: Path) -> None:
    made: dict[str, Any] = {key: {} for key in ("fifo_depths", "fifo_sizes", "impl_style", "ram_style")}
    for node in model.graph.node:
        if node.op_type == "StreamingFIFO_rtl":
            unit = finn.registry.getCustomOp(node)
            depth = int(unit.get_nodeattr("depth"))
            made["fifo_depths"][node.name], made["fifo_sizes"][node.name] = depth, depth * int(unit.get_instream_width())
            for key in ("impl_style", "ram_style"):
                made[key][node.name] = unit.get_nodeattr(key)
    made["total_fifo_size_kiB"] = sum(made["fifo_sizes"].values()) / 8 / 1024
    path.write_text(json.dumps(made, indent=1) + "\n")
