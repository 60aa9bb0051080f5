# SPDX-License-Identifier: Apache-2.0
"""What zero weights save in the RTL, at equal multipliers: python -m benchmarks.sparse [--plan] [--on-memory] [--only NAME].

An encoder of 2 layers, hidden 256, 4 heads, feed-forward 1024, 16 tokens, 4-bit weights, with random weights: dense, with half and four fifths of its tiles
of 8 x 8 weights zero, and with 2 of every 4 weights of a row left. Attention's products stay. Printed are, of each, cycles between sentences predicted and
simulated, multipliers, bits of the weight memories with schedules and places, or bits fetched a sentence, and how many values differ from the golden model.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from bitloom.hw import golden
from bitloom.hw.build import build
from bitloom.hw.cost.resources import MODULES
from bitloom.hw.graph import Graph
from bitloom.hw.plan.design import Design
from bitloom.hw.plan.predict import predict, steady_interval
from bitloom.hw.plan.solve import HardwareConfig, MemoryConfig
from bitloom.hw.plan.streamed import fetch_beats
from bitloom.qat.config import QuantConfig
from bitloom.qat.net.untrained import untrained_graph
from bitloom.qat.networks import ModelConfig
from bitloom.sim.encoder import Options, run_encoder
from bitloom.sim.verify import compare

TILE, SENTENCES = 8, 5
WEIGHTS = ("weight", "schedule", "start")  # memories of a matrix unit
Thin = Callable[[np.random.Generator, np.ndarray], np.ndarray]


def zero_tiles(share: float) -> Thin:
    def thin(rng: np.random.Generator, weight: np.ndarray) -> np.ndarray:
        rows, columns = weight.shape[0] // TILE, weight.shape[1] // TILE
        stay = (rng.permutation(rows * columns) >= round(share * rows * columns)).reshape(rows, columns)
        return weight * np.kron(stay, np.ones((TILE, TILE), dtype=np.int64))

    return thin


def balanced(keep: int, group: int) -> Thin:
    def thin(rng: np.random.Generator, weight: np.ndarray) -> np.ndarray:
        stay = rng.permuted(np.tile(np.arange(group) < keep, (len(weight), weight.shape[1] // group, 1)), axis=2)
        return weight * stay.reshape(weight.shape)

    return thin


KINDS: dict[str, tuple[float, Thin | None]] = {
    "dense": (1.0, None),
    "50 % of tiles zero": (0.5, zero_tiles(0.5)),
    "80 % of tiles zero": (0.2, zero_tiles(0.8)),
    "2 of 4": (0.5, balanced(2, 4)),
}


def thinned(graph: Graph, thin: Thin | None) -> Graph:
    """The graph with fewer weights in its layers and its pooler; widths stay those of the dense one."""
    if thin is None:
        return graph
    rng, params = np.random.default_rng(0), dict(graph.params)
    for key, value in graph.params.items():
        if key.endswith(".weight") and min(value.shape) >= TILE:
            params[key] = thin(rng, value)
    return replace(graph, params=params)


def rom_bits(design: Design) -> int:
    """Of the weights' memories on the chip, schedules and places counted."""
    return sum(m.width * m.depth for u in design.units for m in MODULES[u.instance.module].memories(u.instance.params) if m.name in WEIGHTS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--multipliers", type=int, default=212)
    parser.add_argument("--plan", action="store_true", help="predict only")
    parser.add_argument("--on-memory", action="store_true", help="weights in external memory, blocks of all tokens")
    parser.add_argument("--only", default="", help="simulate only what has this in its name; of the others the prediction")
    args = parser.parse_args()
    model = ModelConfig(layers=2, hidden=256, heads=4, intermediate=1024, max_tokens=16)
    memory = MemoryConfig(block=model.max_tokens, outstanding=16) if args.on_memory else None
    dense = untrained_graph(model, QuantConfig(weights=4), labels=2, vocabulary=1000)
    interval = size = 0
    for name, (share, thin) in KINDS.items():
        graph = thinned(dense, thin)
        with tempfile.TemporaryDirectory() as folder:
            design = Design(graph, build(graph, HardwareConfig(multipliers=args.multipliers, memory=memory), Path(folder)))
            top = graph.max_tokens
            bits = fetch_beats(graph, design.folding) * memory.data_bits if memory else rom_bits(design)
            got = steady_interval(design)
            interval, size = interval or got, size or bits
            text = f"| {name} | {design.multipliers} | {got:,.0f} predicted, {got / interval / share:.3f} of its share"
            text += f" | {bits:,} bits, {bits / size / share:.3f} of its share"
            if not args.plan and args.only in name:
                ids = np.random.default_rng(0).integers(1, 1000, (SENTENCES, top)).tolist()
                want = golden.run(graph, ids)
                lengths = [top] * SENTENCES
                run = run_encoder(Path(folder), np.split(want[graph.entry], np.cumsum(lengths)[:-1]), Options(wall_seconds=7200))
                report, ends = compare(graph, want, run), run.out_last_cycle
                span, guess = int(ends[-1] - ends[-2]), predict(design, lengths).out_last
                text += f" | {span:,} cycles between sentences, end {int(ends[-1]):,} ({guess[-1]:,} predicted)"
                text += f" | {report.mismatches} of {report.values_compared:,} values differ {report.problem}"
        print(f"{text} |", flush=True)


if __name__ == "__main__":
    main()
