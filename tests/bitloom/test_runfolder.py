# SPDX-License-Identifier: Apache-2.0
"""The run folder and its record: whose it is, of which version, in use by whom, and what may lie in it."""

import json
import os
import subprocess
import sys

import pytest
from small_runs import RECIPE, make, raised

from bitloom.errors import RunError
from bitloom.runfolder import RunFolder

DONE = {"done": True, "inputs": {}, "options": {}, "seconds": 1.5, "files": "0" * 64}


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({}, "stages: got nothing, must be given"),
        ({"stages": 3}, "stages: got 3, must be a mapping of keys"),
        ({"stages": {"train": 3}}, "stages.train: got 3, must be a stage's record"),
        ({"stages": {"train": {}}}, "stages.train: got {}, must be a stage's record"),
        ({"stages": {"train": {"done": []}}}, "stages.train: got {'done': []}, must be a stage's record"),
        ({"stages": {"train": {"done": True}}}, "stages.train.inputs: got nothing, must be given"),
        ({"stages": {"train": DONE | {"options": None}}}, "stages.train.options: got None, must be a mapping of keys"),
        ({"stages": {"train": DONE | {"inputs": {"data": 1}}}}, "stages.train.inputs.data: got 1, must be a text"),
        ({"stages": {"train": DONE | {"seconds": float("nan")}}}, "stages.train.seconds: got nan, must be a finite number"),
        ({"stages": {"train": DONE | {"files": "\x1b[2J"}}}, "stages.train.files: got '\\x1b[2J', must be an absolute path, or a digest"),
        ({"stages": {"\x1b[2J": DONE}}, "stages.\\x1b[2J: got '\\x1b[2J', must be 'train', 'export', "),
        ({"stages": {}, "data_dir": 5}, "data_dir: got 5, must be a text"),
        ({"stages": {}, "data_dir": "/a\0"}, "data_dir: got '/a\\x00', must be an absolute path, or a digest"),
        ({"stages": {}, "more": 5}, "more: got 5, must be left out"),
    ],
)
def test_a_run_json_of_other_types_is_refused_and_the_field_named(tmp_path, state, expected):
    (tmp_path / "run.json").write_text(json.dumps({"schema": "bitloom.run/2"} | state))
    text = raised(RunError, RunFolder.open, tmp_path)
    assert text.startswith(f"{tmp_path}/run.json: {expected}") and text.endswith("; use a new folder (`bitloom run RECIPE --out DIR`)")


@pytest.mark.parametrize("text", ["", "[" * 200_000, '{"schema": ' + "9" * 5000 + "}", '"\ud800'])
def test_a_run_json_that_is_no_json_is_refused(tmp_path, text):
    (tmp_path / "run.json").write_bytes(text.encode(errors="surrogatepass"))
    assert raised(RunError, RunFolder.open, tmp_path).startswith(f"{tmp_path}/run.json: got text that is not JSON, must be as bitloom wrote it; ")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (".lock", "file"),
        ("recipe.yaml", "file"),
        ("recipe.yaml.tmp", "file"),
        ("run.json.tmp", "file"),
        ("report.html", "file"),
        ("train", "folder"),
        ("export.tmp", "folder"),
        ("verify.failed", "folder"),
        ("hls4ml", "folder"),
        ("hls4ml/build.tmp", "folder"),
        ("train.tmp/checkpoints", "file"),
    ],
)
def test_nothing_is_written_through_a_link_inside_a_run_folder(tmp_path, stages, name, kind):
    other, run = tmp_path / "other", make(tmp_path / "r")
    other.write_text("mine") if kind == "file" else other.mkdir()
    place = run.path / name
    place.parent.mkdir(exist_ok=True)
    place.unlink(missing_ok=True)
    place.symlink_to(other)
    for call in (RunFolder.open, make):
        assert raised(RunError, call, run.path) == f"{place}: got a link, must be a {kind} of the run's own; remove it"
    assert other.read_text() == "mine" if kind == "file" else not any(other.iterdir())
    if name != "train.tmp/checkpoints":
        place.unlink()
        place.mkdir() if kind == "file" else place.touch()
        assert raised(RunError, RunFolder.open, run.path) == f"{place}: got what is none, must be a {kind} of the run's own; remove it"


def test_a_lock_that_is_another_file_too_is_refused(tmp_path):
    run, other = make(tmp_path / "r"), tmp_path / "other"
    for name in ("recipe.yaml.tmp", ".lock"):
        other.write_text("mine")
        (run.path / name).hardlink_to(other)
        if name != ".lock":
            make(run.path)
            assert other.read_text() == "mine"
    assert raised(RunError, RunFolder.open, run.path) == f"{run.path}/.lock: got a file with another name too, must be the run's own; remove it"


def test_a_run_of_another_version_is_refused(tmp_path, stages):
    run = make(tmp_path / "r")
    state = json.loads((run.path / "run.json").read_text())
    (run.path / "run.json").write_text(json.dumps(state | {"schema": "bitloom.run/0"}))
    expected = (
        f"{run.path}/run.json: got schema 'bitloom.run/0', must be 'bitloom.run/2'; this run is of another version of bitloom, "
        f"make it anew in another folder (`bitloom run {run.path}/recipe.yaml --out DIR`)"
    )
    assert raised(RunError, RunFolder.open, run.path) == expected
    assert raised(RunError, make, run.path) == expected


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    assert raised(RunError, RunFolder.open, tmp_path) == (f"{tmp_path}: got no run.json, must be a run folder; make one with `bitloom run RECIPE`")
    (tmp_path / "thesis.tex").write_text("x")
    assert raised(RunError, make, tmp_path) == f"{tmp_path}: got files that are no run, must be a run folder or empty; use --out DIR"


def test_the_run_of_another_recipe_is_not_written_over(tmp_path, stages):
    make(tmp_path / "r")
    other = RECIPE.replace("small", "other")
    assert raised(RunError, make, tmp_path / "r", text=other) == (
        f"{tmp_path}/r: got the run of recipe 'small', must be of 'other' or new; use --out DIR, or --force to write over it"
    )
    assert make(tmp_path / "r", text=other, force=True).recipe.name == "other"


def test_two_processes_cannot_work_on_one_run(tmp_path):
    run = make(tmp_path / "r")
    code = f"from bitloom.runfolder import RunFolder\nwith RunFolder.open({str(run.path)!r}).locked():\n    print('locked', flush=True)\n    input()"
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    ) as other:
        assert other.stdout.readline() == "locked\n"
        with pytest.raises(RunError) as error, run.locked():
            pass
        assert str(error.value) == f"{run.path}: got a run in use by process {other.pid}, must be free; wait for it to end"
        other.communicate("\n")
    with run.locked():
        assert (run.path / ".lock").read_text() == f"{os.getpid()}\n"
