# SPDX-License-Identifier: Apache-2.0
"""One float phase for several trainings that agree on it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from bitloom.qat.checkpoint import save_float
from bitloom.qat.compress import Compression
from bitloom.qat.config import QuantConfig, TrainConfig
from bitloom.qat.data import DataConfig
from bitloom.qat.methods import MethodConfig
from bitloom.qat.net.model import FloatModel
from bitloom.qat.networks import ModelConfig
from bitloom.qat.train import Start

QUANTIZED_ONLY = ("qat_epochs", "qat_learning_rate", "distill", "calibration_batches")
SCORES = "bitloom_scores.json"


def float_alone(quant: QuantConfig, training: TrainConfig, compression: Sequence[MethodConfig]) -> TrainConfig | None:
    """The settings of the float phase, those of the quantized one left out; None: compression has a part in it."""
    methods = Compression(compression, quant, training.model_copy(update={"distill": None})).methods
    if any(method.early or method.phases() != ("qat",) for method in methods):
        return None
    return TrainConfig(**{key: value for key, value in training.model_dump().items() if key not in QUANTIZED_ONLY}, qat_epochs=0.0)


def begin_with(made: Start, source: Path, out: Path, model: ModelConfig, training: TrainConfig, data: DataConfig, compression: Sequence[MethodConfig]) -> None:
    """Write what `bitloom.qat.train.reuse_float` finds in `out`: the float model that `train_float` made in `source`, for a training with these settings."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    shutil.copytree(source / "tokenizer", out / "tokenizer")
    settings = {name: group.model_dump(mode="json") for name, group in (("model", model), ("training", training), ("data", data))}
    if compression:
        save_float(FloatModel.from_hugging_face(made.model, model.max_tokens), out / "float", made.dataset.label_names)
        made.tokenizer.save(out / "float")
        shutil.copy(source / "float" / SCORES, out / "float" / SCORES)
        settings["compression"] = [entry.model_dump(mode="json") for entry in compression]
    else:
        shutil.copytree(source / "float", out / "float")
    (out / "settings.json").write_text(json.dumps(settings, indent=1) + "\n")
