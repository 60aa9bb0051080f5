# SPDX-License-Identifier: Apache-2.0
"""A run's development set through both FINN forms, a graph for each length: python -m benchmarks.finn_dev RUN (docs/finn.md).

Executed by the qonnx package: the integer graph (`bitloom.hls.finn.model.build`) and Brevitas's export with Quant nodes
(`bitloom.hls.finn.quant_export.export`).
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bitloom.hls.finn.model import build
from bitloom.hls.finn.quant_export import export
from bitloom.hls.finn.verify import compare
from bitloom.hw import golden, graph_file
from bitloom.hw.graph import Graph
from bitloom.runfolder import RunFolder
from bitloom.sentences import Sentences, load_dev


def measure(graph: Graph, dev: Sentences, make: Callable[[int], Any]) -> dict[str, float]:
    """Correct labels of the golden and of the form, labels that differ, mean difference of the logits in codes, and share of codes by tensor.

    make  the model for sentences of so many tokens
    """
    totals = {"sentences": 0, "golden_correct": 0, "correct": 0, "labels_differ": 0, "logit_codes": 0}
    drift: dict[str, list[int]] = {}
    for tokens in sorted(set(dev.lengths)):
        chosen = dev.take([i for i, length in enumerate(dev.lengths) if length == tokens])
        report = compare(graph, make(tokens), chosen.ids, chosen.segments, nodes=False)
        want = golden.run(graph, chosen.ids, chosen.segments, keep_all=False)[graph.outputs[0]]
        got, labels = np.concatenate(report.outputs), np.array(chosen.labels)
        totals["sentences"] += len(labels)
        totals["golden_correct"] += int((want.argmax(axis=1) == labels).sum())
        totals["correct"] += int((got.argmax(axis=1) == labels).sum())
        totals["labels_differ"] += report.labels_differ
        totals["logit_codes"] += int(np.abs(got - want).sum())
        for row in report.tensors:
            values, differ = drift.setdefault(row.tensor, [0, 0])
            drift[row.tensor] = [values + row.values, differ + row.chained]
    outputs = totals["sentences"] * graph.tensor(graph.outputs[0]).channels
    return totals | {"logit_codes": totals["logit_codes"] / outputs} | {name: differ / values for name, (values, differ) in drift.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run folder, exported, of a task with one label a sentence")
    parser.add_argument("--sentences", type=int, help="only so many, from the start")
    args = parser.parse_args()
    run = RunFolder.open(args.run)
    exported = run.stage("export")
    graph = graph_file.load(exported)
    _, _, dev = load_dev(run.recipe, run.data_dir, exported)
    if args.sentences:
        dev = dev.take(range(min(args.sentences, len(dev))))
    with tempfile.TemporaryDirectory() as name:
        forms = {"build, thresholds": lambda tokens: build(graph, tokens), "export, Quant nodes": lambda tokens: export(graph, tokens, Path(name) / "q.onnx")}
        for form, make in forms.items():
            found = measure(graph, dev, make)
            print(
                f"{form}: {found['correct']} of {found['sentences']} correct, golden {found['golden_correct']}; {found['labels_differ']} labels differ; "
                f"logits by {found['logit_codes']:.1f} LSB in the mean"
            )
            print("  codes that differ:", ", ".join(f"{tensor} {share:.1%}" for tensor, share in found.items() if "norm" in tensor))


if __name__ == "__main__":
    main()
