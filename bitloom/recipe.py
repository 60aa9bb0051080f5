# SPDX-License-Identifier: Apache-2.0
"""A recipe: one YAML file that says everything about a run. Strict: whatever it does not know is an error."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, Field, ValidationError, field_validator

from bitloom import recipes
from bitloom.hw import yaml_file
from bitloom.hw.errors import BitloomError
from bitloom.hw.plan.solve import HardwareConfig
from bitloom.hw.settings import Strict, did_you_mean, rule
from bitloom.qat.config import MAX_SEED, QuantConfig, TrainConfig
from bitloom.qat.data import DataConfig
from bitloom.qat.methods import Compression
from bitloom.qat.networks import KIND, MODELS, Model, ModelConfig, model_kind
from bitloom.qat.search.config import SearchConfig
from bitloom.text import LONGEST, printable, shown


class RecipeError(BitloomError):
    """A recipe that breaks the schema; one line per mistake, each with the file and line."""


MOST_TOLD = 20  # mistakes at once

SHIPPED = Path(recipes.__file__).parent


def shipped() -> dict[str, Path]:
    """The recipes that come with bitloom, by name: the general ones, then those in folders."""
    return {path.stem: path for path in sorted(SHIPPED.rglob("*.yaml"), key=lambda path: (len(path.parts), path))}


def title(path: Path) -> str:
    """What a recipe says of itself: the first line of comment after the licence's."""
    comments = (line[1:].strip() for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#"))
    return next((line for line in comments if not line.startswith("SPDX-")), "")


def find(name: str) -> Path:
    """A recipe's file: a path, or the name of a shipped one where no such file exists.

    Raises RecipeError: neither, with the nearest name.
    """
    path = Path(name)
    if os.path.isfile(name) or path.suffix in (".yaml", ".yml") or "/" in name:
        return path
    if name not in (known := shipped()):
        raise RecipeError(f"recipe: got {shown(name)}, must be a YAML file or one of bitloom's own; {did_you_mean(name, known)}")
    return known[name]


class VerificationSection(Strict):
    """How much is simulated and compared. Sentences are drawn from the development split, spread over its lengths."""

    sentences: int = Field(32, ge=1)  # back to back in one simulation, every tensor compared, cycles measured
    stall_sentences: int = Field(8, ge=0)  # again with random gaps at the input and a slow reader at the output
    reference_sentences: int = Field(200, ge=1)  # Brevitas float64 = golden = ONNX Runtime, every tensor
    seed: int = Field(0, ge=0, le=MAX_SEED)
    workers: int = Field(1, ge=1, le=4096)  # simulations at once
    cluster: str | None = None  # address of a Ray cluster for them ("local": one on this machine); None: processes of this machine


class Recipe(Strict):
    """The whole file. `name` names the default run folder, the graph and the report."""

    name: str
    model: Model = ModelConfig()
    data: DataConfig
    quantization: QuantConfig = QuantConfig()
    training: TrainConfig = TrainConfig()
    compression: Compression = ()
    hardware: HardwareConfig
    search: SearchConfig = SearchConfig()
    verification: VerificationSection = VerificationSection()

    @field_validator("name")
    @classmethod
    def _a_folder_name(cls, name: str) -> str:
        if not re.fullmatch(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{LONGEST - 1}}}", name):
            raise ValueError(f"got {shown(name)}, must be letters, digits, '-', '_' and '.', at most {LONGEST}; it names the run folder")
        return name

    @classmethod
    def load(cls, path: Path | str, overrides: list[str] | None = None) -> Recipe:
        """Read a YAML file.

        overrides  "section.key=value" texts, as `--set` gives them; the value is read as YAML
        Raises RecipeError: no such file, not YAML, unknown keys, values out of range.
        """
        try:
            text = yaml_file.read(Path(path), "YAML file")
        except yaml_file.YamlError as error:
            raise RecipeError(str(error)) from error
        return cls.parse(text, str(path), overrides)

    @classmethod
    def parse(cls, text: str, where: str, overrides: list[str] | None = None) -> Recipe:
        """As `load`, from text; `where` stands for the file in messages."""
        source = _Source.parse(text, where)
        for override in overrides or []:
            source.set(override)
        if unknown := list(source.unknown_keys(cls, source.data, ())):
            raise RecipeError(_told(unknown))
        try:
            return cls.model_validate(source.data)
        except ValidationError as errors:
            raise RecipeError(_told([source.explain(e) for e in errors.errors()])) from errors

    def dump(self) -> str:
        """The resolved recipe as YAML: what was left out is written out; `parse` reads it back to an equal recipe."""
        return yaml.safe_dump(self.model_dump(mode="json", exclude_none=True), sort_keys=False, allow_unicode=True)


