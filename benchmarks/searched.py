# SPDX-License-Identifier: Apache-2.0
"""What searched bits are worth once they are trained: the choice of `bitloom search` against uniform bits, over seeds, and what both take.

python -m benchmarks.searched RECIPE --data DIR --uniform quantization.weights=1 --uniform quantization.activations=4
    [--board ulx3s_85f] [--seeds 3] [--out DIR] [--set key=value]
The search may take as many block RAMs as the uniform design of the same seed does. Both are trained alike (a float model of each seed's own, then quantized,
distilled from it), exported and built, not simulated. Scores are the golden model's on the whole development split; block RAMs and DSPs those of the design
that is built of the trained graph, with the board's serial bridge. A killed one goes on where it was; finished ones are not repeated.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

from benchmarks.sst2_seeds import table
from bitloom.display import Display
from bitloom.flow import run_stage
from bitloom.hw import graph_file
from bitloom.hw.board import Board
from bitloom.hw.plan.folding import Folding
from bitloom.hw.plan.table import resources
from bitloom.recipe import Recipe, find
from bitloom.runfolder import RunFolder
from bitloom.stage import STAGES, typed
from bitloom.stages.search import chosen_recipe
from bitloom.stages.train import START


def trained(recipe: Recipe, data: Path | None, out: Path, board: Board, display: Display, start: Path | None = None) -> dict[str, float]:
    """Float and golden score (shares), block RAMs and DSPs of a recipe; with `start`, of what its search chooses from the float model that is there."""
    run = RunFolder.create(out, recipe)
    with run.locked():
        run.adopt(recipe, data)
        if start:
            copy_float(start, run.path / START)
            run_stage(run, "search", options=typed(STAGES["search"], {"board": board.name}), watcher=display.watcher)
            run.adopt(chosen_recipe(run.stage("search")), data)
        for stage in ("train", "export", "build"):
            run_stage(run, stage, watcher=display.watcher)
    accuracy = json.loads((run.stage("export") / "metrics.json").read_text())["accuracy"]
    used, have = resources(graph_file.load(run.stage("export")), Folding.load(run.stage("build") / "folding.json"), board), board.resources
    return {"float": accuracy["float"], "golden": accuracy["golden"], "block_ram": used[have.block_ram[0].kind].used, "dsp": used[have.dsp.kind].used}


def copy_float(source: Path, start: Path) -> None:
    """Let a run that has the same seed and settings begin with the float model of another one's train stage."""
    for name in ("tokenizer", "float"):
        shutil.copytree(source / name, start / name, dirs_exist_ok=True)
    shutil.copy(source / "settings.json", start)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", help="a YAML file, or a name that `bitloom recipes` lists")
    parser.add_argument("--data", type=Path, help="folder of data files; without it the Hugging Face hub")
    parser.add_argument("--uniform", action="append", required=True, metavar="KEY=VALUE", help="a setting of the uniform bits")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a recipe key of both")
    parser.add_argument("--board", default="ulx3s_85f")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/searched"))
    args = parser.parse_args()
    board, rows = Board.load(args.board), []
    with Display() as display:
        for seed in range(args.seeds):
            sets = [*args.set, f"training.seed={seed}"]
            first, second = (args.out / f"seed{seed}-{name}" for name in ("uniform", "searched"))
            uniform = trained(Recipe.load(find(args.recipe), [*sets, *args.uniform]), args.data, first, board, display)
            budget = f"search.budget.block_ram={uniform['block_ram']}"
            searched = trained(Recipe.load(find(args.recipe), [*sets, budget]), args.data, second, board, display, first / "train")
            for name, found in (("uniform", uniform), ("searched", searched)):
                print(f"seed {seed}, {name}: {found['block_ram']} block RAMs, {found['dsp']} DSPs", flush=True)
            rows.append({"float": uniform["float"], "uniform": uniform["golden"], "searched": searched["golden"]})
    print(table(rows))


if __name__ == "__main__":
    main()
