# SPDX-License-Identifier: Apache-2.0
"""The rules of the flow, with stages that only write a file: what is skipped, redone, kept and refused."""

import pytest
from small_runs import RECIPE, make, raised

from bitloom import flow
from bitloom.errors import DiskFullError, RunError, VerificationError
from bitloom.recipe import Recipe
from bitloom.runfolder import RunFolder


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


def test_a_share_that_is_not_stated_leaves_runs_from_before_it_done(tmp_path):
    """Their recipes have no such key."""
    hashes = []
    for number, overrides in enumerate(([], ["data.first_share=0.4"])):
        run = make(tmp_path / str(number), *overrides)
        values = run.recipe.data.model_dump(mode="json", exclude={"first_share"})
        hashes.append((flow._inputs(run, flow.STAGES["train"], run.recipe, {})["data"], flow._hash(values)))
    assert hashes[0][0] == hashes[0][1] and hashes[1][0] != hashes[1][1]


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