class _Source:
    """A YAML mapping that knows the line of each key."""

    def __init__(self, data: dict, lines: dict[tuple, str]):
        self.data, self._lines = data, lines

    @classmethod
    def parse(cls, text: str, where: str) -> _Source:
        try:
            data, lines = yaml_file.parse(text, where)
        except yaml_file.YamlError as error:
            raise RecipeError(str(error)) from error
        if not isinstance(data, dict):
            got = "an empty file" if data is None else type(data).__name__
            raise RecipeError(f"{where}: got {got}, must be a mapping of sections; see README.md, Recipes")
        return cls(data, lines)

    def set(self, override: str) -> None:
        """Apply one "a.b=value"."""
        key, equals, value = override.partition("=")
        path = tuple(key.strip().split("."))
        if not equals or not all(path) or len(path) > yaml_file.DEEPEST:
            raise RecipeError(f"--set: got {shown(override)}, must be section.key=value; e.g. --set training.seed=1")
        try:
            parsed, _ = yaml_file.parse(value, f"--set {key}", "a YAML value; quote it", numbered=False)
        except yaml_file.YamlError as error:
            raise RecipeError(str(error)) from error
        at = self.data
        for name in path[:-1]:
            at = at.setdefault(name, {})
            if not isinstance(at, dict):
                raise RecipeError(f"--set {key}: got a path through '{name}', must lead through sections; check the dots")
        at[path[-1]] = parsed
        for depth in range(1, len(path) + 1):  # a section that the file has keeps its line
            self._lines.setdefault(path[:depth], f"--set {override[:LONGEST]}")
        self._lines[path] = f"--set {override[:LONGEST]}"

    def at(self, loc: tuple) -> str:
        """File and line of the nearest enclosing key that the source has."""
        while loc not in self._lines:
            loc = loc[:-1]
        return self._lines[loc]

    def unknown_keys(self, model: type[BaseModel], data: dict, loc: tuple):
        """One message for each key, at any depth, that the schema does not have."""
        for key, value in data.items():
            here = (*loc, key)
            if key not in model.model_fields:
                kind = "key" if loc else "section"
                prefix = f"{'.'.join(map(str, loc))}: " if loc else ""
                yield f"{self.at(here)}: {prefix}no {kind} '{printable(key)[:LONGEST]}'; {did_you_mean(key, model.model_fields)}"
                continue
            if isinstance(value, dict) and (inner := _section(model.model_fields[key].annotation, value)):
                yield from self.unknown_keys(inner, value, here)

    def explain(self, error: dict) -> str:
        """One of pydantic's errors in house style."""
        loc = tuple(p for p in error["loc"] if not (isinstance(p, str) and p.startswith(("function-", KIND))))
        name = ".".join(map(str, loc))
        message = error["msg"].removeprefix("Value error, ")
        if error["type"] == "value_error":  # ours: already in house style, and it names the key below the section
            message = message.removeprefix(f"{name}: ")
            link = "." if _starts_with_key(message) else ": "
            return f"{self.at(_longest(loc, message, self._lines))}: {name}{link if name else ''}{message}"
        if error["type"] == "missing":
            return f"{self.at(loc)}: {name}: got nothing, must be given; add '{loc[-1]}:'"
        return f"{self.at(loc)}: {name}: got {shown(error['input'])}, must be {rule(message)}; change it"


def _starts_with_key(message: str) -> bool:
    return re.match(r"[a-z_]+(\[[^]]*\])?(\.[a-z_]+)*: ", message) is not None


def _longest(loc: tuple, message: str, lines: dict) -> tuple:
    """The key that a section's own message begins with, where the source has it: its line is the better one."""
    match = re.match(r"([a-z_]+)(?:\['([^']*)'\](?:\.([a-z_]+))?)?", message)
    more = tuple(g for g in match.groups() if g) if match else ()
    return next((key for n in range(len(more), 0, -1) if (key := (*loc, *more[:n])) in lines), loc)


def _section(annotation: Any, value: dict) -> type[BaseModel] | None:
    """The schema of a section; value: what the file has there."""
    if annotation == Recipe.model_fields["model"].annotation:
        return MODELS[model_kind(value).removeprefix(KIND)]
    for kind in (annotation, *get_args(annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None


def _told(mistakes: list[str]) -> str:
    more = [f"and {len(mistakes) - MOST_TOLD} more mistakes"] if len(mistakes) > MOST_TOLD else []
    return "\n".join(mistakes[:MOST_TOLD] + more)
