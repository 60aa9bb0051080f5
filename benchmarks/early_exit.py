# SPDX-License-Identifier: Apache-2.0
"""What early exit saves: python -m benchmarks.early_exit RUN [--sentences 12]. RUN is a folder that has been trained and exported with `early_exit`.

Accuracy and layers are those of the golden model on the whole development split, with the graph's rule and with all layers. Cycles a sentence are predicted for
all of it, sent back to back, and measured in the RTL on some of its sentences, once with the rule and once with thresholds that none reaches: until the
last answer has left, divided by the sentences. Every tensor of what is simulated is compared with the golden one.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from bitloom.hw import golden, graph_file
from bitloom.hw.build import build
from bitloom.hw.graph import Graph
from bitloom.hw.ops import gate_of
from bitloom.hw.plan.design import Design
from bitloom.hw.plan.folding import Folding
from bitloom.hw.plan.predict import predict
from bitloom.hw.plan.solve import solve
from bitloom.runfolder import RunFolder
from bitloom.sentences import Dev, Sentences, load_dev, score_some
from bitloom.sim.encoder import Options, run_encoder
from bitloom.sim.verify import compare

BATCH = 32  # sentences of the golden model at once


def never(graph: Graph) -> Graph:
    """The same graph whose sentences pass all layers."""
    key = f"{gate_of(graph).name}.threshold"
    most = 1 << graph.tensor(graph.outputs[0]).bits
    return replace(graph, params=graph.params | {key: np.full_like(graph.params[key], most)})


def answers(graph: Graph, sentences: Sentences) -> tuple[list[int], dict[str, np.ndarray]]:
    """Where each sentence leaves, and the logits of all off-ramps and the answer."""
    names = (*graph.outputs, *gate_of(graph).inputs)
    parts = [sentences.take(range(i, min(i + BATCH, len(sentences)))) for i in range(0, len(sentences), BATCH)]
    found = [golden.run(replace(graph, outputs=names), part.ids, part.segments, keep_all=False) for part in parts]
    codes = {name: np.concatenate([part[name] for part in found]) for name in names}
    return list(golden.exits(graph, codes)), codes


def accuracy(graph: Graph, dev: Dev) -> tuple[list[int], str]:
    """Of the development split; where its sentences leave."""
    exits, codes = answers(graph, dev.sentences)
    gate = gate_of(graph)
    shares = np.bincount(exits, minlength=len(gate.inputs)) / len(exits)
    scores = {name: score_some(dev.dataset, graph, dev.sentences, codes[name]) for name in (*gate.inputs, gate.name)}
    print("| off-ramp behind layer | alone | sentences that leave |\n| --- | --- | --- |")
    for layer, (name, share) in enumerate(zip(gate.inputs, shares, strict=True), 1):
        print(f"| {layer} | {scores[name]:.2%} | {share:.1%} |")
    both = f"{dev.dataset.metric} {scores[gate.name]:.2%} with early exit, {scores[gate.inputs[-1]]:.2%} with all layers"
    return exits, f"{both}, {np.mean(exits) + 1:.2f} of {len(gate.inputs)} layers"


def predicted(design: Design, lengths: list[int], exits: list[int] | None) -> float:
    return predict(design, lengths, exits=exits).out_last[-1] / len(lengths)


def simulated(graph: Graph, config, sentences: Sentences) -> tuple[float, float, int, Folding]:
    """Cycles a sentence, measured and predicted, values compared. Raises SimulationError, and AssertionError where a value differs."""
    want, lengths = golden.run(graph, sentences.ids, sentences.segments), sentences.lengths
    exits = golden.exits(graph, want)
    with tempfile.TemporaryDirectory() as name:
        folding = build(graph, config, Path(name))
        got = run_encoder(Path(name), np.split(want[graph.entry], np.cumsum(lengths)[:-1]), Options(exits=exits, wall_seconds=7200, timeout_cycles=2_000_000))
    report = compare(graph, want, got)
    assert report.ok, str(report)
    return int(got.out_last_cycle[-1]) / len(lengths), predicted(Design(graph, folding), lengths, exits), report.values_compared, folding


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--sentences", type=int, default=12, help="simulated; 0: none")
    args = parser.parse_args()
    run = RunFolder.open(args.run)
    graph, config = graph_file.load(run.stage("export")), run.recipe.hardware
    dev = load_dev(run.recipe, run.data_dir, run.stage("export"))
    exits, text = accuracy(graph, dev)
    print(f"{len(exits)} development sentences: {text}", flush=True)
    design, lengths = Design(graph, solve(graph, config)), dev.sentences.lengths
    early, whole = (predicted(design, lengths, left) for left in (exits, None))
    print(f"predicted, all of them: {early:,.0f} cycles a sentence, {whole:,.0f} with all layers: {whole / early:.2f}x fewer", flush=True)
    if args.sentences:
        some = dev.sentences.spread(args.sentences, run.recipe.verification.seed)
        rows = [simulated(g, config, some) for g in (graph, never(graph))]
        for what, (measured, guess, values, _) in zip(("early exit", "all layers"), rows, strict=True):
            print(
                f"measured, {len(some)} of them, {what}: {measured:,.0f} cycles a sentence, {guess:,.0f} predicted, 0 of {values:,} values differ", flush=True
            )
        print(f"measured: {rows[1][0] / rows[0][0]:.2f}x fewer")


if __name__ == "__main__":
    main()
