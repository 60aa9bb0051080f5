# SPDX-License-Identifier: Apache-2.0
"""What each post-training step gains on a trained float model: how far the quantized answers are from its own, and the score.

python -m benchmarks.post_training RUN --data DIR [--weights 2 3] [--activations 8 4] [--steps none bias_correction ...]
RUN is the run folder of a recipe without compression. Divergence: mean of KL(float || quantized) over the development split, in nats.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from bitloom.qat.baseline import head_of_task, load_float
from bitloom.qat.data import load
from bitloom.qat.features import Features
from bitloom.qat.post_training import quantize
from bitloom.qat.tokenizer import TextTokenizer
from bitloom.qat.train import calibration_batches
from bitloom.qat.trainer import predict
from bitloom.runfolder import RunFolder

ALL = "equalization+learned_rounding+bias_correction"
STEPS = ("none", "bias_correction", "equalization", "learned_rounding", "learned_rounding+bias_correction", ALL)


def divergence(wanted: list[np.ndarray], got: list[np.ndarray]) -> float:
    """Mean over sentences, of logits [C] each."""
    p, q = (torch.log_softmax(torch.as_tensor(np.stack(x)).double(), -1) for x in (wanted, got))
    return float((p.exp() * (p - q)).sum(-1).mean())


def measure(run: RunFolder, data_dir: Path | None, weights: list[int], activations: list[int], names: list[str]) -> str:
    """Markdown."""
    recipe, folder = run.recipe, run.stage("train")
    dataset, tokenizer = load(recipe.data, data_dir), TextTokenizer.load(folder / "tokenizer")
    model = load_float(folder / "float", head=head_of_task(dataset.task, recipe.model.head), labels=dataset.num_labels).eval()
    train, dev = (Features(dataset, part, tokenizer, recipe.model.max_tokens) for part in (dataset.train, dataset.dev))
    batches = calibration_batches(train, tokenizer, recipe.training)
    wanted = predict(model, dev, tokenizer.pad_id)
    lines = ["| weights, bits | activations | steps | divergence | score | seconds |", "| --- | --- | --- | --- | --- | --- |"]
    lines.append(f"| float | float | | 0 | {100 * dev.score(np.stack(wanted))[dataset.metric]:.2f} | |")
    for w in weights:
        for a in activations:
            for name in names:
                quant = recipe.quantization.model_copy(update={"weights": w, "activations": a, "post_training": [] if name == "none" else name.split("+")})
                began = time.monotonic()
                made, _ = quantize(model, quant, recipe.model.max_tokens, batches)
                seconds, got = time.monotonic() - began, predict(made, dev, tokenizer.pad_id)
                score = 100 * dev.score(np.stack(got))[dataset.metric]
                lines.append(f"| {w} | {a} | {name.replace('+', ', ')} | {divergence(wanted, got):.4f} | {score:.2f} | {seconds:.0f} |")
                print(lines[-1], flush=True)
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, help="folder of data files; without it the Hugging Face hub")
    parser.add_argument("--weights", type=int, nargs="+", default=[2, 3])
    parser.add_argument("--activations", type=int, nargs="+", default=[8])
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=STEPS)
    arguments = parser.parse_args()
    print(measure(RunFolder.open(arguments.run), arguments.data, arguments.weights, arguments.activations, list(arguments.steps)))


if __name__ == "__main__":
    main()
