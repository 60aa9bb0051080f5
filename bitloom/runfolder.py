# SPDX-License-Identifier: Apache-2.0
"""The run folder: which stages are done, with which inputs, and the rule that a half-written stage never counts."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from bitloom import sources
from bitloom.errors import RunError
from bitloom.hw.settings import rule
from bitloom.recipe import Recipe
from bitloom.stage import STAGES
from bitloom.text import printable, shown

SCHEMA = "bitloom.run/2"
ANEW = "use a new folder (`bitloom run RECIPE --out DIR`)"
FILES = (".lock", "recipe.yaml", "recipe.yaml.tmp", "run.json", "run.json.tmp", "report.json", "report.html")
_OWN_FILES = (".lock", "recipe.yaml", "recipe.yaml.tmp", "run.json.tmp")  # of a run that was killed as it began


Digest = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]


class Record(BaseModel):
    """Values taken as they are, and no others."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Undone(Record):
    """Record of a stage that is to be run again."""

    done: Literal[False]


class Done(Record):
    """Record of a finished stage: hashes of what it read, its options as texts, its run time, and the digest of its files."""

    done: Literal[True]
    inputs: dict[str, str]
    options: dict[str, str]
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    files: Digest


class State(Record):
    """run.json, but for its schema."""

    data_dir: Annotated[str, StringConstraints(pattern=r"^/[^\x00]*$")] | None = None
    stages: dict[Literal[tuple(STAGES)], Annotated[Undone | Done, Field(discriminator="done")]]


