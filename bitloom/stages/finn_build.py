# SPDX-License-Identifier: Apache-2.0
"""finn/build: the encoder, for sentences of one length, through FINN's build steps; on to Vivado's where it is there.

encoder.onnx is what goes through: codes in FINN's integer nodes. encoder.quant.onnx is the same encoder by Brevitas's own export, with Quant nodes.
"""

from __future__ import annotations

import json
from dataclasses import asdict

import onnx

from bitloom.errors import UsageError
from bitloom.flow import Context
from bitloom.hls.finn import tool
from bitloom.hls.finn.errors import FinnError
from bitloom.hls.finn.lower import Lowered, lower
from bitloom.hls.finn.model import build
from bitloom.hls.finn.quant_export import export
from bitloom.hls.finn.report import cycles, without_estimate
from bitloom.hls.finn.vivado import implement
from bitloom.hw.board import Board
from bitloom.hw.plan.design import Design


def run(context: Context) -> str:
    """Raises FinnError: no finn-plus, a board, graph or length that FINN does not take."""
    tool.require_installed()
    graph, folding = context.graph, context.folding
    if folding.layers or folding.memory:
        raise FinnError(
            f"finn: got layers in hardware: {folding.how}; must be all, with their weights on the chip; remove hardware.layers and hardware.memory, or use "
            "the rtl backend"
        )
    if folding.pack:
        raise FinnError("finn: got hardware.pack, must be sentences alone; remove it, or use the rtl backend")
    board, tokens = Board.load(context.option("board")), wanted_tokens(context)
    clock = context.recipe.hardware.clock_mhz
    context.progress(None, f"QONNX for {tokens} tokens, FINN's steps for {board.part}: a minute or two")
    model = build(graph, tokens)
    onnx.save(model, str(context.out / "encoder.onnx"))
    export(graph, tokens, context.out / "encoder.quant.onnx")
    lowered = lower(model, context.out, part=board.part or "", clock_mhz=clock, folding=folding)
    implemented = implement(lowered, context.out, clock_mhz=clock) if tool.has_vivado() else []
    result = summary(Design(graph, folding), lowered, tokens) | {"board": board.name, "clock_mhz": clock, "vivado_steps": implemented}
    (context.out / "finn.json").write_text(json.dumps(result, indent=1) + "\n")
    return f"{len(lowered.nodes)} hardware nodes, {lowered.interval:,} cycles a sentence of {tokens} tokens estimated, none unmapped"


def wanted_tokens(context: Context) -> int:
    """The length to build for: --tokens, else the longest one."""
    most = context.graph.max_tokens
    tokens = context.option("tokens", most)
    if not 1 <= tokens <= most:
        raise UsageError(f"finn/build: got --tokens {tokens}, must be 1 .. {most} (the graph's max_tokens); choose a length within")
    return tokens


def summary(design: Design, lowered: Lowered, tokens: int) -> dict:
    """What the report shows. Resources and cycles are FINN's estimates; `unknown` names the nodes for which it has none."""
    nodes, units = [asdict(node) for node in lowered.nodes], cycles(design, lowered, tokens)
    return {
        "graph_hash": design.graph.hash,
        "part": lowered.part,
        "tokens": tokens,
        "interval": lowered.interval,
        "latency_cycles": lowered.latency_cycles,
        "bottleneck": lowered.bottleneck,
        "multipliers": sum(row.pe * row.simd for row in units),
        "nodes": nodes,
        "totals": {key: sum(node[key] for node in nodes) for key in ("lut", "dsp", "bram_18k", "uram")},
        "unknown": without_estimate(lowered),
        "units": [asdict(row) for row in units],
    }
