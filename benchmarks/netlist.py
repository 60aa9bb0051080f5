# SPDX-License-Identifier: Apache-2.0
"""A run's encoder as ECP5 cells, simulated: python -m benchmarks.netlist RUN OUT [--sentences 1] (docs/synthesis.md). Exits with 1 on a mismatch.

The netlist is that of the bitstream, registers of multipliers and block RAMs included; the sentences are the run's shortest.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from bitloom.hw import golden, graph_file
from bitloom.hw.plan.design import Design
from bitloom.hw.plan.folding import Folding
from bitloom.hw.plan.predict import predict
from bitloom.runfolder import RunFolder
from bitloom.sentences import load_dev
from bitloom.sim.netlist import run_netlist


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run folder, built")
    parser.add_argument("out", type=Path, help="folder for the netlist, which is kept")
    parser.add_argument("--sentences", type=int, default=1)
    args = parser.parse_args()
    run = RunFolder.open(args.run)
    graph, built = graph_file.load(run.stage("export")), run.stage("build")
    _, _, dev = load_dev(run.recipe, run.data_dir, run.stage("export"))
    chosen = dev.take(np.argsort(dev.lengths, kind="stable")[: args.sentences])
    want = golden.run(graph, chosen.ids, chosen.segments)
    sentences = np.split(want[graph.entry], np.cumsum(chosen.lengths)[:-1])
    result = run_netlist(built, sentences, args.out, progress=print)
    predicted = predict(Design(graph, Folding.load(built / "folding.json")), chosen.lengths)
    expected = want[graph.outputs[0]].reshape(-1)
    same = result.problem == "" and np.array_equal(result.outputs, expected)
    print(
        f"{len(sentences)} sentences of {', '.join(map(str, chosen.lengths))} tokens: outputs {'equal' if same else 'DIFFER'}: {result.outputs.tolist()}, "
        f"must be {expected.tolist()}; last beats out in cycles {result.out_last_cycle.tolist()}, predicted {list(predicted.out_last)} {result.problem}"
    )
    raise SystemExit(not same)


if __name__ == "__main__":
    main()
