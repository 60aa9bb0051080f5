# SPDX-License-Identifier: Apache-2.0
"""Float against quantized accuracy of a recipe at equal training effort, over seeds: mean and spread.

python -m benchmarks.sst2_seeds --data DIR [--recipe recipes/sst2-tiny.yaml] [--seeds 3] [--out DIR] [--json]
Per seed two trainings: `quantized` is the recipe's (float, then quantized epochs; the golden integer model judged on
the whole development split), `float` spends all of its epochs in float. A killed one goes on where it was; finished
ones are not repeated.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path

import numpy as np

from bitloom.hw import golden
from bitloom.qat.checkpoint import from_pretrained
from bitloom.qat.data import load
from bitloom.qat.export import to_graph
from bitloom.qat.metrics import score_logits
from bitloom.qat.tokenizer import TextTokenizer
from bitloom.qat.train import train
from bitloom.recipe import Recipe

BATCH = 64  # sentences that the golden model takes at once


def golden_score(recipe: Recipe, data_dir: Path | None, out: Path) -> float:
    """The metric of the integer model on all of the development split."""
    dataset, tokenizer = load(recipe.data, data_dir), TextTokenizer.load(out / "tokenizer")
    graph = to_graph(from_pretrained(out / "qat"), recipe.name)
    dev = dataset.dev
    ids, segments = tokenizer.encode(dev.texts, dev.pairs, max_tokens=recipe.model.max_tokens)
    parts = [slice(i, i + BATCH) for i in range(0, len(ids), BATCH)]
    logits = [golden.run(graph, ids[p], segments[p], keep_all=False)[graph.outputs[0]] for p in parts]
    return score_logits(dataset.metric, np.concatenate(logits), dev.labels)[dataset.metric]


def run_seed(recipe: Recipe, data_dir: Path | None, out: Path, seed: int) -> dict[str, float]:
    """{float: accuracy at the whole effort, qat, golden} of one seed."""

    def say(fraction: float | None, text: str) -> None:
        print(f"seed {seed}: {text}", file=sys.stderr, flush=True)

    training = recipe.training.model_copy(update={"seed": seed})
    epochs = training.float_epochs + training.qat_epochs
    effort = training.model_copy(update={"float_epochs": epochs, "qat_epochs": 0.0})
    quantized, plain = out / f"seed{seed}-quantized", out / f"seed{seed}-float"
    sections = recipe.model, recipe.quantization
    result = train(*sections, training, recipe.data, data_dir, quantized, progress=say)
    baseline = train(*sections, effort, recipe.data, data_dir, plain, progress=say)
    return {"float": baseline["float"], "qat": result["qat"], "golden": golden_score(recipe, data_dir, quantized)}


def table(rows: list[dict[str, float]]) -> str:
    """Markdown: each seed, then mean and spread (highest - lowest), in percent."""
    names = list(rows[0])
    lines = ["| seed | " + " | ".join(names) + " |", "| --- " * (len(names) + 1) + "|"]
    for label, reduce in (*((str(i), lambda v, i=i: v[i]) for i in range(len(rows))),
                          ("mean", statistics.mean), ("spread", lambda v: max(v) - min(v))):  # fmt: skip
        values = [100 * reduce([row[name] for row in rows]) for name in names]
        lines.append(f"| {label} | " + " | ".join(f"{value:.2f}" for value in values) + " |")
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", type=Path, default=Path("recipes/sst2-tiny.yaml"))
    parser.add_argument("--data", type=Path, help="folder of data files; without it the Hugging Face hub")
    parser.add_argument("--out", type=Path, default=Path("runs/sst2-seeds"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    recipe = Recipe.load(arguments.recipe)
    rows = [run_seed(recipe, arguments.data, arguments.out, seed) for seed in range(arguments.seeds)]
    print(json.dumps(rows) if arguments.json else table(rows))


if __name__ == "__main__":
    main()
