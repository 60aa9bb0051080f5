# SPDX-License-Identifier: Apache-2.0
"""Running the stages in order, and when each of them has to run (bitloom/stage.py lists them)."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

from bitloom import sources
from bitloom.errors import DiskFullError, RunError, VerificationError, is_disk_full
from bitloom.hw import graph_file
from bitloom.hw.errors import BitloomError
from bitloom.hw.graph import Graph
from bitloom.hw.plan.folding import Folding
from bitloom.recipe import Recipe
from bitloom.runfolder import RunFolder, hash_file
from bitloom.sentences import Dev, load_dev
from bitloom.stage import CORE, NO, OPTIONS, STAGES, Stage


@dataclass(frozen=True, kw_only=True)
class Context:
    """What a stage's `run(context)` gets; what earlier stages made is read when it is first asked for.

    out       empty folder to write into (train: perhaps with an earlier attempt's checkpoints)
    progress  progress(fraction 0 .. 1 or None if unknown, text) shows where the stage is
    waves     verify: leave a waveform too
    options   values of the stage's options, as texts
    """

    run: RunFolder
    recipe: Recipe
    out: Path
    progress: Callable[[float | None, str], None]
    waves: bool = False
    options: dict[str, str] = field(default_factory=dict)

    def option(self, name: str, default: Any = None) -> Any:
        """An option's value."""
        return OPTIONS[name].value(self.options[name]) if name in self.options else default

    @cached_property
    def graph(self) -> Graph:
        """The exported integer graph."""
        return graph_file.load(self.run.stage("export"))

    @cached_property
    def folding(self) -> Folding:
        """What the RTL was built with."""
        return Folding.load(self.run.stage("build") / "folding.json")

    @cached_property
    def dev(self) -> Dev:
        """The development split as export's tokenizer reads it."""
        return load_dev(self.recipe, self.run.data_dir, self.run.stage("export"))


@dataclass
class Watcher:
    """Called as stages begin, move and end; the command line shows them, a library user may ignore them."""

    began: Callable[[Stage], None] = lambda stage: None
    progress: Callable[[float | None, str], None] = lambda fraction, text: None
    ended: Callable[[Stage, float | None, str], None] = field(default=lambda stage, seconds, text: None)


def run_flow(run: RunFolder, *, force: bool = False, watcher: Watcher | None = None) -> RunFolder:
    """All stages of the RTL flow in order; those that are done with unchanged inputs are skipped."""
    for name in CORE:
        run_stage(run, name, force=force, watcher=watcher)
    return run


def run_stage(
    run: RunFolder,
    name: str,
    *,
    force: bool = False,
    waves: bool = False,
    options: dict[str, str] | None = None,
    watcher: Watcher | None = None,
) -> bool:
    """One stage; False if it was skipped because it is done and its inputs are unchanged.

    options  values of the stage's options; those that are not given are taken from the last time

    Raises RunError: an earlier stage is missing or stale. DiskFullError. VerificationError: the stage's checks failed;
    what it wrote stays in `<stage>.failed`.
    """
    stage, watcher, recipe = STAGES[name], watcher or Watcher(), run.recipe
    for earlier in stage.after:
        require_current(run, earlier, recipe, wanted_by=name, whole=earlier not in stage.judges)
    options = _options(run, stage, options)
    inputs = _inputs(run, stage, recipe, options)
    if not (force or waves) and run.is_done(name) and run.record(name)["inputs"] == inputs and (stage.resumes or _whole(run, name)):
        _require_whole(run, stage, wanted_by=name)
        watcher.ended(stage, None, "unchanged")
        return False
    watcher.began(stage)
    began = time.monotonic()
    tmp = run.path / f"{name}.tmp"
    try:
        _prepare(run, stage, tmp, inputs, force)
        context = Context(run=run, recipe=recipe, out=tmp, progress=watcher.progress, waves=waves, options=options)
        with _damage_told(run, stage):
            text = import_module(f"bitloom.stages.{name.replace('/', '_')}").run(context)
        (tmp / _INPUTS).unlink(missing_ok=True)
        seconds = time.monotonic() - began
        run.commit(name, tmp, {"inputs": inputs, "options": options, "seconds": round(seconds, 1)})
    except BaseException as error:
        _clean_up(run, stage, tmp, error)
        raise
    watcher.ended(stage, seconds, text)
    return True


def require_current(run: RunFolder, name: str, recipe: Recipe | None = None, wanted_by: str = "predict", whole: bool = True) -> None:
    """Raise RunError unless the stage and all before it are done, belong together and have the files that they wrote.

    whole  False: the stage's own files may be others, as who asks finds that out
    """
    stage, recipe = STAGES[name], recipe or run.recipe
    for earlier in stage.after:
        require_current(run, earlier, recipe, wanted_by)
    if not run.is_done(name):
        raise RunError(f"{wanted_by}: got {run.path} without a finished '{name}', must come after it; run `{stage.command(run.path)}`")
    old, new = run.record(name)["inputs"], _inputs(run, stage, recipe, run.record(name).get("options", {}))
    changed = sorted(key for key in old | new if old.get(key) != new.get(key))
    if not changed:
        if whole:
            _require_whole(run, stage, wanted_by)
        return
    if "files of train" in changed:
        raise RunError(
            f"{wanted_by}: got a checkpoint {run.path}/train of hash {new['files of train'][:16]}, must be "
            f"{old['files of train'][:16]}, that of the graph; put it back or run `bitloom export {run.path}`"
        )
    raise RunError(f"{wanted_by}: got a '{name}' of other inputs ({', '.join(changed)} changed since), must be of these; run `{stage.command(run.path)}`")


def is_current(run: RunFolder, name: str) -> bool:
    """Whether a stage is done and belongs to what is there now."""
    try:
        require_current(run, name)
    except RunError:
        return False
    return True


def _options(run: RunFolder, stage: Stage, given: dict[str, str] | None) -> dict[str, str]:
    """The stage's options: as given, else as the last time.

    Raises RunError: one that must be was never given.
    """
    known = run.record(stage.name).get("options", {}) | (given or {})
    known = {key: value for key, value in known.items() if value != NO}
    for key in stage.options:
        if key not in known:
            raise RunError(f"{stage.name}: got no {key}, must be given once; `{stage.command(run.path)} --{key} {OPTIONS[key].hint}")
    return {key: known[key] for key in stage.takes if key in known}


def _whole(run: RunFolder, name: str) -> bool:
    """Whether the stage's files are still those it wrote."""
    return run.record(name)["files"] == run.digest(name)


def _require_whole(run: RunFolder, stage: Stage, wanted_by: str) -> None:
    """Raise RunError where a finished stage's files are not as it wrote them.

    `bitloom run` makes such a stage anew, but for training, whose hours are not spent again unless --force says so.
    """
    if not _whole(run, stage.name):
        again = f"{stage.command(run.path)}{' --force' if stage.resumes else ''}"
        raise RunError(
            f"{wanted_by}: got files of '{stage.name}' in {run.folder(stage.name)} that changed since it wrote them, must be whole; "
            f"put them back or run `{again}`"
        )


@contextmanager
def _damage_told(run: RunFolder, stage: Stage) -> Iterator[None]:
    """Where the body fails on something unforeseen, look first whether files that it was to judge cannot even be read.

    Raises RunError: a judged stage's files were changed, cut or removed since.
    """
    try:
        yield
    except BitloomError:
        raise
    except Exception as error:
        for name in stage.judges:
            if not _whole(run, name):
                reason = (str(error).splitlines() or [""])[0]
                raise RunError(
                    f"{run.stage(name)}: got files that changed since '{name}' wrote them ({type(error).__name__}: {reason}), "
                    f"must be whole; run `{STAGES[name].command(run.path)}`"
                ) from error
        raise


_INPUTS = ".inputs"  # in `<stage>.tmp`: the inputs of the attempt that wrote it


def _inputs(run: RunFolder, stage: Stage, recipe: Recipe, options: dict[str, str]) -> dict[str, str]:
    """All that determines a stage's files, each part under the name that a message calls it by."""
    values = recipe.model_dump(mode="json", exclude={"verification": {"workers", "cluster"}})  # where it is done changes nothing
    if recipe.data.first_share is None:
        del values["data"]["first_share"]  # runs from before there was one stay done
    parts = {key: _hash(values[key]) for key in stage.sections if key != "compression" or values[key]}  # runs from before there was one stay done
    if "data" in stage.sections and run.data_dir:
        parts["data files"] = _hash({str(f.relative_to(run.data_dir)): hash_file(f) for f in _data_files(run, recipe)})
    parts |= _sources(run, stage, recipe, options)
    read = (*stage.after, *(name for name in stage.also if is_current(run, name)))
    return parts | options | {f"files of {name}": run.digest(name) for name in read} | {"version": str(stage.version)}


def _sources(run: RunFolder, stage: Stage, recipe: Recipe, options: dict[str, str]) -> dict[str, str]:
    """Hashes of the files that the recipe and the options name; those of one that is gone are as they were: nothing else is known of it."""
    found = {key: path for key, path in sources.paths(recipe, run.data_dir).items() if key.partition(".")[0] in stage.sections}
    if board := options.get("board") or ("hardware" in stage.sections and recipe.hardware.board):
        found["hardware.board"] = sources.board_file(board)
    parts, was = {}, run.record(stage.name).get("inputs", {})
    for key, path in found.items():
        files = {str(f.relative_to(path.parent)): hash_file(f) for f in sources.files(key, path)}
        parts[f"files of {key}"] = _hash(files) if files else was.get(f"files of {key}", "")
    return parts


def _data_files(run: RunFolder, recipe: Recipe) -> list[Path]:
    folder = run.data_dir / recipe.data.name
    folder = folder if folder.is_dir() else run.data_dir
    return sorted(f for f in folder.glob("*") if f.is_file())


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _prepare(run: RunFolder, stage: Stage, tmp: Path, inputs: dict, force: bool) -> None:
    """Make `tmp`, empty unless an earlier attempt at the same inputs can be continued."""
    mark, text = tmp / _INPUTS, _hash(inputs)
    if not (stage.resumes and not force and mark.exists() and mark.read_text() == text):
        shutil.rmtree(tmp, ignore_errors=True)
        tmp.mkdir(parents=True)
        if stage.resumes:
            mark.write_text(text)
    shutil.rmtree(run.path / f"{stage.name}.failed", ignore_errors=True)


def _clean_up(run: RunFolder, stage: Stage, tmp: Path, error: BaseException) -> None:
    full = is_disk_full(error, run.path)
    if isinstance(error, VerificationError):
        run.mark(stage.name, None)  # an earlier pass with the same inputs no longer stands
        tmp.rename(run.path / f"{stage.name}.failed")
    elif not stage.resumes:
        shutil.rmtree(tmp, ignore_errors=True)
    if full:
        raise DiskFullError(
            f"{stage.name}: got a full disk at {run.path}, must have room for the stage's files; free some "
            "and run the same command again (finished stages are kept)"
        ) from error
