# SPDX-License-Identifier: Apache-2.0
"""Files that a recipe names: they count as inputs, wherever the command is typed, and are never asked of the hub."""

import http.server
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from small_runs import make, raised

from bitloom import flow
from bitloom.errors import RunError
from bitloom.sources import SourceError


def override(key: str, value: str) -> str:
    """As `--set` has it; an entry of a list is given with the list."""
    return f"compression=[{{method: logits, teacher: {value}}}]" if key.startswith("compression.") else f"{key}={value}"


@pytest.mark.parametrize(
    ("key", "file"),
    [
        ("model.checkpoint", "ck/model.safetensors"),
        ("model.checkpoint", "ck/tokenizer.json"),
        ("data.vocab", "vocab.txt"),
        ("data.vocab", "tokenizer_config.json"),
        ("training.distill.teacher", "ck/model.safetensors"),
        ("compression.0.teacher", "ck/float.json"),
        ("data.name", "set/train.csv"),
        ("data.name", "set/more/train.csv"),
        ("hardware.board", "boards/mine.yaml"),
    ],
)
def test_every_file_that_a_recipe_names_counts_as_an_input(tmp_path, stages, monkeypatch, key, file):
    monkeypatch.chdir(tmp_path)
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    Path(file).write_text("a")
    if key == "data.vocab":
        Path("vocab.txt").touch()
    named = {"data.vocab": "vocab.txt", "hardware.board": file}.get(key) or file.partition("/")[0]
    run = make(tmp_path / "r", override(key, named))
    first = "build" if key == "hardware.board" else "train"
    flow.run_flow(run)
    monkeypatch.chdir("/")  # the paths still lead there
    stages.ran.clear()
    flow.run_flow(run)
    assert stages.ran == []
    (tmp_path / file).write_text("b")
    assert f"'{first}' of other inputs (files of {key} changed since)" in raised(RunError, flow.require_current, run, "report")
    flow.run_flow(run)
    assert stages.ran[0] == first
    if file == "tokenizer_config.json":  # the vocabulary is there, and says otherwise now
        return
    (tmp_path / file).unlink()  # nothing else is known of it
    stages.ran.clear()
    flow.run_flow(run)
    assert stages.ran == []


def test_the_file_of_a_board_given_to_build_counts_as_an_input(tmp_path, stages):
    board = tmp_path / "mine.yaml"
    board.write_text("a")
    run = flow.run_flow(make(tmp_path / "r"))
    flow.run_stage(run, "build", options={"board": str(board)})
    assert not flow.run_stage(run, "build")
    board.write_text("b")
    assert flow.run_stage(run, "build")


def test_paths_are_resolved_when_the_recipe_is_adopted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ck").mkdir()
    (tmp_path / "float").mkdir()  # the own teacher's name all the same
    (tmp_path / "vocab.txt").write_text("a")
    methods = "compression=[{method: depth, keep: 1}, {method: logits, teacher: ck}, {method: hidden_states, teacher: float}]"
    overrides = ["model.checkpoint=ck", "data.vocab=./vocab.txt", "training.distill.teacher=float", methods]
    recipe = make(tmp_path / "r", *overrides).recipe
    assert [getattr(entry, "teacher", None) for entry in recipe.compression] == [None, f"{tmp_path}/ck", "float"]
    assert (recipe.model.checkpoint, recipe.data.vocab, recipe.training.distill.teacher) == (f"{tmp_path}/ck", f"{tmp_path}/vocab.txt", "float")
    assert make(tmp_path / "s", "model.checkpoint=google/bert_uncased").recipe.model.checkpoint == "google/bert_uncased"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model.checkpoint", "./ck"),
        ("model.checkpoint", "a/b/c"),
        ("data.vocab", "v.txt"),
        ("training.distill.teacher", "t/"),
        ("compression.0.teacher", "t/"),
        ("data.name", "/x"),
    ],
)
def test_a_path_that_leads_nowhere_is_never_asked_of_the_hub(tmp_path, monkeypatch, key, value):
    monkeypatch.chdir(tmp_path)
    assert raised(SourceError, make, tmp_path / "r", override(key, value)) == (
        f"{key}: got '{value}', must be a file or folder that is there (looked for {tmp_path / value}); check the path"
    )


@pytest.mark.parametrize(
    ("value", "got"),
    [("./ck", "a relative path"), ("~/ck", "a relative path"), ("org/model", "a name that is a file or folder here too")],
)
def test_a_runs_own_recipe_means_the_same_from_every_folder(tmp_path, stages, monkeypatch, value, got):
    """Neither a path that was written into it later, nor a hub name that is also a folder where the command is typed, is read from there."""
    monkeypatch.chdir(tmp_path)
    run = make(tmp_path / "r", "model.checkpoint=org/model")
    file = run.path / "recipe.yaml"
    file.write_text(file.read_text().replace("org/model", value))
    (tmp_path / "org" / "model").mkdir(parents=True)
    for name in ("train", "build"):
        assert raised(SourceError, flow.run_stage, run, name) == (
            f"{file}: model.checkpoint: got '{value}', {got}, must mean the same from every working folder; write the path out or go to another folder"
        )
    assert stages.ran == []


def test_with_hf_hub_offline_nothing_is_asked_of_the_hub(tmp_path):
    asked = []

    class Hub(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

        do_HEAD = do_POST = do_GET

        def log_message(self, *_):
            pass

    (tmp_path / "r.yaml").write_text("name: small\nmodel: {checkpoint: org/none}\ndata: {name: reviews}\nhardware: {target_cycles: 5000}\n")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        hub = {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")}
        env = {**os.environ, **hub, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        done = subprocess.run(
            [sys.executable, "-m", "bitloom", "run", "r.yaml"], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120, check=False
        )
        server.shutdown()
    assert done.returncode == 2 and "tokenizer: got 'org/none', must be a file, a folder or a hub name" in done.stderr and asked == []
