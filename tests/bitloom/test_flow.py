# SPDX-License-Identifier: Apache-2.0
"""The rules of the run folder, with stages that only write a file: what is skipped, redone, kept and refused."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from bitloom import flow
from bitloom.errors import DiskFullError, RunError, VerificationError
from bitloom.recipe import Recipe
from bitloom.runfolder import RunFolder
from bitloom.sources import SourceError

RECIPE = """\
name: small
data: {name: reviews}
hardware: {target_cycles: 5000}
"""


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


def make(path: Path, *overrides: str, text: str = RECIPE, force: bool = False) -> RunFolder:
    recipe = Recipe.parse(text, "r.yaml", list(overrides))
    run = RunFolder.create(path, recipe, force=force)
    run.adopt(recipe, None)
    return run


def raised(error: type[Exception], call, *args, **kwargs) -> str:
    with pytest.raises(error) as caught:
        call(*args, **kwargs)
    return str(caught.value)


def test_all_stages_run_once_and_are_skipped_when_nothing_changed(tmp_path, stages):
    flow.run_flow(make(tmp_path / "r"))
    assert stages.ran == ["train", "export", "build", "verify", "report"]
    stages.ran.clear()
    flow.run_flow(make(tmp_path / "r"))
    assert stages.ran == []
    assert sorted(p.name for p in (tmp_path / "r").iterdir()) == [
        "build",
        "export",
        "recipe.yaml",
        "report.html",
        "report.json",
        "run.json",
        "train",
        "verify",
    ]


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("training.seed=3", ["train", "export", "build", "verify", "report"]),
        ("hardware.target_cycles=100", ["build", "report"]),  # here the same files come out of build, so verify stands
        ("verification.sentences=4", ["export", "verify"]),
    ],
)
def test_a_change_runs_only_what_depends_on_it(tmp_path, stages, override, expected):
    flow.run_flow(make(tmp_path / "r"))
    stages.ran.clear()
    flow.run_flow(make(tmp_path / "r", override))
    assert stages.ran == expected


def test_force_runs_a_finished_stage_again(tmp_path, stages):
    run = flow.run_flow(make(tmp_path / "r"))
    stages.ran.clear()
    assert flow.run_stage(run, "build", force=True) and not flow.run_stage(run, "build")
    assert stages.ran == ["build"]


def test_a_stage_whose_files_were_deleted_runs_again(tmp_path, stages):
    run = flow.run_flow(make(tmp_path / "r"))
    (tmp_path / "r" / "report.html").unlink()
    stages.ran.clear()
    flow.run_flow(run)
    assert stages.ran == ["report"]


def test_a_stage_whose_files_were_damaged_runs_again_but_not_training(tmp_path, stages):
    run = make(tmp_path / "r")
    for name in ("train", "export"):
        flow.run_stage(run, name)
    (run.path / "export" / "files.txt").write_text("damaged")
    assert flow.run_stage(run, "export")
    (run.path / "train" / "files.txt").write_text("damaged")
    for asked in ("train", "export"):
        assert raised(RunError, flow.run_stage, run, asked) == (
            f"{asked}: got files of 'train' in {run.path}/train that changed since it wrote them, must be whole; "
            f"put them back or run `bitloom train {run.path} --force`"
        )
    assert flow.run_stage(run, "train", force=True) and not flow.run_stage(run, "train")


@pytest.mark.parametrize("name", ["export", "build", "verify"])
def test_files_of_a_finished_stage_that_changed_are_refused_by_who_reads_them(tmp_path, stages, name):
    run = flow.run_flow(make(tmp_path / "r"))
    (run.path / name / "files.txt").write_text("damaged")
    expected = f"got files of '{name}' in {run.path}/{name} that changed since it wrote them, must be whole; put them back or run `bitloom {name} {run.path}`"
    assert raised(RunError, flow.run_stage, run, "report") == f"report: {expected}"
    assert raised(RunError, flow.require_current, run, name) == f"predict: {expected}"
    flow.run_flow(run)  # made anew
    assert (run.path / name / "files.txt").read_text().startswith(name)


def test_what_judges_files_takes_them_as_they_stand(tmp_path, stages):
    run = flow.run_flow(make(tmp_path / "r"))
    (run.path / "build" / "files.txt").write_text("a fault")
    stages.ran.clear()
    assert flow.run_stage(run, "verify") and stages.ran == ["verify"]
    assert raised(RunError, flow.run_stage, run, "report").startswith("report: got files of 'build'")


def test_an_error_from_damaged_files_names_the_stage_that_wrote_them(tmp_path, stages):
    def read(context):
        raise KeyError("nodes")

    run = make(tmp_path / "r")
    for name in ("train", "export", "build"):
        flow.run_stage(run, name)
    stages.act["verify"] = read
    with pytest.raises(KeyError):  # nothing is damaged: a fault of ours
        flow.run_stage(run, "verify")
    (run.path / "build" / "files.txt").write_text("damaged")
    assert raised(RunError, flow.run_stage, run, "verify") == (
        f"{run.path}/build: got files that changed since 'build' wrote them (KeyError: 'nodes'), must be whole; run `bitloom build {run.path}`"
    )


def test_a_data_file_that_changed_trains_again(tmp_path, stages):
    data = tmp_path / "data"
    data.mkdir()
    (data / "train.tsv").write_text("a")
    recipe = Recipe.parse(RECIPE, "r.yaml")
    run = RunFolder.create(tmp_path / "r", recipe)
    run.adopt(recipe, data)
    flow.run_stage(run, "train")
    assert not flow.run_stage(run, "train")
    (data / "train.tsv").write_text("b")
    assert flow.run_stage(run, "train")


def test_an_interrupted_stage_is_redone_and_earlier_ones_stay(tmp_path, stages):
    def interrupt(context):
        (context.out / "half").write_text("x")
        raise KeyboardInterrupt

    stages.act["export"] = interrupt
    run = make(tmp_path / "r")
    with pytest.raises(KeyboardInterrupt):
        flow.run_flow(run)
    assert not (run.path / "export").exists() and (run.path / "train" / "files.txt").exists()
    stages.act.clear()
    stages.ran.clear()
    flow.run_flow(RunFolder.open(run.path))
    assert stages.ran == ["export", "build", "verify", "report"] and not (run.path / "export" / "half").exists()


def test_training_resumes_from_what_it_left_unless_its_inputs_changed(tmp_path, stages):
    seen = []

    def interrupt(context):
        seen.append((context.out / "checkpoint").exists())
        (context.out / "checkpoint").write_text("x")
        raise KeyboardInterrupt

    stages.act["train"] = interrupt
    for overrides in ([], [], ["training.seed=5"], ["training.seed=5"]):
        with pytest.raises(KeyboardInterrupt):
            flow.run_stage(make(tmp_path / "r", *overrides), "train")
    assert seen == [False, True, False, True]


def test_a_killed_process_leaves_the_earlier_result(tmp_path, stages):
    """Killed between the old files' going and the record: the stage does not count as done."""
    run = flow.run_flow(make(tmp_path / "r"))
    run.mark("build", None)
    stages.ran.clear()
    flow.run_flow(RunFolder.open(run.path))
    assert stages.ran == ["build"]


