# SPDX-License-Identifier: Apache-2.0
"""Files outside the run folder that a recipe names: whether a value is a path or a name on the hub, where it leads, what it holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitloom.hw.board import FOLDER
from bitloom.hw.errors import BitloomError
from bitloom.qat.data import KNOWN
from bitloom.qat.vocabulary import SETTINGS

if TYPE_CHECKING:
    from bitloom.recipe import Recipe

ENDINGS = (".json", ".txt", ".gz", ".model", ".safetensors", ".yaml", ".yml")  # of files that are read
BESIDE = (*SETTINGS, "merges.txt")  # a vocabulary's file
KEYS = ("model.checkpoint", "data.name", "data.vocab", "training.distill.teacher", "hardware.board")


class SourceError(BitloomError):
    """A path that leads nowhere."""


def paths(recipe: Recipe, data_dir: Path | None) -> dict[str, Path]:
    """The keys whose values are files or folders, and where these are or should be; a name on the hub, or of a board, is none.

    data_dir  with it, data.name is a folder in there, which is no file of the recipe's own
    """
    others = [f"compression.{i}.{key}" for i, entry in enumerate(recipe.compression) for key in ("teacher", "ternary") if hasattr(entry, key)]
    values = {key: _get(recipe, key) for key in (*KEYS, *others) if not (key == "data.name" and data_dir)}
    return {key: Path(value).expanduser().absolute() for key, value in values.items() if isinstance(value, str) and _is_path(key, value)}


def require(recipe: Recipe, data_dir: Path | None) -> None:
    """Raise SourceError where nothing is at a place that is written as a path: it is never asked of the hub."""
    for key, path in paths(recipe, data_dir).items():
        if not path.exists():
            raise SourceError(f"{key}: got '{_get(recipe, key)}', must be a file or folder that is there (looked for {path}); check the path")


def resolved(recipe: Recipe, data_dir: Path | None) -> Recipe:
    """The same recipe with its paths absolute: they lead to the same files from wherever the next command is typed.

    Raises SourceError: as `require`.
    """
    require(recipe, data_dir)
    for key, path in paths(recipe, data_dir).items():
        recipe = _with(recipe, key.split("."), str(path))
    return recipe


def require_absolute(recipe: Recipe, data_dir: Path | None, where: Path) -> None:
    """Raise SourceError where a run's own recipe has a path, written or found, that leads elsewhere from another working folder."""
    for key in paths(recipe, data_dir):
        if not Path(value := _get(recipe, key)).is_absolute():
            got = "a relative path" if _written(key, value) else "a name that is a file or folder here too"
            raise SourceError(f"{where}: {key}: got '{value}', {got}, must mean the same from every working folder; write the path out or go to another folder")


def board_file(board: str) -> Path:
    """Where a board's figures are read: a path, or the name of one of bitloom's own."""
    return Path(board) if _is_path("hardware.board", board) else FOLDER / f"{board}.yaml"


def files(key: str, path: Path) -> list[Path]:
    """What is read at a path of the recipe's: the file (and what says more of a vocabulary), a data set's whole folder, or what stands in a checkpoint's."""
    if path.is_file():
        return [path, *(f for name in BESIDE if key == "data.vocab" and (f := path.with_name(name)).is_file())]
    inside = path.rglob("*") if key == "data.name" else (f for f in path.glob("*") if f.suffix in ENDINGS)
    return sorted(f for f in inside if f.is_file())


def _is_path(key: str, value: str) -> bool:
    """As it is written, or because it is there; a hub name has at most one slash, a board's and the own teacher's none."""
    if key == "hardware.board":
        return _written(key, value)
    named = key == "data.name" and value in KNOWN or key.endswith(".teacher") and value == "float"
    return not named and (_written(key, value) or Path(value).exists())


def _written(key: str, value: str) -> bool:
    slashes = 0 if key == "hardware.board" else 1
    return value.startswith((".", "/", "~")) or value.endswith(("/", *ENDINGS)) or value.count("/") > slashes


def _get(settings: Any, key: str) -> Any:
    for name in key.split("."):
        settings = settings[int(name)] if name.isdigit() else getattr(settings, name, None)
    return settings


def _with(settings: Any, names: list[str], value: str) -> Any:
    first, *rest = names
    if first.isdigit():
        return tuple(_with(each, rest, value) if i == int(first) else each for i, each in enumerate(settings))
    return settings.model_copy(update={first: _with(getattr(settings, first), rest, value) if rest else value})
