# SPDX-License-Identifier: Apache-2.0
"""What a teacher is worth to a student in float: a recipe with its compression, without its objectives, and without all of it, over seeds.

python -m benchmarks.students distill-logits --data DIR [--seeds 3] [--out DIR] [--set key=value] [--json]
All three train the float phase alone, for the recipe's epochs; with augmentation these have more steps. A killed one goes on where it was; finished ones are
not repeated.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from benchmarks.sst2_seeds import table
from bitloom.qat.methods import method_of
from bitloom.qat.train import train
from bitloom.recipe import Recipe, find


def run_seed(recipe: Recipe, data_dir: Path | None, out: Path, seed: int) -> dict[str, float]:
    """{which of the recipe's methods: float accuracy} of one seed."""
    training = recipe.training.model_copy(update={"seed": seed, "qat_epochs": 0.0, "distill": None})
    others = tuple(entry for entry in recipe.compression if not method_of(entry.method).__module__.startswith("bitloom.qat.objectives"))
    kinds = {"alone": (), "without a teacher": others, "with a teacher": recipe.compression}
    found = {}
    for name, entries in kinds.items():
        if name != "without a teacher" or others:
            place = out / f"seed{seed}-{name.replace(' ', '-')}"
            metrics = train(recipe.model, recipe.quantization, training, recipe.data, data_dir, place, compression=entries, progress=_said(seed, name))
            found[name] = metrics["float"]
    return found


def _said(seed: int, name: str):
    return lambda fraction, text: print(f"seed {seed}, {name}: {text}", file=sys.stderr, flush=True)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", help="a YAML file, or a name that `bitloom recipes` lists, with objectives in its compression")
    parser.add_argument("--data", type=Path, help="folder of data files; without it the Hugging Face hub")
    parser.add_argument("--out", type=Path, default=Path("runs/students"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a recipe key")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    recipe = Recipe.load(find(arguments.recipe), arguments.set)
    rows = [run_seed(recipe, arguments.data, arguments.out / recipe.name, seed) for seed in range(arguments.seeds)]
    print(json.dumps(rows) if arguments.json else table(rows))


if __name__ == "__main__":
    main()
