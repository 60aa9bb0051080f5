# SPDX-License-Identifier: Apache-2.0
"""Encoders of many layers on few layers of hardware: python -m benchmarks.large, for BERT-base's shape with weights from external memory.

With `--on-chip` all weights are in ROMs by turn. Weights are random, which changes no cycle. Printed are what is predicted for sentences of max_tokens,
one after the other, and of sentences in the simulated RTL (one of `--tokens`, or `--sentences` of random lengths) the mismatches against the golden
model, cycles beside the prediction, the useful share of the multipliers' cycles, and whether each weight was fetched as often as planned.
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
from bitloom.qat.config import QuantConfig
from bitloom.qat.net.untrained import untrained_graph
from bitloom.qat.networks import ModelConfig
from bitloom.sim.encoder import Options, run_encoder
from bitloom.sim.verify import compare


def graph_of(args: argparse.Namespace) -> Graph:
    model = ModelConfig(layers=args.layers, hidden=args.hidden, heads=args.heads or args.hidden // 64, intermediate=4 * args.hidden, max_tokens=args.max_tokens)
    return untrained_graph(model, QuantConfig(weights=args.weight_bits), labels=2, vocabulary=1000)


def show_plan(graph: Graph, folding: Folding) -> None:
    """What is predicted for sentences of max_tokens."""
    design, top = Design(graph, folding), graph.max_tokens
    interval = steady_interval(design)
    fetched = int(image.reads(design, [top]).sum()) * folding.memory.data_bits // 8 if folding.memory else 0
    useful = macs_per_sentence(graph, top) / (folding.multipliers * interval)
    latency = predict(design, [top]).latency[0]
    print(
        f"{graph.name}: {folding.multipliers} multipliers, {top} tokens: interval {interval:,.0f} cycles, latency of one {latency:,}, {useful:.1%} of the "
        f"multipliers' cycles useful, {fetched:,} bytes of weights fetched a sentence, {fetched / interval:.1f} a cycle",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value in (("layers", 12), ("hidden", 768), ("heads", 0), ("max-tokens", 128), ("weight-bits", 4), ("multipliers", 2400), ("tokens", 16)):
        parser.add_argument(f"--{name}", type=int, default=value)
    for name, value in (("data-bits", 256), ("block", 64), ("latency", 60), ("hardware-layers", 1), ("inside", 8)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--sentences", type=int, default=0, help="of random lengths, in the place of one of --tokens")
    parser.add_argument("--on-chip", action="store_true", help="all weights in ROMs")
    parser.add_argument("--plan", action="store_true", help="predict only")
    args = parser.parse_args()
    memory = None if args.on_chip else MemoryConfig(data_bits=args.data_bits, block=args.block, latency=args.latency, outstanding=16)
    hardware, graph = HardwareConfig(multipliers=args.multipliers, layers=args.hardware_layers, inside=args.inside, memory=memory), graph_of(args)
    with tempfile.TemporaryDirectory() as name:
        began = time.monotonic()
        folding = build(graph, hardware, Path(name))
        show_plan(graph, folding)
        if args.plan:
            return
        simulate(graph, folding, Path(name), args)
        print(f"{time.monotonic() - began:,.0f} s in all")


def simulate(graph: Graph, folding: Folding, folder: Path, args: argparse.Namespace) -> None:
    """Sentences through the RTL, every stream compared."""
    design, rng = Design(graph, folding), np.random.default_rng(0)
    lengths = rng.integers(1, graph.max_tokens + 1, args.sentences).tolist() or [args.tokens]
    ids = [rng.integers(1, 1000, n).tolist() for n in lengths]
    want = golden.run(graph, ids)
    got = run_encoder(folder, np.split(want[graph.entry], np.cumsum(lengths)[:-1]), Options(wall_seconds=36_000, timeout_cycles=5_000_000))
    report, guess = compare(graph, want, got), predict(design, lengths)
    measured, predicted = int(got.out_last_cycle[-1]), guess.out_last[-1]
    text = f"{graph.name}: {sum(lengths)} tokens of {len(lengths)} sentences through {args.layers} layers in RTL: {report.mismatches} of "
    text += f"{report.values_compared:,} values differ, {measured:,} cycles, {predicted:,} predicted ({predicted / measured - 1:+.2%})"
    if folding.memory:
        text += f", weights fetched as planned: {np.array_equal(got.fetched, image.reads(design, lengths))}"
    if len(lengths) > design.together:
        span = int(got.out_last_cycle[-1] - got.out_last_cycle[design.together - 1])
        work = sum(macs_per_sentence(graph, n) for n in lengths[design.together :])
        text += f", {work / (folding.multipliers * span):.1%} of the multipliers' cycles useful"
    print(f"{text}, {got.wall_seconds:,.0f} s of simulation; {report.problem}")


if __name__ == "__main__":
    main()
