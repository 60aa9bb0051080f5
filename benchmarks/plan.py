# SPDX-License-Identifier: Apache-2.0
"""Seconds that `bitloom plan` computes: python -m benchmarks.plan. Two layers of 128 and twelve of 768, on all boards."""

from __future__ import annotations

import time

from bitloom.hw.board import boards
from bitloom.hw.plan.solve import HardwareConfig
from bitloom.hw.plan.table import plan
from bitloom.qat.config import QuantConfig
from bitloom.qat.net.untrained import VOCABULARY, untrained_graph
from bitloom.qat.networks import ModelConfig

SHAPES = {
    "2 x 128": (ModelConfig(), HardwareConfig(multipliers=210)),
    "12 x 768": (ModelConfig(layers=12, hidden=768, heads=12, intermediate=3072, max_tokens=128), HardwareConfig(multipliers=2000)),
}


def main() -> None:
    for name, (model, hardware) in SHAPES.items():
        began, cpu = time.monotonic(), time.process_time()
        graph = untrained_graph(model, QuantConfig(), labels=2, vocabulary=VOCABULARY)
        table = plan(graph, list(boards().values()), hardware)
        fit = sum(one.folding is not None for one in table.boards)
        print(f"| {name}, {len(table.boards)} boards, {fit} fit | {time.monotonic() - began:.1f} s | {time.process_time() - cpu:.1f} s of CPU |", flush=True)


if __name__ == "__main__":
    main()
