# SPDX-License-Identifier: Apache-2.0
"""Quantized checkpoints: quant.json (shape and bits), model.safetensors (weights and scales). No pickle."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from bitloom.qat.baseline import refuse_pickle
from bitloom.qat.config import QuantConfig
from bitloom.qat.net.model import QuantModel
from bitloom.qat.net.shape import EncoderShape
from bitloom.qat.quantizers import QuantError

SCHEMA = "bitloom.quant/2"
FILES = ("quant.json", "model.safetensors")


def save_pretrained(model: QuantModel, folder: str | Path) -> None:
    """Write the model's two files into `folder`, which is made if it is not there."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "schema": SCHEMA,
        "shape": model.shape.as_dict(),
        "quant": model.quant.model_dump(),
    }
    (folder / "quant.json").write_text(json.dumps(settings, indent=1) + "\n")
    save_file({k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}, folder / "model.safetensors")


def from_pretrained(folder: str | Path) -> QuantModel:
    """Read a folder that save_pretrained wrote; the model is ready: its scales are in the file.

    Raises QuantError: a file missing, malformed or of another version, or pickled weights.
    """
    folder = Path(folder)
    if folder.is_dir():
        refuse_pickle(folder)
    for name in FILES:
        if not (folder / name).is_file():
            raise QuantError(f"checkpoint: {folder / name}: no such file; a quantized checkpoint holds {', '.join(FILES)}")
    try:
        settings = json.loads((folder / "quant.json").read_text())
        if not isinstance(settings, dict) or settings.get("schema") != SCHEMA:
            got = settings.get("schema") if isinstance(settings, dict) else type(settings).__name__
            raise QuantError(f"checkpoint: {folder / 'quant.json'}: got schema {got!r}, must be '{SCHEMA}'; train again, with --force")
        quant = QuantConfig.model_validate(settings["quant"])
        model = QuantModel(EncoderShape.from_dict(settings["shape"]), quant)
        model.load_state_dict(load_file(folder / "model.safetensors"))
    except (
        OSError,
        KeyError,
        TypeError,
        RuntimeError,
        SafetensorError,
        ValidationError,
        json.JSONDecodeError,
    ) as error:
        first = str(error).splitlines()[0]
        raise QuantError(f"checkpoint: {folder}: not a whole quantized checkpoint ({first}); train again, with --force") from error
    model.eval()
    return model
