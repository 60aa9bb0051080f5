# SPDX-License-Identifier: Apache-2.0
"""What a killed training left behind: the Trainer's checkpoints, each file looked at before it is continued from. Pickles are read for tensors alone."""

from __future__ import annotations

import json
import random
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import nn
from transformers import TrainerState
from transformers.trainer_pt_utils import safe_globals

from bitloom.hw.errors import BitloomError

STATE = "trainer_state.json"
LOSSES = "_Losses"  # what qat/trainer.py keeps in it
BROKEN = (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, RuntimeError, RecursionError, OverflowError, EOFError, SafetensorError)


class ResumeError(BitloomError):
    """Something that an earlier, broken-off training wrote is not whole."""


def last_checkpoint(folder: Path | str) -> str | None:
    """The newest whole checkpoint in a Trainer's folder; one that was cut off while it was written does not count."""
    found = [path for path in Path(folder).glob("checkpoint-*") if path.name.rpartition("-")[2].isdecimal()]
    for path in sorted(found, key=lambda p: int(p.name.rpartition("-")[2]), reverse=True):
        try:
            json.loads((path / STATE).read_text(encoding="utf-8"))  # the Trainer writes it last
            return str(path)
        except (OSError, ValueError, RecursionError):
            continue
    return None


def check(folder: Path | str, model: nn.Module, groups: Sequence[dict[str, Any]], schedule: set[str], process: int | None) -> TrainerState:
    """The state in a checkpoint's folder, all of whose files are there and are this training's.

    groups    the optimizer's, as made for the model: `params` of each
    schedule  keys of the learning rate schedule's state
    process   which of several; None: there is one
    Raises ResumeError: which file, and what to remove.
    """
    folder = Path(folder)
    random_state = "rng_state.pth" if process is None else f"rng_state_{process}.pth"
    _model(folder, "model.safetensors", model)
    _file(folder, "optimizer.pt", lambda state: _optimizer(state, groups))
    _file(folder, "scheduler.pt", lambda state: _equal(set(state), schedule))
    _file(folder, random_state, _random)
    if (folder / "scaler.pt").exists():
        _file(folder, "scaler.pt", lambda state: _equal({*map(type, state)}, {str}))
    return _state(folder)


def read_json(path: Path, keys: Sequence[str]) -> dict[str, Any]:
    """An object with at least these keys, which an earlier training wrote. Raises ResumeError: it is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict) or (missing := [key for key in keys if key not in found]):
            raise ValueError(f"no '{missing[0]}'" if isinstance(found, dict) else f"a {type(found).__name__}")
    except (OSError, ValueError, RecursionError) as error:
        raise _broken(path, error, path.parent) from None
    return found


def write_json(path: Path, content: Any) -> None:
    """Whole or not at all: a reader never sees half a file."""
    part = path.with_name(path.name + ".tmp")
    part.write_text(json.dumps(content, indent=1) + "\n")
    part.replace(path)


def _broken(path: Path, error: Exception | str, folder: Path) -> ResumeError:
    reason = (str(error).splitlines() or [""])[0].partition(". ")[0][:120] or type(error).__name__
    return ResumeError(
        f"{path}: got a file that is cut or of another kind ({reason}), must be what the training wrote; remove {folder} to begin that phase anew"
    )


def _equal(got: set, want: set) -> None:
    if got != want:
        raise ValueError(f"it holds {', '.join(sorted(map(str, got)))[:60] or 'nothing'}")


def _file(folder: Path, name: str, look) -> None:
    try:
        with safe_globals(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a foreign pickle, before the error
            state = torch.load(folder / name, map_location="cpu", weights_only=True)
        if not isinstance(state, dict):
            raise TypeError(f"it holds a {type(state).__name__}")
        look(state)
    except FileNotFoundError:
        raise _broken(folder / name, "no such file", folder.parent) from None
    except Exception as error:  # of reading a pickle: of many types
        raise _broken(folder / name, error, folder.parent) from None


def _model(folder: Path, name: str, model: nn.Module) -> None:
    want = {key: list(value.shape) for key, value in model.state_dict().items()}
    try:
        with safe_open(folder / name, "pt") as file:
            for key in file.keys():  # noqa: SIM118
                if want.get(key) != file.get_slice(key).get_shape():
                    raise ValueError(f"'{key}' of shape {file.get_slice(key).get_shape()}")
                if not torch.isfinite(file.get_tensor(key).float()).all():
                    raise ValueError(f"'{key}' holds values that are not finite")
    except BROKEN as error:
        raise _broken(folder / name, error, folder.parent) from None


def _optimizer(state: dict, groups: Sequence[dict[str, Any]]) -> None:
    """Moments of each parameter's shape, in the same groups: what is left out would begin at zero without a word."""
    counts = [len(group["params"]) for group in groups]
    if [len(group["params"]) for group in state["param_groups"]] != counts or not state["state"]:
        raise ValueError(f"moments of {len(state['state'])} parameters, not {sum(counts)}")
    parameters = [parameter for group in groups for parameter in group["params"]]
    for index, moments in state["state"].items():
        for key in ("exp_avg", "exp_avg_sq"):
            if moments[key].shape != parameters[index].shape:
                raise ValueError(f"{key} of shape {tuple(moments[key].shape)}, not {tuple(parameters[index].shape)}")
        float(moments["step"])


def _random(state: dict) -> None:
    random.Random().setstate(state["python"])
    np.random.RandomState().set_state(state["numpy"])
    torch.Generator().set_state(state["cpu"])


def _state(folder: Path) -> TrainerState:
    path = folder / STATE
    try:
        state = TrainerState.load_from_json(str(path))
        if type(state.global_step) is not int or folder.name != f"checkpoint-{state.global_step}":
            raise ValueError(f"step {state.global_step!r} in {folder.name}")
        if type(state.max_steps) is not int or not all(type(log.get("step")) is int for log in state.log_history):
            raise ValueError("no steps in it")
        kept = state.stateful_callbacks[LOSSES]["attributes"]["kept"]
        if type(kept["total"]) is not float or type(kept["logged"]) is not int:
            raise ValueError("no losses in it")
    except BROKEN as error:
        raise _broken(path, error, folder.parent) from None
    return state
