# SPDX-License-Identifier: Apache-2.0
"""One float phase for several trainings that agree on it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from bitloom.qat.checkpoint import save_float
from bitloom.qat.compress import Compression
from bitloom.qat.config import QuantConfig, TrainConfig
from bitloom.qat.data import DataConfig
from bitloom.qat.methods import MethodConfig
from bitloom.qat.net.model import FloatModel
from bitloom.qat.networks import ModelConfig, NetworkConfig
from bitloom.qat.resume import read_json, write_json
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
    """Write what `reuse_float` finds in `out`: the float model that `train_float` made in `source`, for a training with these settings."""
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
    write_json(out / "settings.json", settings)


def reuse_float(source: Path, out: Path, model: NetworkConfig, training: TrainConfig, data: DataConfig, compression: Sequence[MethodConfig] = ()) -> bool:
    """Copy the tokenizer and the float model that `train_float` made in `source` with these settings to `out`, where `out` has none; whether it did."""
    path, wanted = source / "settings.json", {"model": model, "training": training, "data": data}
    if (out / "float").exists() or not (source / "float").is_dir() or not path.is_file():
        return False
    made, entries = read_json(path, wanted), [entry.model_dump(mode="json") for entry in compression]
    if any(made.get(name) != group.model_dump(mode="json") for name, group in wanted.items()) or made.get("compression", []) != entries:
        return False
    for name in ("tokenizer", "float"):  # float last: it is the sign that all is there
        shutil.rmtree(out / f"{name}.tmp", ignore_errors=True)
        shutil.copytree(source / name, out / f"{name}.tmp")
        (out / f"{name}.tmp").rename(out / name)
    return True
