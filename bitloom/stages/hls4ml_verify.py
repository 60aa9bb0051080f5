# SPDX-License-Identifier: Apache-2.0
"""hls4ml/verify: compile the HLS project with g++ and compare every tensor with the golden model on development sentences."""

from __future__ import annotations

import json

from bitloom.errors import VerificationError
from bitloom.flow import Context
from bitloom.hls.csim import compile_project, verify
from bitloom.hw import golden
from bitloom.hw.plan.design import Design
from bitloom.sentences import score_some
from bitloom.sim.errors import SimulationError, ToolError

LEAST_SENTENCES = 64  # of the development split, if it has as many
FULL_SENTENCES = 2  # of max_tokens


def run(context: Context) -> str:
    """Raises VerificationError: a tensor differs, or the code died. HlsError: it does not compile."""
    context.progress(None, "compiling the project, once for each")
    graph, settings = context.graph, context.recipe.verification
    design = Design(graph, context.folding)
    library = compile_project(context.run.stage("hls4ml/build"))
    dataset, _, dev = context.dev
    chosen = dev.spread(max(LEAST_SENTENCES, settings.sentences), settings.seed)
    full = dev.of_length(graph.max_tokens, FULL_SENTENCES)
    runs, reports = [], {}
    for name, sentences in (("development sentences", chosen), ("full length", full)):
        context.progress(None, f"{name}: {len(sentences)} sentences, {sum(sentences.lengths)} tokens")
        try:
            report = verify(design, library, sentences.ids, sentences.segments)
        except ToolError:
            raise
        except SimulationError as error:
            raise VerificationError(f"verify: {name}: {error}") from error
        if not report.ok:
            raise VerificationError(f"verify: {name}: {report}")
        reports[name] = report
        runs.append(
            {
                "name": name,
                "sentences": len(sentences),
                "values_compared": report.values_compared,
                "mismatches": report.mismatches,
                "seconds": round(report.seconds, 2),
            }
        )
    golden_tensors = golden.run(graph, chosen.ids, chosen.segments)
    want, exits = golden_tensors[graph.outputs[0]], golden.exits(graph, golden_tensors)
    result = {
        "backend": "hls4ml",
        "graph_hash": graph.hash,
        "sentences": len(chosen),
        "values_compared": sum(r["values_compared"] for r in runs),
        "mismatches": sum(r["mismatches"] for r in runs),
        "runs": runs,
        "compile_seconds": round(library.seconds, 1),
        "sentences_per_second": round(len(chosen) / runs[0]["seconds"], 1),
        "accuracy": {
            "examples": len(chosen),
            "value": score_some(dataset, graph, chosen, reports["development sentences"].outputs.reshape(want.shape)),
            "golden": score_some(dataset, graph, chosen, want),
        },
        "turns": None if exits is None else 1 + sum(exits) / len(exits),  # in the mean, of a network with early exits
        "tensors": reports["development sentences"].per_tensor,
    }
    (context.out / "verify.json").write_text(json.dumps(result, indent=1) + "\n")
    turns = f", {result['turns']:.2f} turns a sentence" if exits else ""
    return f"0 of {result['values_compared']:,} values differ{turns}, {result['sentences_per_second']:g} sentences/s in C simulation"
