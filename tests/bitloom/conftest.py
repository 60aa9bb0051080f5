# SPDX-License-Identifier: Apache-2.0
"""One whole run of the smallest recipe, made once a session, for all its workers; tests that change it take a copy."""

import fcntl
import os
import shutil
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest

from bitloom import Recipe, RunFolder, flow, run_flow
from bitloom.cli import main

TINY = Path(__file__).parents[1] / "tiny.yaml"


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory) -> Path:
    """The finished run; do not change it. The first worker that asks makes it, the others wait for it."""
    common = tmp_path_factory.getbasetemp()
    common = common.parent if "PYTEST_XDIST_WORKER" in os.environ else common
    path = common / "runs" / "tiny"
    with open(common / "tiny.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (path / "report.html").is_file():
            recipe = Recipe.load(TINY)
            run = RunFolder.create(path, recipe)
            with run.locked(), warnings.catch_warnings(action="ignore"):  # some sentences are cut, on purpose
                run.adopt(recipe, data_dir=None)
                run_flow(run)
    return path


@pytest.fixture
def tiny_copy(tiny_run, tmp_path) -> Path:
    """A copy of the finished run, to be broken."""
    return Path(shutil.copytree(tiny_run, tmp_path / "tiny"))


@pytest.fixture
def bitloom(capsys):
    """Run the command line: (exit code, stdout, stderr)."""

    def call(*argv: str | Path) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main([str(a) for a in argv])
        out, err = capsys.readouterr()
        return end.value.code or 0, out, err

    return call


@pytest.fixture
def stages(monkeypatch):
    """Stages that write the seed and what they read; `ran` lists those that ran, `act[name]` is called inside one."""
    ran, act = [], {}

    def stage(name):
        def run(context):
            ran.append(name)
            act.get(name, lambda context: None)(context)
            for file in ("report.json", "report.html") if name == "report" else ("files.txt",):
                before = [context.run.digest(s) for s in flow.STAGES[name].after]
                (context.out / file).write_text(f"{name} {context.recipe.training.seed} {before}\n")
            return "fine"

        return SimpleNamespace(run=run)

    monkeypatch.setattr(flow, "import_module", lambda path: stage(path.rpartition(".")[2]))
    return SimpleNamespace(ran=ran, act=act)
