# SPDX-License-Identifier: Apache-2.0
"""train: tokenizer, float model, calibration, quantized model (qat/train.py does the work)."""

from __future__ import annotations

from bitloom import sources
from bitloom.flow import Context
from bitloom.report import score

START = "start"  # folder of a float model that a search, or a bench, has trained already


def run(context: Context) -> str:
    """Raises DataError, QuantError: data or settings that cannot be trained on. SourceError: a file of the recipe's is gone."""
    sources.require(context.recipe, context.run.data_dir)
    from transformers.utils import logging  # torch and transformers take seconds to import

    from bitloom.qat.shared_float import reuse_float
    from bitloom.qat.train import train

    logging.set_verbosity_error()
    logging.disable_progress_bar()  # the display has one of its own
    recipe = context.recipe
    for start in (context.run.stage("search") / START, context.run.path / START):  # it would come out the same
        reuse_float(start, context.out, recipe.model, recipe.training, recipe.data, recipe.compression)
    metrics = train(
        recipe.model,
        recipe.quantization,
        recipe.training,
        recipe.data,
        context.run.data_dir,
        context.out,
        compression=recipe.compression,
        resume=True,
        progress=context.progress,
    )
    return f"{metrics['metric']} {score(metrics['float'])} float, {score(metrics['qat'])} quantized"
