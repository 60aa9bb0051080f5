# SPDX-License-Identifier: Apache-2.0
"""search: the bits of each layer, or the cell, that are best for the task on the board (qat/search does the work), and the recipe that has them."""

from __future__ import annotations

from pathlib import Path

from bitloom import sources
from bitloom.flow import Context
from bitloom.hw.board import Board
from bitloom.hw.plan.solve import HardwareConfig
from bitloom.qat.search.config import SearchConfig
from bitloom.recipe import Recipe
from bitloom.report import score
from bitloom.search_page import render, render_cell
from bitloom.stages.train import START

CHOSEN = "chosen.yaml"


def run(context: Context) -> str:
    """Raises SearchError, FoldingError: nothing within the budget. ConfigError: a pattern that matches no layer. BoardError: no such board."""
    sources.require(context.recipe, context.run.data_dir)
    from transformers.utils import logging  # torch and transformers take seconds to import

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    name = context.option("board") or context.recipe.hardware.board
    board = Board.load(name) if name else None
    return (_cell if context.recipe.search.method == "architecture" else _bits)(context, board)


def _bits(context: Context, board: Board | None) -> str:
    from bitloom.qat.search.run import Search, save
    from bitloom.qat.shared_float import reuse_float
    from bitloom.qat.train import train_float

    recipe, hardware = context.recipe, context.recipe.hardware
    if board and context.option("board") and not hardware.target_cycles:  # as `bitloom build --board`: the board takes the goal's place
        hardware = HardwareConfig(board=board.name, layers=hardware.layers, inside=hardware.inside, memory=hardware.memory, clock_mhz=hardware.clock_mhz)
    sections = recipe.model, recipe.quantization, recipe.training, recipe.data
    reuse_float(context.run.path / START, context.out / START, recipe.model, recipe.training, recipe.data, recipe.compression)
    start = train_float(*sections, context.run.data_dir, context.out / START, compression=recipe.compression, progress=context.progress)
    search = Search(
        start, recipe.quantization, recipe.training, recipe.model.max_tokens, hardware, recipe.search, board, context.out, context.progress
    )  # fmt: skip
    found = search.run()
    save(found, context.out)
    chosen = _written(context, quantization=found.quant, hardware=found.hardware)
    sensitivity = found.sensitivity.by(recipe.search.by) if found.sensitivity else {}
    (context.out / "search.html").write_text(render(found.as_dict(), sensitivity, chosen.dump()), encoding="utf-8")
    at = found.chosen
    taken = f", {at.dsp} DSPs, {at.block_ram} block RAMs" if board else ""
    trained = f"after {at.steps} steps" if at.steps else "without training"
    return f"{at.interval:,} cycles{taken}, {at.bytes:,} bytes; {found.metric} {score(at.score)} {trained}, float {score(found.float_score)}"


def _cell(context: Context, board: Board | None) -> str:
    from bitloom.qat.search.cell_space import check
    from bitloom.qat.search.cells import CellSearch, save
    from bitloom.qat.train import read_task

    recipe = context.recipe
    check(recipe.model, recipe.hardware, recipe.search)
    sections = recipe.model, recipe.quantization, recipe.training, recipe.data
    read = read_task(*sections, context.run.data_dir, context.out / START, compression=recipe.compression, progress=context.progress)
    search = CellSearch(
        read, recipe.model, recipe.quantization, recipe.training, recipe.hardware, recipe.search, board, context.out, context.progress
    )  # fmt: skip
    found = search.run()
    save(found, context.out)
    (context.out / "state.pt").unlink(missing_ok=True)
    model = recipe.model.model_copy(update={"cells": found.cells, "cell": [list(row) for row in found.cell]})
    goal = {"target_cycles": found.target_cycles, "multipliers": None, "board": board and board.name}
    chosen = _written(context, model=model, hardware=HardwareConfig.model_validate(recipe.hardware.model_dump() | goal))
    page = found.as_dict()
    (context.out / "search.html").write_text(render_cell(page, chosen.dump()), encoding="utf-8")
    figures = found.real.figures
    taken = f"{figures['dsp']} DSPs, {figures['block_ram']} block RAMs" if board else f"{figures['multipliers']} multipliers"
    return f"{'a cell' if found.cells == 1 else f'{found.cells} cells'}: {page['text']}; {found.real.interval:,} cycles, {taken}"


def _written(context: Context, **changed: object) -> Recipe:
    """The recipe with what was chosen, in CHOSEN; it searches no more."""
    chosen = context.recipe.model_copy(update={**changed, "search": SearchConfig()})
    (context.out / CHOSEN).write_text(chosen.dump(), encoding="utf-8")
    return chosen


def chosen_recipe(folder: Path) -> Recipe:
    """What the stage chose."""
    return Recipe.load(folder / CHOSEN)
