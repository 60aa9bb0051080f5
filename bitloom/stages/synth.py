# SPDX-License-Identifier: Apache-2.0
"""synth: the RTL for a board: a bitstream where its flow is open, else resources by Yosys and a Vivado project (built if Vivado is there)."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict

from bitloom.errors import UsageError
from bitloom.flow import Context
from bitloom.hw import image
from bitloom.hw.board import Board
from bitloom.hw.cost.budget import usage
from bitloom.hw.cost.resources import estimate
from bitloom.hw.graph import Graph
from bitloom.hw.plan.design import Design
from bitloom.hw.plan.folding import Folding
from bitloom.hw.synth import synthesize
from bitloom.hw.vivado import build_project, write_project


def run(context: Context) -> str:
    """Raises BoardError: no such board. SynthError: a tool is missing or failed; DoesNotFit: the board is too small."""
    graph, folding, built = context.graph, context.folding, context.run.stage("build")
    name = context.option("board") or folding.board
    if name is None:
        raise UsageError(
            f"synth: got no board, must be given once, here or to build; `bitloom synth {context.run.path} --board NAME` (`bitloom boards` lists them)"
        )
    board, clock = Board.load(name), context.option("clock")

    def step(text: str) -> None:
        context.progress(None, text)

    seed = context.option("seed", 1)
    project = write_project(built, board, context.out / "vivado", clock_mhz=clock) if board.vitis_hls else None
    report = synthesize(built, board, context.out / "open", clock_mhz=clock, top=_top(board), seed=seed, progress=step)
    result = report.as_dict() | {"estimate": _estimate(graph, folding, board), "interval": folding.interval, "bound_by": folding.bound_by}
    if project:
        result["project"] = {"folder": project} | ({"image": project / image.FILE} if folding.memory else {})
    if project and shutil.which("vivado"):
        result["vivado"] = build_project(project, board, progress=step).as_dict()
    text = json.dumps(result, indent=1, default=str).replace(str(context.out), str(context.run.stage("synth")))
    (context.out / "synth.json").write_text(text + "\n")
    used = ", ".join(f"{usage.used:,} of {usage.available:,} {kind}" for kind, usage in report.resources.items() if usage.used)
    fmax = f"; {report.fmax_mhz:.1f} MHz routed" if report.fmax_mhz else "; synthesis only"
    vivado = f"; Vivado project{' and weights' if folding.memory else ''} in {context.run.stage('synth') / 'vivado'}" if project else ""
    return f"{board.name}: {used}{fmax}{vivado}{'' if report.timing_met in (None, True) else f', {report.clock_mhz:g} asked for: NOT met'}"


def _estimate(graph: Graph, folding: Folding, board: Board) -> dict:
    """The cost model's figures of the encoder alone."""
    return {kind: asdict(use) for kind, use in usage(board, estimate(Design(graph, folding), board).counted()).items()}


def _top(board: Board) -> str:
    """With the board's pins where its flow is open; else only the encoder is counted."""
    return "harness" if board.vitis_hls else "board"
