# SPDX-License-Identifier: Apache-2.0
"""hil: development sentences on a board, or on a simulated one; every answer and its cycles are checked."""

from __future__ import annotations

import json

import numpy as np

from bitloom.errors import UsageError, VerificationError
from bitloom.flow import Context
from bitloom.hw import golden, image
from bitloom.hw.board import Board
from bitloom.hw.plan.design import Design
from bitloom.sentences import Sentences, score_some
from bitloom.sim.hil.report import hil
from bitloom.sim.hil.targets import open_target


def run(context: Context) -> str:
    """Raises TargetError: no such target, or it does not answer as it must. VerificationError: answers or cycles are not as promised."""
    graph, built = context.graph, context.run.stage("build")
    spec = context.option("target")
    design = Design(graph, context.folding)
    target = open_target(spec, design, built, **_line(context, spec))
    dataset, _, dev = context.dev
    chosen = _choose(context, spec, dev)
    want = golden.run(graph, chosen.ids, chosen.segments)
    inputs = np.split(want[graph.entry], np.cumsum(chosen.lengths)[:-1])
    output = graph.outputs[0]
    codes = want[output]
    answers = np.split(codes, np.cumsum(chosen.lengths)[:-1]) if graph.tensor(output).kind == "token" else np.split(codes, len(chosen))
    context.progress(None, f"{spec}: {len(chosen)} sentences, {sum(chosen.lengths)} tokens")

    def progress(done: int) -> None:
        context.progress(done / len(chosen), f"{spec}: {done} of {len(chosen)} sentences")

    weights = built / image.FILE if design.fetch else None
    report = hil(design, target, inputs, answers, weights=weights, exits=golden.exits(graph, want), progress=progress)
    result = report.as_dict() | {
        "graph_hash": graph.hash,
        "accuracy": {
            "metric": dataset.metric,
            "examples": len(chosen),
            "value": score_some(dataset, graph, chosen, report.outputs.reshape(codes.shape)),
            "golden": score_some(dataset, graph, chosen, codes),
        },
    }
    (context.out / "hil.json").write_text(json.dumps(result, indent=1, default=str) + "\n")
    if report.mismatches:
        raise VerificationError(f"hil: {spec}: {report.values_compared} values compared, {report.mismatches} mismatches; first at {report.first}")
    for name, cycles in (("latency", report.latency), ("interval", report.interval)):
        if cycles is not None and not cycles.ok:
            raise VerificationError(
                f"hil: {spec}: {name}: got {cycles.measured:,} cycles over {cycles.count}, must be within 1% of {cycles.predicted:,} predicted; "
                "the board runs other hardware than was predicted, or the timing model is wrong"
            )
    return (
        f"{report.sentences} sentences, 0 of {report.values_compared:,} values differ, {report.sentences_per_second:,.1f} sentences/s "
        f"(bound by the {report.bound}), {report.latency.measured:,} cycles ({report.latency.predicted:,} predicted)"
    )


def _line(context: Context, spec: str) -> dict[str, int]:
    """The serial line's baud rate, if the run knows its board."""
    board = context.run.record("synth").get("options", {}).get("board") or context.folding.board
    baud = Board.load(board).transport.baud if board and spec.startswith("serial:") else None
    return {"baud": baud} if baud else {}


def _choose(context: Context, spec: str, dev: Sentences) -> Sentences:
    """--sentences N or all; if not said, the whole split on a board, and as many as verify takes on a simulated one."""
    settings = context.recipe.verification
    text = context.option("sentences", str(settings.sentences) if spec.partition(":")[0] == "sim" else "all")
    if text == "all":
        return dev
    if not text.isdigit() or int(text) < 1:
        raise UsageError(f"hil: got --sentences {text}, must be a number of 1 or more, or all; change it")
    return dev.spread(int(text), settings.seed)
