# SPDX-License-Identifier: Apache-2.0
"""A recipe's shape with random weights on a board, without training: python -m benchmarks.board_shape RECIPE OUT (docs/results.md).

Builds the fastest folding that fits, runs random sentences on the simulated board (`--lengths`, its memory holds the weights from the beginning), compares
every answer and its cycles; with `--clock` it is synthesized, placed and routed as well.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from bitloom.hw import golden
from bitloom.hw.board import Board
from bitloom.hw.build import build
from bitloom.hw.graph import Graph
from bitloom.hw.ops import OPS
from bitloom.hw.plan.design import Design
from bitloom.hw.plan.solve import HardwareConfig
from bitloom.hw.synth import synthesize
from bitloom.recipe import Recipe, find
from bitloom.sim.hil.report import hil
from bitloom.sim.hil.targets import open_target
from bitloom.untrained import untrained


def simulate(graph: Graph, design: Design, folder: Path, lengths: list[int]) -> str:
    """Random sentences on the simulated board: what differs, and the cycles."""
    rng = np.random.default_rng(1)
    host = next(node for node in graph.nodes if OPS[node.op].host)
    ids = [rng.integers(0, len(graph.param(host, "word")), n).tolist() for n in lengths]
    want = golden.run(graph, ids, [[0] * n for n in lengths])
    inputs, target = np.split(want[graph.entry], np.cumsum(lengths)[:-1]), open_target("sim:loaded" if design.fetch else "sim", design, folder)
    report = hil(design, target, inputs, list(want[graph.outputs[0]][:, None]))
    cycles = f"latencies {report.latency.measured:,} cycles in all, {report.latency.predicted:,} predicted, the worst {report.latency.worst:.2%} off"
    return f"{report.mismatches} of {report.values_compared} values differ; {cycles}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("out", type=Path, help="folder for the build and the netlist")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a recipe key")
    parser.add_argument("--board", default="ulx3s_85f")
    parser.add_argument("--target-cycles", type=int, help="the cheapest folding for it, in the place of the fastest")
    parser.add_argument("--lengths", type=int, nargs="*", default=[], help="tokens of the sentences on the simulated board")
    parser.add_argument("--clock", type=float, help="MHz asked of place and route")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    (graph, _), board, folder = untrained(Recipe.load(find(args.recipe), args.set)), Board.load(args.board), args.out / "build"
    folder.mkdir(parents=True, exist_ok=True)
    folding = build(graph, HardwareConfig(board=board.name, target_cycles=args.target_cycles), folder)
    bound = folding.bound_by or "the target"
    print(f"{folding.how}, {folding.multipliers} multipliers, bound by {bound}", flush=True)
    if args.lengths:
        print(simulate(graph, Design(graph, folding), folder, args.lengths), flush=True)
    if args.clock:
        report = synthesize(folder, board, args.out / "synth", clock_mhz=args.clock, seed=args.seed, progress=print)
        used = ", ".join(f"{use.used:,} of {use.available:,} {kind}" for kind, use in report.resources.items() if use.used)
        print(f"{used}; {report.fmax_mhz:.1f} MHz routed, {args.clock:g} asked for; {report.bitstream}")


if __name__ == "__main__":
    main()
