# SPDX-License-Identifier: Apache-2.0
"""What a search for a cell is worth: the cell of a recipe against random ones of the space that it was chosen from, trained alike in float, over seeds.

python -m benchmarks.cells adabert --data DIR [--cells 10] [--seeds 3] [--out FILE] [--set key=value] [--json]
All take the same number of multipliers, and a random one no more cycles between sentences than the recipe's, and no less than half of them. Each trains the
recipe's float phase, with its compression. What is done is kept in FILE, and not done again.
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

from bitloom.hw.plan.folding import FoldingError
from bitloom.hw.plan.solve import HardwareConfig, meet, solve
from bitloom.qat.cells import draw_cell, tidy, told
from bitloom.qat.net.cells import CellsShape
from bitloom.qat.net.model import FloatModel
from bitloom.qat.net.untrained import untrained_graph
from bitloom.qat.train import Read, calibration_batches, read_task
from bitloom.qat.trainer import EncoderTrainer
from bitloom.recipe import Recipe, find

LEAST = 0.5  # of the recipe's cycles, that a random cell takes at least
DRAWS = 10_000


def cycles(recipe: Recipe, multipliers: int, **changed: Any) -> int:
    """Between two sentences, of a cell's fastest folding with so many multipliers."""
    graph = untrained_graph(recipe.model.model_copy(update=changed), recipe.quantization, labels=2, vocabulary=8)
    return solve(graph, HardwareConfig(multipliers=multipliers)).interval


def drawn(recipe: Recipe, multipliers: int, most: int, count: int) -> list[dict[str, Any]]:
    """Different random cells of the recipe's space that take between LEAST and all of so many cycles: [{cell, cells, cycles}]."""
    space, rng = recipe.search.architecture, np.random.default_rng(0)
    seen, found = {(tidy(recipe.model.cell), recipe.model.cells)}, []
    for _ in range(DRAWS):
        cell, cells = draw_cell(rng, space.nodes, space.operations), int(rng.choice(space.cells))
        if (cell, cells) not in seen:
            seen.add((cell, cells))
            try:
                taken = cycles(recipe, multipliers, cell=cell, cells=cells)
            except FoldingError:  # more units than multipliers
                continue
            if LEAST * most <= taken <= most:
                found.append({"cell": cell, "cells": cells, "cycles": taken})
            if len(found) == count:
                return found
    raise SystemExit(f"cells: got {len(found)} cells of at most {most:,} cycles in {DRAWS:,} draws, must be {count}; ask for fewer")


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
    """[{cell, cells, cycles, scores by seed}], the recipe's first."""
    graph = untrained_graph(recipe.model, recipe.quantization, labels=2, vocabulary=8)
    multipliers = meet(graph, recipe.hardware).multipliers
    own = {"cell": tidy(recipe.model.cell), "cells": recipe.model.cells, "cycles": cycles(recipe, multipliers)}
    rows = [own, *drawn(recipe, multipliers, own["cycles"], cells)]
    done = _done(recipe, out)
    sections = recipe.model, recipe.quantization, recipe.training, recipe.data
    with TemporaryDirectory() as folder:
        read = read_task(*sections, data, folder, compression=recipe.compression, progress=lambda fraction, text: _said(text))
        for seed in range(seeds):
            for row in rows:
                name = f"{row['cells']} x {told(row['cell'])}, seed {seed}"
                if name not in done:
                    done[name] = accuracy(read, recipe, row, seed)
                    out.write_text(json.dumps(done, indent=1) + "\n")
                    _said(f"{name}: {done[name]:.4f}")
    return [row | {"multipliers": multipliers, "scores": [done[f"{row['cells']} x {told(row['cell'])}, seed {seed}"] for seed in range(seeds)]} for row in rows]


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
    lines = ["| cell | cycles | mean | by seed |", "| --- | --- | --- | --- |"]
    for name, row in [("searched", first), *(("random", row) for row in sorted(others, key=lambda r: -statistics.mean(r["scores"])))]:
        scores = ", ".join(f"{score:.2%}" for score in row["scores"])
        lines.append(f"| {name}: {row['cells']} x ({told(row['cell'])}) | {row['cycles']:,} | {statistics.mean(row['scores']):.2%} | {scores} |")
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
