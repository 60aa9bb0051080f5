# SPDX-License-Identifier: Apache-2.0
"""An encoder that no chip holds, with one layer of hardware and weights from external memory: python -m benchmarks.large [--layers 12 --hidden 768].

BERT-base's shape with random weights, which change no cycle. Printed are what is predicted for sentences of max_tokens, one after the other, and, of one
sentence in the simulated RTL with its modelled memory, mismatches against the golden model, cycles beside the prediction, and whether each weight was
fetched as often as planned.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from bitloom.hw import golden, image
from bitloom.hw.build import build, macs_per_sentence
from bitloom.hw.graph import Graph
from bitloom.hw.plan.design import Design
from bitloom.hw.plan.folding import Folding
from bitloom.hw.plan.predict import predict, steady_interval
from bitloom.hw.plan.solve import HardwareConfig, MemoryConfig
from bitloom.qat.config import ModelConfig, QuantConfig
from bitloom.qat.net.untrained import untrained_graph
from bitloom.sim.encoder import Options, run_encoder
from bitloom.sim.verify import compare


def graph_of(args: argparse.Namespace) -> Graph:
    model = ModelConfig(layers=args.layers, hidden=args.hidden, heads=args.heads or args.hidden // 64, intermediate=4 * args.hidden, max_tokens=args.max_tokens)
    return untrained_graph(model, QuantConfig(weights=args.weight_bits), labels=2, vocabulary=1000)


def show_plan(graph: Graph, folding: Folding) -> None:
    """What is predicted for sentences of max_tokens."""
    design, top = Design(graph, folding), graph.max_tokens
    interval = steady_interval(design)
    fetched = int(image.reads(design, [top]).sum()) * folding.memory.data_bits // 8
    useful = macs_per_sentence(graph, top) / (folding.multipliers * interval)
    latency, beat = predict(design, [top]).latency[0], folding.memory.data_bits // 8
    print(
        f"{graph.name}: {folding.multipliers} multipliers, {top} tokens: interval {interval:,.0f} cycles, latency of one {latency:,}, {useful:.1%} of the "
        f"multipliers' cycles useful, {fetched:,} bytes of weights a sentence, {fetched / interval:.1f} a cycle of {beat}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value in (("layers", 12), ("hidden", 768), ("heads", 0), ("max-tokens", 128), ("weight-bits", 4), ("multipliers", 2400), ("tokens", 16)):
        parser.add_argument(f"--{name}", type=int, default=value)
    for name, value in (("data-bits", 256), ("block", 64), ("latency", 60), ("hardware-layers", 1), ("inside", 8)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--plan", action="store_true", help="predict only")
    args = parser.parse_args()
    memory = MemoryConfig(data_bits=args.data_bits, block=args.block, latency=args.latency, outstanding=16)
    hardware, graph = HardwareConfig(multipliers=args.multipliers, layers=args.hardware_layers, inside=args.inside, memory=memory), graph_of(args)
    with tempfile.TemporaryDirectory() as name:
        began = time.monotonic()
        folding = build(graph, hardware, Path(name))
        show_plan(graph, folding)
        if args.plan:
            return
        design, ids = Design(graph, folding), [np.random.default_rng(0).integers(1, 1000, args.tokens).tolist()]
        want = golden.run(graph, ids)
        got = run_encoder(Path(name), [want[graph.entry]], Options(wall_seconds=36_000, timeout_cycles=5_000_000))
        report, predicted = compare(graph, want, got), predict(design, [args.tokens]).latency[0]
        measured, planned = int(got.out_last_cycle[0]), np.array_equal(got.fetched, image.reads(design, [args.tokens]))
        print(
            f"{graph.name}: {args.tokens} tokens through {args.layers} layers in RTL: {report.mismatches} of {report.values_compared:,} values differ, "
            f"{measured:,} cycles, {predicted:,} predicted ({predicted / measured - 1:+.2%}), weights fetched as planned: {planned}, "
            f"{got.wall_seconds:,.0f} s of simulation, {time.monotonic() - began:,.0f} s in all; {report.problem}"
        )


if __name__ == "__main__":
    main()
