# SPDX-License-Identifier: Apache-2.0
"""Seconds of a training step: quantized model over the float Hugging Face model of the same shape, in one run.

python -m benchmarks.train_step [--steps 20] [--compile] [--json]
A step is forward, loss, backward and AdamW's update. The two models take turns, so that other load on the machine
meets both; the ratio is that of the medians.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import torch

from bitloom.qat.baseline import float_model
from bitloom.qat.calibrate import calibrate
from bitloom.qat.config import QuantConfig
from bitloom.qat.net.model import QuantModel
from bitloom.qat.networks import ModelConfig
from bitloom.qat.train import compiled

BATCH, TOKENS, VOCABULARY, WARM_UP = 32, 64, 30522, 3


def make_step(model: torch.nn.Module, batch: dict):
    """A function that does one training step; returns its seconds without and with the optimizer's update."""
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def clock() -> float:
        if batch["labels"].is_cuda:
            torch.cuda.synchronize()
        return time.perf_counter()

    def step() -> tuple[float, float]:
        optimizer.zero_grad()
        start = clock()
        model(**batch).loss.backward()
        middle = clock()
        optimizer.step()
        return middle - start, clock() - start

    return step


def measure(steps: int = 20, device: str = "cpu", compile: bool = False) -> dict:
    """Median milliseconds of both, and their ratio, for 2x128, batch 32 x 64 tokens; the stricter ratio leaves the
    optimizer out, which costs both the same."""
    torch.manual_seed(0)
    ids = torch.randint(1, VOCABULARY, (BATCH, TOKENS), device=device)
    batch = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "labels": torch.randint(0, 2, (BATCH,), device=device),
    }
    plain = float_model(ModelConfig(max_tokens=TOKENS), VOCABULARY, 2).to(device)
    quant = QuantModel.from_float(plain, QuantConfig(), TOKENS)
    calibrate(quant, [{"input_ids": ids}])
    if compile:
        compiled(plain)
        compiled(quant)
    both = make_step(plain, batch), make_step(quant, batch)
    times = [[*both[0](), *both[1]()] for _ in range(WARM_UP + steps)][WARM_UP:]
    plain_inner, plain_ms, quant_inner, quant_ms = (1e3 * statistics.median(c) for c in zip(*times, strict=True))
    return {
        "float_ms": round(plain_ms, 2),
        "quantized_ms": round(quant_ms, 2),
        "ratio": round(quant_ms / plain_ms, 3),
        "ratio_without_optimizer": round(quant_inner / plain_inner, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compile", action="store_true", help="both by torch.compile, as training.compile does")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    result = measure(args.steps, args.device, args.compile)
    if args.json:
        print(json.dumps(result))
    else:
        print(
            f"training step 2x128, {BATCH} x {TOKENS} tokens: float {result['float_ms']} ms, "
            f"quantized {result['quantized_ms']} ms, ratio {result['ratio']} "
            f"(without the optimizer {result['ratio_without_optimizer']})"
        )


if __name__ == "__main__":
    main()
