# SPDX-License-Identifier: Apache-2.0
"""search: the bits of each layer that are best for the task on the board (qat/search does the work), and the recipe that has them."""

from __future__ import annotations

from pathlib import Path

from bitloom import sources
from bitloom.flow import Context
from bitloom.hw.board import Board
from bitloom.hw.plan.solve import HardwareConfig
from bitloom.qat.search.config import SearchConfig
from bitloom.recipe import Recipe
from bitloom.report import score
from bitloom.search_page import render

CHOSEN = "chosen.yaml"


def run(context: Context) -> str:
    """Raises SearchError, FoldingError: nothing within the budget. ConfigError: a pattern that matches no layer. BoardError: no such board."""
    sources.require(context.recipe, context.run.data_dir)
    from transformers.utils import logging  # torch and transformers take seconds to import

    from bitloom.qat.search.run import Search, save
    from bitloom.qat.train import train_float

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    recipe = context.recipe
    name = context.option("board") or recipe.hardware.board
    board = Board.load(name) if name else None
    hardware = recipe.hardware
    if name and context.option("board") and not hardware.target_cycles:  # as `bitloom build --board`: the board takes the goal's place
        hardware = HardwareConfig(board=name, layers=hardware.layers, inside=hardware.inside, memory=hardware.memory, clock_mhz=hardware.clock_mhz)
    sections = recipe.model, recipe.quantization, recipe.training, recipe.data
    start = train_float(*sections, context.run.data_dir, context.out / "start", compression=recipe.compression, progress=context.progress)
    search = Search(
        start, recipe.quantization, recipe.training, recipe.model.max_tokens, hardware, recipe.search, board, context.out, context.progress
    )  # fmt: skip
    found = search.run()
    save(found, context.out)
    chosen = recipe.model_copy(update={"quantization": found.quant, "hardware": found.hardware, "search": SearchConfig()})
    (context.out / CHOSEN).write_text(chosen.dump(), encoding="utf-8")
    sensitivity = found.sensitivity.by(recipe.search.by) if found.sensitivity else {}
    (context.out / "search.html").write_text(render(found.as_dict(), sensitivity, chosen.dump()), encoding="utf-8")
    at = found.chosen
    taken = f", {at.dsp} DSPs, {at.block_ram} block RAMs" if board else ""
    trained = f"after {at.steps} steps" if at.steps else "without training"
    return f"{at.interval:,} cycles{taken}, {at.bytes:,} bytes; {found.metric} {score(at.score)} {trained}, float {score(found.float_score)}"


def chosen_recipe(folder: Path) -> Recipe:
    """What the stage chose."""
    return Recipe.load(folder / CHOSEN)