class RunFolder:
    """One folder `runs/<name>/`; its layout is in docs/architecture.md.

    `run.json` is the only record of what is done. A stage is marked not done before its old files go and done after the
    new ones are in place, each time in one step, so a kill at any moment leaves it as it was or not done.
    """

    def __init__(self, path: Path, state: dict):
        self.path, self._state = Path(path), state

    @classmethod
    def open(cls, path: Path | str) -> RunFolder:
        """An existing run folder.

        Raises RunError: not a run folder, or one that another version of the tool wrote.
        """
        path = Path(path)
        file = path / "run.json"
        _require_own(path)
        try:
            state = json.loads(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise RunError(f"{path}: got no run.json, must be a run folder; make one with `bitloom run RECIPE`") from error
        except (ValueError, RecursionError) as error:
            raise RunError(f"{file}: got text that is not JSON, must be as bitloom wrote it; {ANEW}") from error
        schema = state.pop("schema", None) if isinstance(state, dict) else None
        if schema != SCHEMA:
            raise RunError(
                f"{file}: got schema {shown(schema)}, must be '{SCHEMA}'; this run is of another version of bitloom, "
                f"make it anew in another folder (`bitloom run {path}/recipe.yaml --out DIR`)"
            )
        try:
            return cls(path, State.model_validate(state).model_dump(exclude_unset=True))
        except ValidationError as errors:
            raise RunError(f"{file}: {_first(errors)}; {ANEW}") from errors

    @classmethod
    def create(cls, path: Path | str, recipe: Recipe, force: bool = False) -> RunFolder:
        """The folder for a recipe, new or from before; nothing is written into it yet but the folder itself.

        Stages done before with the same inputs stay done. A folder that holds the run of a recipe of another name is
        refused unless `force`; one with files that are no run always.
        """
        path = Path(path)
        if (path / "run.json").exists():
            run = cls.open(path)
            if run.recipe.name != recipe.name and not force:
                raise RunError(
                    f"{path}: got the run of recipe '{run.recipe.name}', must be of '{recipe.name}' or new; use --out DIR, or --force to write over it"
                )
            return run
        if path.exists() and (not path.is_dir() or any(f.name not in _OWN_FILES for f in path.iterdir())):
            raise RunError(f"{path}: got files that are no run, must be a run folder or empty; use --out DIR")
        _require_own(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"{path}: got '{error.strerror}', must be a folder that can be made; use --out DIR") from error
        return cls(path, {"stages": {}})

    def adopt(self, recipe: Recipe, data_dir: Path | None) -> None:
        """Write the run's recipe, its paths made absolute, and where its data is. Call it with the folder locked.

        Raises SourceError: a path in the recipe leads nowhere.
        """
        recipe = sources.resolved(recipe, data_dir)
        self._state["data_dir"] = str(Path(data_dir).resolve()) if data_dir else None
        _replace_text(self.path / "recipe.yaml", recipe.dump())
        self._save()

    @property
    def recipe(self) -> Recipe:
        """The run's own copy of the recipe, overrides included. It may be edited: changed stages are redone.

        Raises RecipeError. SourceError: a path in it is not absolute.
        """
        recipe = Recipe.load(self.path / "recipe.yaml")
        sources.require_absolute(recipe, self.data_dir, self.path / "recipe.yaml")
        return recipe

    @property
    def data_dir(self) -> Path | None:
        return Path(self._state["data_dir"]) if self._state.get("data_dir") else None

    def stage(self, name: str) -> Path:
        return self.path / name

    def folder(self, name: str) -> Path:
        """Where a stage's files are; the report's lie in the run folder itself."""
        return self.path if name == "report" else self.stage(name)

    def record(self, name: str) -> dict:
        """{"done", "inputs", "seconds", "files": their digest} of a stage, or {} if it never ran."""
        return self._state["stages"].get(name, {})

    def mark(self, name: str, record: dict | None) -> None:
        """Write that a stage is done (its record), or that it is not (None)."""
        self._state["stages"][name] = {"done": record is not None} | (record or {})
        self._save()

    def is_done(self, name: str) -> bool:
        return bool(self.record(name).get("done")) and all(f.exists() for f in self._files(name))

    def digest(self, name: str) -> str:
        """SHA-256 of a stage's files: names and content."""
        digest = hashlib.sha256()
        folder = self.folder(name)
        files = self._files(name) if name == "report" else folder.rglob("*")
        for file in sorted(p for p in files if p.is_file()):
            digest.update(str(file.relative_to(folder)).encode() + b"\0")
            digest.update(hash_file(file).encode())
        return digest.hexdigest()

    def commit(self, name: str, tmp: Path, record: dict) -> None:
        """Make the files in `tmp` the stage's and the stage done."""
        self.mark(name, None)
        if name == "report":  # its files lie in the run folder itself
            for file in self._files(name):
                os.replace(tmp / file.name, file)
            tmp.rmdir()
        else:
            shutil.rmtree(self.stage(name), ignore_errors=True)
            tmp.rename(self.stage(name))
        self.mark(name, record | {"files": self.digest(name)})

    def _files(self, name: str) -> list[Path]:
        return [self.path / f for f in ("report.json", "report.html")] if name == "report" else [self.stage(name)]

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run alone.

        Raises RunError: another process works on it.
        """
        with open(self.path / ".lock", "a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                lock.seek(0)
                raise RunError(f"{self.path}: got a run in use by process {lock.read().strip() or '?'}, must be free; wait for it to end") from error
            lock.truncate(0)
            lock.write(f"{os.getpid()}\n")
            lock.flush()
            if (self.path / "run.json").exists():  # another process may have written since this one read
                self._state = RunFolder.open(self.path)._state
            yield

    def _save(self) -> None:
        _replace_text(self.path / "run.json", json.dumps({"schema": SCHEMA} | self._state, indent=1) + "\n")


_RULES = {  # pydantic's error types, where its own words are not those of a user
    "missing": "given",
    "extra_forbidden": "left out",
    "union_tag_invalid": "a stage's record",
    "union_tag_not_found": "a stage's record",
    "model_attributes_type": "a stage's record",
    "string_pattern_mismatch": "an absolute path, or a digest",
}


def _first(errors: ValidationError) -> str:
    """The first mistake in run.json, but for what to do."""
    error = errors.errors()[0]
    where = ".".join(str(part) for part in error["loc"] if not isinstance(part, bool | int) and part != "[key]")
    got = "nothing" if error["type"] == "missing" else shown(error["input"])
    return f"{printable(where)}: got {got}, must be {_RULES.get(error['type']) or rule(error['msg'])}"


def _require_own(path: Path) -> None:
    """Refuse a run folder in which a place that is written to leads elsewhere: it may come from somebody else.

    Raises RunError: a link, or a file where a folder belongs, or the reverse.
    """
    folders = [f"{name}{end}" for name in STAGES for end in ("", ".tmp", ".failed") if (name, end) != ("report", "")]
    folders += sorted({name.partition("/")[0] for name in STAGES if "/" in name})
    for names, kind, fits in ((folders, "folder", Path.is_dir), (FILES, "file", Path.is_file)):
        for place in (path / name for name in names):
            if place.is_symlink() or (place.exists() and not fits(place)):
                got = "a link" if place.is_symlink() else "what is none"
                raise RunError(f"{place}: got {got}, must be a {kind} of the run's own; remove it")
    if (lock := path / ".lock").exists() and lock.stat().st_nlink > 1:
        raise RunError(f"{lock}: got a file with another name too, must be the run's own; remove it")
    for stage in STAGES.values():  # a killed attempt is continued there
        for place in (path / f"{stage.name}.tmp").rglob("*") if stage.resumes else ():
            if place.is_symlink():
                raise RunError(f"{place}: got a link, must be a file of the run's own; remove it")


def hash_file(path: Path) -> str:
    """SHA-256 of a file's content. One that nobody touched since it was last read is not read again by the same process."""
    known = os.stat(path)
    state = (known.st_dev, known.st_ino, known.st_size, known.st_mtime_ns, known.st_ctime_ns)
    if (kept := _hashes.get(state)) is None:
        with open(path, "rb") as file:
            kept = hashlib.file_digest(file, "sha256").hexdigest()
        if time.time_ns() - max(state[3:]) > SETTLED_NS:  # else a change right after this one could carry the same time
            _hashes[state] = kept
    return kept


_hashes: dict[tuple[int, ...], str] = {}
SETTLED_NS = 2_000_000_000


def _replace_text(path: Path, text: str) -> None:
    """Write so that a reader, or a kill, sees the old text or the new one, never a part."""
    tmp = path.with_name(path.name + ".tmp")
    tmp.unlink(missing_ok=True)
    tmp.write_text(text, encoding="utf-8")
    os.replace(tmp, path)
