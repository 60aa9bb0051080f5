# SPDX-License-Identifier: Apache-2.0
"""Codebook weights on a recipe's data: accuracy by coding, from one float model, and how long the quantization step takes.

python -m benchmarks.codebooks --data DIR [--recipe recipes/sst2-tiny.yaml] [--codings kmeans-1 bs_flex ...] [--out DIR] [--seed 0]
    the float model is trained once; for each coding it is quantized and fine-tuned as the recipe says, and the golden integer model judged on the
    whole development split. Killed ones go on where they were; finished ones are not repeated
python -m benchmarks.codebooks --time [--layers 12 --hidden 768 --intermediate 3072]
    seconds of the quantization step alone, from float weights to values, scales and assignment: medians over repeats in one run, both on one thread
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import time
from pathlib import Path

import torch

from benchmarks.sst2_seeds import golden_score
from bitloom.hw.cost.sizes import sizes
from bitloom.qat.checkpoint import from_pretrained
from bitloom.qat.export import to_graph
from bitloom.qat.train import train
from bitloom.qat.weights import CODEBOOKS
from bitloom.qat.weights.codebook import Coding
from bitloom.qat.weights.dyadic import WeightQuant
from bitloom.recipe import Recipe

VALUES = {"weights": 8}  # bits of the values
CODINGS: dict[str, dict] = {
    "dyadic-4": {"weights": 4},
    "dyadic-2": {"weights": 2},
    "dyadic-1": {"weights": 1},
    **{f"kmeans-{bits}": VALUES | {"codebook": "kmeans", "index_bits": bits} for bits in (1, 2, 4)},
    **{f"kmeans-{bits}-kept": VALUES | {"codebook": "kmeans", "index_bits": bits, "clusters": "kept"} for bits in (1, 2, 4)},
    "bs_flex": VALUES | {"codebook": "bs_flex"},
    "bs_flex-kept": VALUES | {"codebook": "bs_flex", "clusters": "kept"},
    "bs_flex-fixed": VALUES | {"codebook": "bs_flex", "centroids": "fixed"},
    "bs_flex-channel": VALUES | {"codebook": "bs_flex", "codebook_per": "channel"},
}
DEFAULT = ("dyadic-1", "kmeans-1", "bs_flex", "kmeans-2", "kmeans-4")
START = "float"  # the folder of what all codings begin with
REPEATS = 5


def run_coding(recipe: Recipe, name: str, data_dir: Path | None, out: Path) -> dict[str, float]:
    """{float, qat, golden: the metric; kilobytes of the inner parameters} of one coding."""

    def say(fraction: float | None, text: str) -> None:
        print(f"{name}: {text}", file=sys.stderr, flush=True)

    folder, training = out / name, recipe.training
    if not (out / START / "metrics.json").is_file():
        alone = training.model_copy(update={"qat_epochs": 0.0})
        train(recipe.model, recipe.quantization, alone, recipe.data, data_dir, out / START, progress=say)
    for part in (START, "tokenizer"):
        if not (folder / part).is_dir():
            shutil.copytree(out / START / part, folder / part)
    quant = recipe.quantization.model_validate(recipe.quantization.model_dump() | CODINGS[name])
    result = train(recipe.model, quant, training, recipe.data, data_dir, folder, progress=say)
    size = sizes(to_graph(from_pretrained(folder / "qat"), name))["without_embeddings"]["quantized_bytes"]
    return {"float": result["float"], "qat": result["qat"], "golden": golden_score(recipe, data_dir, folder), "kilobytes": size / 1000}


def table(rows: dict[str, dict[str, float]]) -> str:
    """Markdown, the metric in percent."""
    lines = ["| coding | float | quantized | integers | kB without embeddings |", "| --- | --- | --- | --- | --- |"]
    for name, row in rows.items():
        lines.append(f"| {name} | {100 * row['float']:.2f} | {100 * row['qat']:.2f} | {100 * row['golden']:.2f} | {row['kilobytes']:.1f} |")
    return "\n".join(lines)


def coded(kind: str, index_bits: int, weights: list[torch.Tensor]) -> list[WeightQuant]:
    """Quantizers of a codebook for these layers."""
    return [CODEBOOKS[kind](*weight.shape, Coding(kind=kind, index_bits=index_bits, kept=True)) for weight in weights]


def seconds(grids: list[WeightQuant], weights: list[torch.Tensor]) -> float:
    """Median of the time that all layers take."""
    taken = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        for grid, weight in zip(grids, weights, strict=True):
            grid.fit(weight)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def times(layers: int, hidden: int, intermediate: int) -> str:
    """Markdown: the quantization step of an encoder's layers with normally distributed weights."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    shapes = [*[(hidden, hidden)] * 4, (intermediate, hidden), (hidden, intermediate)] * layers
    weights = [torch.randn(shape) * 0.04 for shape in shapes]
    found = {f"kmeans-{bits}": seconds(coded("kmeans", bits, weights), weights) for bits in (1, 2, 4)}
    found |= {"bs_flex": seconds(coded("bs_flex", 1, weights), weights)}
    found |= {"dyadic-4": seconds([WeightQuant(len(weight), 4) for weight in weights], weights)}
    lines = [f"| coding, {layers} layers of {hidden} and {intermediate} | seconds | times bs_flex |", "| --- | --- | --- |"]
    return "\n".join([*lines, *(f"| {name} | {value:.3f} | {value / found['bs_flex']:.1f} |" for name, value in found.items())])


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", type=Path, default=Path("recipes/sst2-tiny.yaml"))
    parser.add_argument("--data", type=Path, help="folder of data files; without it the Hugging Face hub")
    parser.add_argument("--out", type=Path, default=Path("runs/codebooks"))
    parser.add_argument("--codings", nargs="+", choices=CODINGS, default=DEFAULT)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--time", action="store_true", help="of the quantization step alone")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--intermediate", type=int, default=512)
    arguments = parser.parse_args()
    if arguments.time:
        print(times(arguments.layers, arguments.hidden, arguments.intermediate))
        return
    recipe = Recipe.load(arguments.recipe, [f"training.seed={arguments.seed}"])
    print(table({name: run_coding(recipe, name, arguments.data, arguments.out) for name in arguments.codings}))


if __name__ == "__main__":
    main()