def test_a_full_disk_is_told_and_earlier_stages_stay(tmp_path, stages):
    def fill(context):
        (context.out / "graph.json").symlink_to("/dev/full")
        (context.out / "graph.json").write_text("x" * 100_000)

    stages.act["export"] = fill
    run = make(tmp_path / "r")
    assert raised(DiskFullError, flow.run_flow, run) == (
        f"export: got a full disk at {run.path}, must have room for the stage's files; free some and run the same command again (finished stages are kept)"
    )
    assert sorted(p.name for p in run.path.iterdir()) == ["recipe.yaml", "run.json", "train"]
    stages.act.clear()
    flow.run_flow(run)


def test_a_failed_verification_is_not_done_and_keeps_its_files(tmp_path, stages):
    run = flow.run_flow(make(tmp_path / "r"))

    def fail(context):
        (context.out / "verify.json").write_text("{}")
        raise VerificationError("verify: tensor x differs")

    stages.act["verify"] = fail
    for _ in range(2):  # the second time it must not count as done either
        assert raised(VerificationError, flow.run_stage, run, "verify", force=True) == "verify: tensor x differs"
        assert (run.path / "verify.failed" / "verify.json").exists()
        assert "verify" in raised(RunError, flow.run_stage, run, "report")


def test_a_stage_needs_those_before_it(tmp_path, stages):
    run = make(tmp_path / "r")
    assert raised(RunError, flow.run_stage, run, "build") == (
        f"build: got {run.path} without a finished 'train', must come after it; run `bitloom train {run.path}`"
    )
    flow.run_stage(run, "train")
    assert raised(RunError, flow.run_stage, run, "verify").endswith(f"run `bitloom export {run.path}`")


