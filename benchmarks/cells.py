# SPDX-License-Identifier: Apache-2.0
"""What a search for a cell is worth: the cell of a recipe against random ones of the space that it was chosen from, trained alike in float, over seeds.

python -m benchmarks.cells adabert --data DIR [--cells 10] [--seeds 3] [--out FILE] [--set key=value] [--json]
All take the recipe's target cycles between sentences, and a random one fits the board and the budget of the search, as the recipe's does; the first that do, of
the random generator's seed 0, are taken. Each trains the recipe's float phase, with its compression. What is done is kept in FILE, and not done again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from bitloom.hw.board import Board
from bitloom.qat.cells import draw_cell, tidy, told
from bitloom.qat.net.cells import CellsShape
from bitloom.qat.net.model import FloatModel
from bitloom.qat.search.cell_space import priced, too_much
from bitloom.qat.train import Read, calibration_batches, read_task
from bitloom.qat.trainer import EncoderTrainer
from bitloom.recipe import Recipe, find

DRAWS = 10_000


def cells_of(recipe: Recipe, count: int) -> list[dict[str, Any]]:
    """The recipe's cell and different random ones of its space that fit: [{cell, cells, and what the design takes}]."""
    space, rng = recipe.search.architecture, np.random.default_rng(0)
    board = Board.load(recipe.hardware.board) if recipe.hardware.board else None
    shape = CellsShape.of(recipe.model, "sequence", 2, 8)
    prices, limits = priced(shape, recipe.quantization, recipe.hardware, recipe.search, board)
    found = {(tidy(recipe.model.cell), recipe.model.cells): None}
    for _ in range(DRAWS):
        if len(found) > count:
            break
        one = draw_cell(rng, space.nodes, space.operations), int(rng.choice(space.cells))
        if not too_much(prices.real(*one), limits):
            found[one] = None
    figures = [(one, prices.real(*one).figures) for one in found]
    return [{"cell": one[0], "cells": one[1]} | {key: f[key] for key in ("multipliers", "dsp", "block_ram")} for one, f in figures]


def accuracy(read: Read, recipe: Recipe, one: dict[str, Any], seed: int) -> float:
    """Score of the development split behind the float phase."""
    training = recipe.training.model_copy(update={"seed": seed})
    torch.manual_seed(seed)
    model = recipe.model.model_copy(update={"cell": [list(row) for row in one["cell"]], "cells": one["cells"]})
    shape = CellsShape.of(model, "sequence", read.dataset.num_labels, len(read.tokenizer))
    net = FloatModel(shape)
    work = read.compression.begin("float", net, lambda: calibration_batches(read.train, read.tokenizer, training, targets=True))
    with TemporaryDirectory() as folder:
        trainer = EncoderTrainer(net, read.tokenizer, read.train, read.dev, training, folder, epochs=training.float_epochs,
                                 learning_rate=training.float_learning_rate, work=work)  # fmt: skip
        trainer.resume()
        read.compression.finish(work)
        return trainer.evaluate()[f"eval_{read.dataset.metric}"]


def measure(recipe: Recipe, data: Path | None, cells: int, seeds: int, out: Path) -> list[dict[str, Any]]:
    """Rows of `cells_of`, each with by_seed: scores."""
    rows = cells_of(recipe, cells)
    done = _done(recipe, out)
    sections = recipe.model, recipe.quantization, recipe.training, recipe.data
    with TemporaryDirectory() as folder:
        read = read_task(*sections, data, folder, compression=recipe.compression, progress=lambda fraction, text: _said(text))
        for seed in range(seeds):
            for row in rows:
                name = f"{_name(row)}, seed {seed}"
                if name not in done:
                    done[name] = accuracy(read, recipe, row, seed)
                    out.write_text(json.dumps(done, indent=1) + "\n")
                    _said(f"{name}: {done[name]:.4f}")
    return [row | {"by_seed": [done[f"{_name(row)}, seed {seed}"] for seed in range(seeds)]} for row in rows]


def _name(row: dict[str, Any]) -> str:
    return f"{row['cells']} x ({told(row['cell'])})"


def _done(recipe: Recipe, out: Path) -> dict[str, Any]:
    """Scores of earlier runs, by name. Raises SystemExit: they are of another training."""
    sections = recipe.model_dump(mode="json", include={"model", "data", "quantization", "training", "compression"})
    sections["model"] = {key: value for key, value in sections["model"].items() if key not in ("cell", "cells")}
    print = hashlib.sha256(json.dumps(sections, sort_keys=True).encode()).hexdigest()[:16]
    out.parent.mkdir(parents=True, exist_ok=True)
    done = json.loads(out.read_text()) if out.is_file() else {"recipe": print}
    if done.get("recipe") != print:
        raise SystemExit(f"cells: got scores of another training in {out}, must be of this one; give another --out")
    return done


def table(rows: list[dict[str, Any]]) -> str:
    """In Markdown: the recipe's cell, then the random ones, the best first."""
    first, *others = rows
    lines = ["| cell | multipliers | DSPs | block RAMs | mean | by seed |", "| --- " * 6 + "|"]
    for name, row in [("searched", first), *(("random", row) for row in sorted(others, key=lambda r: -statistics.mean(r["by_seed"])))]:
        each = ", ".join(f"{score:.2%}" for score in row["by_seed"])
        lines.append(f"| {name}: {_name(row)} | {row['multipliers']} | {row['dsp']} | {row['block_ram']} | {statistics.mean(row['by_seed']):.2%} | {each} |")
    return "\n".join(lines)


def _said(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", help="a YAML file, or a name that `bitloom recipes` lists, of a network of cells with its search")
    parser.add_argument("--data", type=Path, help="folder of data files; without it the Hugging Face hub")
    parser.add_argument("--cells", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/cells.json"))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a recipe key")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows = measure(Recipe.load(find(arguments.recipe), arguments.set), arguments.data, arguments.cells, arguments.seeds, arguments.out)
    print(json.dumps(rows) if arguments.json else table(rows))


if __name__ == "__main__":
    main()
