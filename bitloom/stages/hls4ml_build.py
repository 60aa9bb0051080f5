# SPDX-License-Identifier: Apache-2.0
"""hls4ml/build: an HLS project of the encoder with the RTL's folding, and a test bench of real sentences."""

from __future__ import annotations

import json

import numpy as np

from bitloom.flow import Context
from bitloom.hw import golden
from bitloom.hw.plan.design import Design
from bitloom.hw.plan.predict import stage_intervals

TESTBENCH_SENTENCES = 8


def run(context: Context) -> str:
    """Raises HlsError: no HLS project for this board or graph. BoardError: no such board."""
    from bitloom.hls.dataflow import reuse_factor  # imports hls4ml
    from bitloom.hls.project import PROJECT, to_hls4ml, write_testbench
    from bitloom.hls.turns import sentence_alone

    context.progress(None, "writing the HLS project")
    graph, folding = context.graph, context.folding
    clock = context.recipe.hardware.clock_mhz
    design = Design(graph, folding)
    model = to_hls4ml(design, context.option("board"), context.out, clock_mhz=clock)
    model.write()
    _, _, dev = context.dev
    some = dev.spread(TESTBENCH_SENTENCES, context.recipe.verification.seed)
    write_testbench(context.out, design, golden.run(graph, some.ids, some.segments), np.array(some.lengths))
    config = context.out / "hls4ml_config.yml"  # the folder is renamed when it is whole
    config.write_text(config.read_text().replace(str(context.out.resolve()), str(context.run.stage("hls4ml/build").resolve())))
    intervals = stage_intervals(design, graph.max_tokens)
    layers = [
        {
            "name": unit.name,
            "op": unit.op.name,
            "reuse_factor": reuse_factor(unit) if unit.multipliers else None,
            "multipliers": unit.multipliers,
            "interval": unit.op.hls(unit.graph, unit.node, unit.fold).interval or intervals[unit.name],
        }
        for unit in design.units
    ]
    part = model.config.get_config_value("Part")
    summary = {
        "graph_hash": graph.hash,
        "board": context.option("board"),
        "part": part,
        "clock_mhz": clock,
        "tokens": graph.max_tokens,
        "interval": sentence_alone(design) if design.loop else max(layer["interval"] for layer in layers),
        "interval_is": "analytic, a sentence alone in all turns" if design.loop else "analytic, from the folding",
        "layers": layers,
    }
    (context.out / "bitloom.json").write_text(json.dumps(summary, indent=1) + "\n")
    return f"project {PROJECT} of {len(layers)} layers for {part}, {clock:g} MHz"
