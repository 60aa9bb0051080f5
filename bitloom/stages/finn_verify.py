# SPDX-License-Identifier: Apache-2.0
"""finn/verify: FINN's hardware graph in its Python execution against the golden model, each node alone and all in a chain.

A graph of FINN's is for one length. The one that was built is run on sentences cut to its length; another one, for the length that most development
sentences have, on those. Nodes that FINN computes in integers must equal the golden; those in float32 are counted, and so is what differs in
Brevitas's own export of the same encoder, run by the qonnx package.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict

import numpy as np

from bitloom.errors import VerificationError
from bitloom.flow import Context
from bitloom.hls.finn import tool
from bitloom.hls.finn.lower import lower
from bitloom.hls.finn.model import build
from bitloom.hls.finn.quant_export import export
from bitloom.hls.finn.verify import Report, compare
from bitloom.hw import golden, graph_file
from bitloom.hw.graph import Graph
from bitloom.hw.plan.folding import Folding
from bitloom.sentences import Sentences, load_dev, score_some

QUANT = "Brevitas's export, Quant nodes"
BUILT_SENTENCES = 2  # of the length that was built
MOST_SENTENCES = 64  # of the most frequent one


def run(context: Context) -> str:
    """Raises VerificationError: an integer node differs."""
    tool.require_installed()
    graph = graph_file.load(context.run.stage("export"))
    folding = Folding.load(context.run.stage("build") / "folding.json")
    built = context.run.stage("finn/build")
    made = json.loads((built / "finn.json").read_text())
    dataset, _, dev = load_dev(context.recipe, context.run.data_dir, context.run.stage("export"))
    context.progress(None, f"the graph of {made['tokens']} tokens")
    runs = [_compare(context, graph, built / "hardware.onnx", dev.of_length(made["tokens"], BUILT_SENTENCES), "built length")]
    tokens, some = frequent(dev)
    context.progress(None, f"FINN's steps for {tokens} tokens, then {len(some)} sentences")
    other = lower(build(graph, tokens), context.out / "frequent", part=made["part"], clock_mhz=made["clock_mhz"], folding=folding, hdl=False)
    runs.append(_compare(context, graph, other.hardware, some, "development sentences"))
    context.progress(None, f"Brevitas's QONNX of {tokens} tokens, {len(some)} sentences")
    quant = context.out / "encoder.quant.onnx"
    export(graph, tokens, quant)
    runs.append(_compare(context, graph, quant, some, QUANT))
    want = golden.run(graph, some.ids, some.segments, keep_all=False)[graph.outputs[0]]
    got = np.concatenate(runs[1]["outputs"]).reshape(want.shape)
    for each in runs:
        del each["outputs"]
    result = {
        "backend": "finn",
        "graph_hash": graph.hash,
        "sentences": len(some),
        "tokens": tokens,
        "runs": runs,
        "accuracy": {
            "examples": len(some),
            "value": score_some(dataset, graph, some, got),
            "golden": score_some(dataset, graph, some, want),
        },
    }
    (context.out / "verify.json").write_text(json.dumps(result, indent=1) + "\n")
    exact = sum(t["values"] for t in runs[1]["tensors"] if t["exact"])
    return f"0 of {exact:,} values of integer nodes differ; {runs[1]['labels_differ']} of {len(some)} labels are other than the golden model's"


def frequent(dev: Sentences) -> tuple[int, Sentences]:
    """The length that most sentences have, and those sentences."""
    tokens = Counter(dev.lengths).most_common(1)[0][0]
    return tokens, dev.take([i for i, n in enumerate(dev.lengths) if n == tokens][:MOST_SENTENCES])


def _compare(context: Context, graph: Graph, model: object, sentences: Sentences, name: str) -> dict:
    with tool.session(context.out):
        report: Report = compare(graph, model, sentences.ids, sentences.segments)
    if report.broken:
        first = report.broken[0]
        raise VerificationError(
            f"verify: {name}: {first.tensor}: {first.alone} of {first.values} values differ on golden inputs (by up to {first.worst_alone}), "
            "must be 0 where FINN computes in integers"
        )
    alone = [t for t in report.tensors if t.exact and name != QUANT]  # real values have no golden inputs to be put in
    return {
        "name": name,
        "sentences": report.sentences,
        "labels_differ": report.labels_differ,
        "values_compared": sum(t.values for t in alone),
        "mismatches": sum(t.alone for t in alone),
        "tensors": [asdict(t) for t in report.tensors],
        "outputs": report.outputs,
    }
