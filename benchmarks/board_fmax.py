# SPDX-License-Identifier: Apache-2.0
"""Fmax and resources after routing, with the open tools: python -m benchmarks.board_fmax unit|encoder ... (docs/results.md).

unit [--pe 8] [--simd 16]   one matrix unit, 128 x 128, 4-bit weights, 8-bit activations, with its requant, behind four pins
encoder BUILD_DIR           a built encoder behind four pins; with its serial bridge: `bitloom synth`
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path

from benchmarks.encoder import random_graph
from bitloom.hw.board import Board
from bitloom.hw.emit import emit
from bitloom.hw.graph import Graph
from bitloom.hw.instance import Fold
from bitloom.hw.plan.design import Design
from bitloom.hw.plan.folding import Folding
from bitloom.hw.synth import SynthReport, synthesize
from bitloom.qat.networks import ModelConfig

UNIT = ("layer.0.query.acc", "layer.0.query")  # a linear layer and its requant


def matrix_unit(graph: Graph, pe: int, simd: int, folder: Path) -> None:
    """A build folder of the encoder's first linear layer and its requant alone."""
    linear = graph.node(UNIT[0])
    kept = {*linear.inputs, *UNIT}
    first = graph.node(graph.entry)
    unit = replace(
        graph,
        name="matrix unit",
        nodes=(replace(first, name=linear.inputs[0]), *map(graph.node, UNIT)),
        tensors={name: tensor for name, tensor in graph.tensors.items() if name in kept},
        params={name: codes for name, codes in graph.params.items() if name.rsplit(".", 1)[0] in UNIT},
        outputs=(UNIT[1],),
    )
    multipliers = pe * simd
    folds = {UNIT[0]: Fold(pe=pe, simd=simd), UNIT[1]: Fold()}
    interval = unit.max_tokens * unit.param(linear, "weight").size // multipliers
    emit(Design(unit, Folding(folds=folds, lanes=dict.fromkeys(kept, 1), interval=interval, multipliers=multipliers)), folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("unit", "encoder"))
    parser.add_argument("build_dir", nargs="?", type=Path)
    parser.add_argument("--board", default="ulx3s_85f")
    parser.add_argument("--clock", type=float, default=100.0, help="MHz asked of place and route")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pe", type=int, default=8)
    parser.add_argument("--simd", type=int, default=16)
    args = parser.parse_args()
    if (args.what == "encoder") != (args.build_dir is not None):
        parser.error("encoder takes a BUILD_DIR, unit takes none")
    with tempfile.TemporaryDirectory() as name:
        out, build = Path(name), args.build_dir
        if build is None:
            build = out / "build"
            build.mkdir()
            matrix_unit(random_graph(ModelConfig()), args.pe, args.simd, build)
        report: SynthReport = synthesize(build, Board.load(args.board), out / "synth", top="harness", clock_mhz=args.clock, seed=args.seed, progress=print)
    used = ", ".join(f"{use.used:,} of {use.available:,} {kind}" for kind, use in report.resources.items() if use.used)
    print(f"{used}; {report.fmax_mhz:.1f} MHz routed, {args.clock:g} asked for; seconds {json.dumps(report.seconds)}")


if __name__ == "__main__":
    main()
