# SPDX-License-Identifier: Apache-2.0
"""hls4ml/rtl: the Verilog that Vitis HLS made, simulated in the bench of bitloom's own RTL; its outputs must equal the golden ones."""

from __future__ import annotations

import json

import numpy as np

from bitloom.errors import VerificationError
from bitloom.flow import Context
from bitloom.hw import golden
from bitloom.hw.graph import Graph
from bitloom.hw.plan.design import Design
from bitloom.hw.plan.folding import Folding
from bitloom.sentences import Sentences
from bitloom.sim.encoder import Options
from bitloom.sim.errors import SimulationError, ToolError
from bitloom.sim.hls_rtl import run_rtl
from bitloom.sim.tools import find_verilator
from bitloom.sim.verify import compare

FULL_SENTENCES = 4  # of max_tokens, for the interval
STALL = 0.3


def run(context: Context) -> str:
    """Raises VerificationError: an output differs, or the simulation died."""
    find_verilator()  # a missing simulator is the machine's fault: exit code 2
    graph, folding, settings = context.graph, context.folding, context.recipe.verification
    synth = context.run.stage("hls4ml/synth")
    verilog = synth / json.loads((synth / "synth.json").read_text())["verilog"]
    _, _, dev = context.dev
    chosen = (
        ("back to back", dev.spread(settings.sentences, settings.seed), 0.0),
        ("full length", dev.of_length(graph.max_tokens, FULL_SENTENCES), 0.0),
        ("random stalls", dev.spread(max(1, settings.stall_sentences), settings.seed + 1), STALL),
    )
    runs = [_simulate(context, graph, folding, verilog, name, sentences, stall) for name, sentences, stall in chosen]
    result = {
        "backend": "hls4ml",
        "graph_hash": graph.hash,
        "sentences": len(chosen[0][1]),
        "values_compared": sum(r["values_compared"] for r in runs),
        "mismatches": 0,  # else none of this is reached
        "runs": runs,
    }
    (context.out / "verify.json").write_text(json.dumps(result, indent=1) + "\n")
    return f"0 of {result['values_compared']:,} outputs differ, {runs[1]['interval']:,.0f} cycles between sentences"


def _simulate(context: Context, graph: Graph, folding: Folding, verilog: object, name: str, sentences: Sentences, stall: float) -> dict:
    context.progress(None, f"{name}: {len(sentences)} sentences, {sum(sentences.lengths)} tokens")
    want = golden.run(graph, sentences.ids, sentences.segments)
    inputs = np.split(want[graph.entry], np.cumsum(sentences.lengths)[:-1])
    try:
        got = run_rtl(verilog, Design(graph, folding), inputs, Options(stall_in=stall, stall_out=stall, seed=context.recipe.verification.seed))
        report = compare(graph, want, got, taps=False)
    except ToolError:
        raise
    except SimulationError as error:
        raise VerificationError(f"verify: {name}: {error}") from error
    if not report.ok:
        raise VerificationError(f"verify: {name}: {report}")
    ends = got.out_last_cycle
    return {
        "name": name,
        "sentences": len(sentences),
        "values_compared": report.values_compared,
        "mismatches": report.mismatches,
        "latency": int(ends[0] - got.in_first_cycle[0]),
        "interval": float((ends[-1] - ends[0]) / (len(ends) - 1)) if len(ends) > 1 else 0.0,
    }