def test_a_checkpoint_that_is_not_the_graphs_is_refused(tmp_path, stages):
    run = flow.run_flow(make(tmp_path / "r"))
    was = run.digest("train")
    stages.act["train"] = lambda context: (context.out / "more.txt").write_text("other weights")
    flow.run_stage(run, "train", force=True)
    for stage in ("build", "verify", "report"):
        assert raised(RunError, flow.run_stage, run, stage) == (
            f"{stage}: got a checkpoint {run.path}/train of hash {run.digest('train')[:16]}, must be {was[:16]}, that of the graph; "
            f"put it back or run `bitloom export {run.path}`"
        )
    assert flow.run_stage(run, "export") and flow.run_stage(run, "build")


def test_a_stage_of_an_older_recipe_is_refused_by_later_ones(tmp_path, stages):
    flow.run_flow(make(tmp_path / "r"))
    run = make(tmp_path / "r", "hardware.target_cycles=100")
    assert raised(RunError, flow.run_stage, run, "verify") == (
        f"verify: got a 'build' of other inputs (hardware changed since), must be of these; run `bitloom build {run.path}`"
    )


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


@pytest.mark.parametrize(
    ("key", "file"),
    [
        ("model.checkpoint", "ck/model.safetensors"),
        ("model.checkpoint", "ck/tokenizer.json"),
        ("data.vocab", "vocab.txt"),
        ("data.vocab", "tokenizer_config.json"),
        ("training.distill.teacher", "ck/model.safetensors"),
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
    run = make(tmp_path / "r", f"{key}={named}")
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
    overrides = ["model.checkpoint=ck", "data.vocab=./vocab.txt", "training.distill.teacher=float"]
    recipe = make(tmp_path / "r", *overrides).recipe
    assert (recipe.model.checkpoint, recipe.data.vocab, recipe.training.distill.teacher) == (f"{tmp_path}/ck", f"{tmp_path}/vocab.txt", "float")
    assert make(tmp_path / "s", "model.checkpoint=google/bert_uncased").recipe.model.checkpoint == "google/bert_uncased"


@pytest.mark.parametrize(
    ("key", "value"),
    [("model.checkpoint", "./ck"), ("model.checkpoint", "a/b/c"), ("data.vocab", "v.txt"), ("training.distill.teacher", "t/"), ("data.name", "/x")],
)
def test_a_path_that_leads_nowhere_is_never_asked_of_the_hub(tmp_path, monkeypatch, key, value):
    monkeypatch.chdir(tmp_path)
    assert raised(SourceError, make, tmp_path / "r", f"{key}={value}") == (
        f"{key}: got '{value}', must be a file or folder that is there (looked for {tmp_path / value}); check the path"
    )
