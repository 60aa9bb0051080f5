# SPDX-License-Identifier: Apache-2.0
"""Quantized checkpoints: quant.json (shape and bits), model.safetensors (weights and scales). Float ones of any shape: float.json (shape). No pickle."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from bitloom.qat.baseline import refuse_pickle
from bitloom.qat.config import QuantConfig
from bitloom.qat.net.kinds import shape_from_dict
from bitloom.qat.net.model import FloatModel, QuantModel
from bitloom.qat.net.network import is_scale
from bitloom.qat.net.shape import NetworkShape
from bitloom.qat.quantizers import QuantError

SCHEMA = "bitloom.quant/2"
FLOAT_SCHEMA = "bitloom.float/1"
QUANT, FLOAT, WEIGHTS = "quant.json", "float.json", "model.safetensors"
BROKEN = (OSError, KeyError, TypeError, RuntimeError, SafetensorError, ValidationError, json.JSONDecodeError)


def save_pretrained(model: QuantModel, folder: str | Path) -> None:
    """Write the model's two files into `folder`, which is made if it is not there."""
    settings = {"schema": SCHEMA, "shape": model.shape.as_dict(), "quant": model.quant.model_dump()}
    _save(Path(folder), QUANT, settings, model.state_dict())


def from_pretrained(folder: str | Path) -> QuantModel:
    """Read a folder that save_pretrained wrote; the model is ready: its scales are in the file.

    Raises QuantError: a file missing, malformed or of another version, or pickled weights.
    """
    settings = _settings(Path(folder), QUANT, SCHEMA, "quantized")
    try:
        model = QuantModel(shape_from_dict(settings["shape"]), QuantConfig.model_validate(settings["quant"]))
        model.load_state_dict(load_file(Path(folder) / WEIGHTS))
    except BROKEN as error:
        raise _not_whole(folder, "quantized", error) from error
    return model.eval()


def quantized_shape(folder: str | Path) -> NetworkShape:
    """Of a folder that save_pretrained wrote. Raises QuantError: as from_pretrained."""
    try:
        return shape_from_dict(_settings(Path(folder), QUANT, SCHEMA, "quantized")["shape"])
    except BROKEN as error:
        raise _not_whole(folder, "quantized", error) from error


def save_float(model: FloatModel, folder: str | Path, labels: Sequence[str] = ()) -> None:
    """Write a float model's two files into `folder`, which is made if it is not there. labels: names of its logits."""
    state = {name: parameter for name, parameter in model.named_parameters() if not is_scale(name)}
    _save(Path(folder), FLOAT, {"schema": FLOAT_SCHEMA, "shape": model.shape.as_dict(), "labels": list(labels)}, state)


def load_plain(folder: str | Path) -> FloatModel:
    """Read a folder that save_float wrote. Raises QuantError: as from_pretrained."""
    settings = _settings(Path(folder), FLOAT, FLOAT_SCHEMA, "float")
    try:
        model, state = FloatModel(shape_from_dict(settings["shape"])), load_file(Path(folder) / WEIGHTS)
        wanted = {name for name, _ in model.named_parameters() if not is_scale(name)}
        if wanted != set(state):
            raise KeyError(min(wanted ^ set(state)))
        model.load_state_dict(state, strict=False)
    except BROKEN as error:
        raise _not_whole(folder, "float", error) from error
    return model.eval()


def plain_shape(folder: str | Path) -> NetworkShape:
    """Of a folder that save_float wrote."""
    try:
        return shape_from_dict(_settings(Path(folder), FLOAT, FLOAT_SCHEMA, "float")["shape"])
    except BROKEN as error:
        raise _not_whole(folder, "float", error) from error


def labels_of(folder: str | Path) -> list[str]:
    """Names of the logits of a folder that save_float wrote; none: numbers, or a task without labels."""
    return list(map(str, _settings(Path(folder), FLOAT, FLOAT_SCHEMA, "float").get("labels", [])))


def is_plain(folder: str | Path) -> bool:
    """A folder that save_float wrote, not Hugging Face."""
    return (Path(folder) / FLOAT).is_file()


def _save(folder: Path, name: str, settings: dict, state: dict) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(settings, indent=1) + "\n")
    save_file({k: v.detach().cpu().contiguous() for k, v in state.items()}, folder / WEIGHTS)


def _settings(folder: Path, name: str, schema: str, kind: str) -> dict:
    if folder.is_dir():
        refuse_pickle(folder)
    for file in (name, WEIGHTS):
        if not (folder / file).is_file():
            raise QuantError(f"checkpoint: {folder / file}: no such file; a {kind} checkpoint holds {name}, {WEIGHTS}")
    try:
        settings = json.loads((folder / name).read_text())
    except BROKEN as error:
        raise _not_whole(folder, kind, error) from error
    if not isinstance(settings, dict) or settings.get("schema") != schema:
        got = settings.get("schema") if isinstance(settings, dict) else type(settings).__name__
        raise QuantError(f"checkpoint: {folder / name}: got schema {got!r}, must be '{schema}'; train again, with --force")
    return settings


def _not_whole(folder: str | Path, kind: str, error: Exception) -> QuantError:
    first = str(error).splitlines()[0]
    return QuantError(f"checkpoint: {folder}: not a whole {kind} checkpoint ({first}); train again, with --force")
