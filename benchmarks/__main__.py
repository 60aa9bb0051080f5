# SPDX-License-Identifier: Apache-2.0
"""All benchmarks as one table: python -m benchmarks [--targets 131072,65536,32768] [--json].

On an encoder of 2 layers, hidden 128, 2 heads, feed-forward 512, 64 tokens, 4-bit weights, 8-bit activations.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator

from benchmarks import encoder, train_step
from bitloom.qat.networks import ModelConfig


def rows(model: ModelConfig, targets: list[int], steps: int) -> Iterator[tuple[str, str, str]]:
    """(what, figure, of what)."""
    step = train_step.measure(steps)
    yield (
        "training step, quantized over float",
        f"{step['ratio']:.2f}x",
        f"{step['quantized_ms']} / {step['float_ms']} ms",
    )
    graph = encoder.random_graph(model)
    speed = encoder.software(graph)
    golden, onnx = speed["golden"], speed["onnxruntime"]
    yield "golden over ONNX Runtime, sentences/s", f"{golden / onnx:.2f}x", f"{golden:,.0f} / {onnx:,.0f}"
    for result in encoder.utilization(graph, targets):
        if "bare_cycles_per_second" in result:
            ours, bare = result["cocotb_cycles_per_second"], result["bare_cycles_per_second"]
            yield "simulation under cocotb over bare C++, cycles/s", f"{ours / bare:.0%}", f"{ours:,.0f} / {bare:,.0f}"
        yield (
            f"MAC utilization at {result['target']:,} cycles a sentence",
            f"{result['mac_utilization']:.1%}",
            f"{result['multipliers']} multipliers, {result['interval']:,.0f} cycles measured",
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--targets", default="131072,65536,32768", help="cycles between sentences, by commas")
    parser.add_argument("--steps", type=int, default=20, help="training steps timed")
    parser.add_argument("--json", action="store_true", help="a JSON line for each row")
    args = parser.parse_args()
    for row in rows(ModelConfig(), [int(t) for t in args.targets.split(",")], args.steps):
        print(json.dumps(row) if args.json else f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
