# SPDX-License-Identifier: Apache-2.0
"""What decomposed attention saves: python -m benchmarks.decomposition RUN [--pairs 12]. RUN is a folder that has been exported with `attention_segments`.

Cycles a pair in the RTL, of development pairs back to back until the last answer has left, predicted and measured, every tensor compared with golden:
of the network itself; of the same weights whose queries see all keys, with as many multipliers; and, where the run has `hardware.recall`, of pairs that
all have the longest of their first sentences: sent whole, and without it from the second pair on.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from bitloom.hw import golden, graph_file, recall
from bitloom.hw.build import build
from bitloom.hw.graph import Graph
from bitloom.hw.ops import aside_of
from bitloom.hw.plan.design import Design
from bitloom.hw.plan.predict import predict
from bitloom.hw.plan.solve import HardwareConfig
from bitloom.runfolder import RunFolder
from bitloom.sentences import Sentences, load_dev
from bitloom.sim.encoder import Options, run_encoder
from bitloom.sim.verify import compare


def all_keys(graph: Graph) -> Graph:
    """The same weights, whose queries see all keys of a pair."""
    asides = aside_of(graph)
    nodes = tuple(replace(n, inputs=tuple(name for name in n.inputs if name not in asides)) for n in graph.nodes if n.name not in asides)
    tensors = {name: replace(t, shape=(*t.shape[:2], "T")) if t.kind == "row" else t for name, t in graph.tensors.items() if name not in asides}
    return graph_file.check(replace(graph, nodes=nodes, tensors=tensors))


def simulated(graph: Graph, config: HardwareConfig, pairs: Sentences, without: bool = False) -> tuple[float, Design]:
    """Cycles a pair, measured, and the design. Raises SimulationError, and AssertionError where a value differs. without: first sentences that are kept."""
    want, lengths = golden.run(graph, pairs.ids, pairs.segments), pairs.lengths
    borders = golden.borders(graph, want)
    missing = recall.left_out(pairs.ids, borders) if without else [0] * len(lengths)
    inputs = recall.sent(np.split(want[graph.entry], np.cumsum(lengths)[:-1]), missing)
    with tempfile.TemporaryDirectory() as name:
        folding = build(graph, config, Path(name))
        got = run_encoder(Path(name), inputs, Options(left_out=tuple(missing), wall_seconds=7200, timeout_cycles=2_000_000))
    report, design = compare(graph, want, got), Design(graph, folding)
    assert report.ok, str(report)
    guess = predict(design, [len(codes) for codes in inputs], borders=got.borders, left_out=missing).out_last[-1] / len(lengths)
    cycles = int(got.out_last_cycle[-1]) / len(lengths)
    print(f"| {len(lengths)} | {cycles:,.0f} | {guess:,.0f} | {design.multipliers} | {report.values_compared:,} |", flush=True)
    return cycles, design


def rows(graph: Graph, config: HardwareConfig, pairs: Sentences) -> None:
    """A row for each."""
    print("| what | pairs | cycles a pair | predicted | multipliers | values compared, all equal |\n| --- | --- | --- | --- | --- | --- |")
    if config.recall:
        alike, found = pairs.one_first(graph.max_tokens), []
        for what, without in (("one first sentence, sent whole ", False), ("the same, without it ", True)):
            print(f"| {what}", end="")
            found.append(simulated(graph, config, alike, without)[0])
        print(f"without the first sentence: {found[0] / found[1]:.2f}x fewer cycles", flush=True)
    print("| decomposed ", end="")
    own, design = simulated(graph, config, pairs)
    print("| all keys ", end="")
    whole, _ = simulated(all_keys(graph), config.model_copy(update={"target_cycles": None, "multipliers": design.multipliers, "recall": False}), pairs)
    print(f"decomposed: {whole / own:.2f}x fewer cycles than with all keys, with as many multipliers")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--pairs", type=int, default=12, help="simulated, spread over the lengths of the development split")
    args = parser.parse_args()
    run = RunFolder.open(args.run)
    graph = graph_file.load(run.stage("export"))
    dev = load_dev(run.recipe, run.data_dir, run.stage("export"))
    rows(graph, run.recipe.hardware, dev.sentences.spread(args.pairs, run.recipe.verification.seed))


if __name__ == "__main__":
    main()
