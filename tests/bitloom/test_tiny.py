# SPDX-License-Identifier: Apache-2.0
"""The whole flow on the smallest recipe, through the command line: what a user gets, and what breaks it."""

import json
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from here import Here

from bitloom import RunFolder, predict
from bitloom.errors import VerificationError
from bitloom.flow import CORE, Context
from bitloom.hw import golden, graph_file
from bitloom.inference import PredictError
from bitloom.qat.corpus import generate
from bitloom.qat.tokenizer import TextTokenizer
from bitloom.sentences import Sentences
from bitloom.sim import job, runner, tools
from bitloom.sim.errors import BuildError, ToolError
from bitloom.stages import export, verify

ROOT = Path(__file__).resolve().parents[2]
TOO_LONG = "a film " * 30


def report(run: Path) -> dict:
    return json.loads((run / "report.json").read_text())


def test_the_report_has_the_keys_that_others_rely_on(tiny_run):
    r = report(tiny_run)
    assert r["schema"] == "bitloom.report/1" and r["graph_hash"] == graph_file.load(tiny_run / "export").hash
    for section, keys in {
        "accuracy": ("metric", "examples", "float", "qat", "golden"),
        "verify": ("backend", "sentences", "values_compared", "mismatches", "stall_runs", "memories"),
        "cycles": ("interval_predicted", "interval_measured", "latency_predicted", "latency_measured", "tokens"),
        "hardware": ("multipliers", "macs_per_sentence", "mac_utilization", "weight_bits", "stages", "fifos"),
        "size": ("float_bytes", "quantized_bytes", "without_embeddings"),
    }.items():
        assert set(keys) <= set(r[section]), section
    assert list(r["seconds"]) == ["train", "export", "build", "verify"] and all(s >= 0 for s in r["seconds"].values())


def test_the_reports_figures_belong_together(tiny_run):
    r = report(tiny_run)
    assert (r["verify"]["backend"], r["verify"]["sentences"], r["verify"]["mismatches"], r["verify"]["stall_runs"]) == (
        "rtl",
        8,
        0,
        2,
    )
    assert all(0 < fifo["most"] <= fifo["depth"] for fifo in r["hardware"]["fifos"]) and len(r["hardware"]["fifos"]) > 30
    rtl = [c for c in r["verify"]["comparisons"] if c["name"].startswith("RTL")]
    assert r["verify"]["values_compared"] == sum(c["values_compared"] for c in rtl) > 100_000
    assert all(c["mismatches"] == 0 and c["values_compared"] > 0 for c in r["verify"]["comparisons"])
    work, cycles = r["hardware"]["macs_per_sentence"], r["cycles"]["interval_measured"]
    assert r["hardware"]["mac_utilization"] == work / (r["hardware"]["multipliers"] * cycles)
    assert sum(s["macs"] for s in r["hardware"]["stages"]) == work
    assert r["accuracy"]["examples"] == 48 and r["accuracy"]["rtl"]["value"] == r["accuracy"]["rtl"]["golden"]
    assert r["cycles"]["tokens"] == 24 and [p[0] for p in r["cycles"]["latency_points"]] == [6, 12, 18, 24]


def test_the_page_is_there_and_shows_the_graphs_hash(tiny_run):
    assert report(tiny_run)["graph_hash"][:16] in (tiny_run / "report.html").read_text()


def test_a_second_run_does_nothing(tiny_copy, bitloom):
    before = {p: p.stat().st_mtime_ns for p in tiny_copy.rglob("*") if p.is_file() and p.name not in ("run.json", "recipe.yaml", ".lock")}
    code, out, _ = bitloom("run", ROOT / "tests" / "tiny.yaml", "--out", tiny_copy)
    assert code == 0 and out.count("unchanged") == len(CORE)
    assert all(p.stat().st_mtime_ns == t for p, t in before.items())


def recorded(run: Path, name: str) -> None:
    """Write the stage's files as they are now into the record, as if it had written them."""
    folder = RunFolder.open(run)
    folder.mark(name, folder.record(name) | {"files": folder.digest(name)})


def test_predict_refuses_a_tokenizer_that_is_not_the_graphs(tiny_copy, bitloom):
    bigger = TextTokenizer.train(generate("train", 2000)[0], 400)
    bigger.save(tiny_copy / "export" / "tokenizer")
    recorded(tiny_copy, "export")
    code, _, err = bitloom("predict", tiny_copy, "a wonderful film")
    assert (code, err) == (
        2,
        f"bitloom: {tiny_copy}/export/tokenizer: got {len(bigger)} tokens, must be at most the graph's 300; run `bitloom export {tiny_copy} --force`\n",
    )


def test_predict_gives_the_same_from_the_golden_model_and_from_the_hardware(tiny_run, bitloom):
    run = RunFolder.open(tiny_run)
    golden, rtl = (predict(run, "a wonderful film", on=where) for where in ("golden", "rtl"))
    assert golden.label == rtl.label in ("negative", "positive")
    assert np.array_equal(golden.codes, rtl.codes) and golden.cycles is None
    assert rtl.cycles == rtl.cycles_predicted > 0
    code, out, _ = bitloom("predict", tiny_run, "a wonderful film", "--on", "rtl")
    assert code == 0 and [line.split()[0] for line in out.splitlines() if not line.startswith("unknown")] == [
        "label",
        "logits",
        "codes",
        "tokens",
        "cycles",
    ]


def test_predict_takes_a_pair_where_the_model_was_trained_on_pairs(tiny_run, monkeypatch):
    run = RunFolder.open(tiny_run)
    singles = [predict(run, text).tokens for text in ("good", "bad")]
    with pytest.raises(PredictError, match="predict: got --pair, must be one text, as the model was trained; leave it out"):
        predict(run, "good", "bad")
    graph = graph_file.load(tiny_run / "export")
    monkeypatch.setattr(graph_file, "load", lambda folder: replace(graph, meta=graph.meta | {"pairs": True}))
    assert predict(run, "good", "bad").tokens == sum(singles) - 1
    with pytest.raises(PredictError, match="predict: got one text, must be two, as the model was trained; add --pair"):
        predict(run, "good")


def test_predict_tells_which_words_the_model_cannot_know(tiny_run, bitloom):
    code, out, _ = bitloom("predict", tiny_run, "the film was dazzling \u2603 fun")
    (line,) = [line for line in out.splitlines() if line.startswith("unknown")]
    assert code == 0 and re.search(r"dazzling \(read as d ##a ##z", line) and "\u2603 (read as [UNK])" in line and "film" not in line


@pytest.mark.parametrize("where", ["golden", "rtl"])
def test_predict_refuses_a_sentence_that_is_too_long(tiny_run, bitloom, where):
    code, out, err = bitloom("predict", tiny_run, TOO_LONG, "--on", where)
    assert (code, out) == (2, "")
    assert re.fullmatch(
        r"bitloom: predict: got a sentence of \d+ tokens, must be at most 24 \(the recipe's model.max_tokens\); shorten it\n",
        err,
    )


def test_files_changed_after_the_fact_are_told(tiny_copy, bitloom):
    """A bit of the checkpoint, labels the other way round, another token, a faster interval: nothing is answered from them."""
    weights = tiny_copy / "train" / "qat" / "model.safetensors"
    changes = {
        "train": (weights, lambda data: data[:-1] + bytes([data[-1] ^ 1]), ("run", ROOT / "tests" / "tiny.yaml", "--out"), " --force"),
        "export": (tiny_copy / "export" / "graph.json", lambda data: data.replace(b"negative", b"Negative"), ("predict",), ""),
        "verify": (tiny_copy / "verify" / "verify.json", lambda data: re.sub(rb'("interval_measured": )[\d.]+', rb"\g<1>12.0", data), ("report",), ""),
    }
    for stage, (path, change, argv, force) in changes.items():
        was = path.read_bytes()
        path.write_bytes(change(was))
        assert path.read_bytes() != was
        code, _, err = bitloom(*argv, tiny_copy, *(["fine"] if stage == "export" else []))
        assert (code, err.partition(": ")[2].partition(": ")[2]) == (
            2,
            f"got files of '{stage}' in {tiny_copy}/{stage} that changed since it wrote them, must be whole; "
            f"put them back or run `bitloom {stage} {tiny_copy}{force}`\n",
        )
        path.write_bytes(was)
        assert bitloom(*argv, tiny_copy, *(["fine"] if stage == "export" else []))[0] == 0


def test_a_graph_whose_files_do_not_belong_together_is_refused(tiny_copy, bitloom):
    path = tiny_copy / "export" / "graph.json"
    graph = json.loads(path.read_text())
    path.write_text(json.dumps(graph | {"hash": "0" * 64}))
    recorded(tiny_copy, "export")
    code, _, err = bitloom("predict", tiny_copy, "fine")
    assert code == 2 and err == (
        f"bitloom: {path}: content has hash {graph['hash'][:16]}, must be {'0' * 16}; graph.json and graph.safetensors "
        "do not belong together, run `bitloom export` again\n"
    )


def test_a_target_that_cannot_be_met_is_told(tiny_copy, bitloom):
    code, _, err = bitloom("run", ROOT / "tests" / "tiny.yaml", "--out", tiny_copy, "--set", "hardware.target_cycles=20")
    assert code == 2 and re.fullmatch(r"bitloom: folding: got target_cycles 20, must be at least \d+ for this encoder; .*\n", err)
    assert (tiny_copy / "build" / "encoder.sv").exists()  # of the target before


def test_a_missing_simulator_is_told(tiny_copy, bitloom, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    tools.find_verilator.cache_clear()
    code, _, err = bitloom("verify", tiny_copy, "--force")
    tools.find_verilator.cache_clear()
    assert (code, err) == (
        2,
        "bitloom: simulator: g++, make, perl not found, must be on PATH; apt install g++ make perl\n",
    )
    assert (tiny_copy / "verify" / "verify.json").exists()


def test_a_simulation_that_runs_no_test_is_no_finding(tiny_copy, bitloom, monkeypatch):
    """cocotb's filter for other work is not heard; where nothing ran nevertheless, the earlier pass stands."""
    monkeypatch.setenv("COCOTB_TEST_FILTER", "x")
    assert bitloom("verify", tiny_copy, "--force")[0] == 0
    usual = runner.cocotb_env
    monkeypatch.setattr(runner, "cocotb_env", lambda *arguments: usual(*arguments) | {"COCOTB_TEST_FILTER": "x"})
    code, _, err = bitloom("verify", tiny_copy, "--force")
    assert code == 2 and err.startswith("bitloom: simulation ran 0 tests, must be at least 1, log in ")
    assert (tiny_copy / "verify" / "verify.json").exists() and not (tiny_copy / "verify.failed").exists()
    assert bitloom("report", tiny_copy)[0] == 0


def start(*argv: str | Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "bitloom", *map(str, argv)]
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def kill_when(process: subprocess.Popen, seen) -> None:
    """SIGKILL to a process as soon as `seen()` is true."""
    with process:
        deadline = time.monotonic() + 120
        while not seen() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL and seen()


@pytest.mark.slow  # in the plain run tests/qat/test_resume.py breaks trainings off, and the test below kills a stage
def test_a_killed_training_goes_on_and_ends_in_the_same_weights(tiny_run, tmp_path, bitloom):
    run, recipe = tmp_path / "killed", ROOT / "tests" / "tiny.yaml"
    checkpoints = run / "train.tmp" / "checkpoints" / "qat"
    kill_when(
        start("run", recipe, "--out", run, "--set", "training.save_steps=2"),
        lambda: any(checkpoints.glob("checkpoint-*")),
    )
    assert not (run / "train").exists() and (run / "train.tmp" / "float").exists()
    marked = (run / "train.tmp" / "float" / "model.safetensors").stat().st_mtime_ns
    code, out, _ = bitloom("train", run)
    assert code == 0 and re.search(
        r"warning: tokenizer: \d+ of 256 texts are longer than 24 tokens and were cut; raise model.max_tokens to keep them whole\n",
        out,
    )
    assert (run / "train" / "float" / "model.safetensors").stat().st_mtime_ns == marked  # the float phase was not repeated
    for part in ("float", "qat"):
        weights = [(r / "train" / part / "model.safetensors").read_bytes() for r in (run, tiny_run)]
        assert weights[0] == weights[1], part


def test_a_kill_in_the_middle_of_a_stage_costs_that_stage_only(tiny_copy, bitloom):
    """The stage before and the stage's own earlier result stay."""
    tmp = tiny_copy / "export.tmp"
    kill_when(start("export", tiny_copy, "--force"), lambda: (tmp / "graph.json").exists())
    assert bitloom("predict", tiny_copy, "fine")[0] == 0  # the earlier export still stands
    code, out, _ = bitloom("export", tiny_copy, "--force")
    assert code == 0 and "0 of" in out and not tmp.exists()
    code, out, _ = bitloom("run", ROOT / "tests" / "tiny.yaml", "--out", tiny_copy)
    assert code == 0 and out.count("unchanged") >= len(CORE) - 1  # the same files came out


SENTENCES = Sentences(ids=[[2, 7, 3], [2, 9, 11, 3]], segments=[[0] * 3, [0] * 4], labels=[0, 1])


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (
            lambda t: t["layer.0.probs"].__setitem__(18 + 9, t["layer.0.probs"][27] + 1),
            r"other: layer\.0\.probs: 1 of 50 values differ; first: sentence 1 token 1 channel 1: got (-?\d+), must be (-?\d+)",
        ),
        (lambda t: t.pop("pooler"), "other: got no tensor 'pooler', must be there to compare"),
        (lambda t: t.update(logits=t["logits"][:1]), "other: logits: got 2 values, must be 4"),
    ],
)
def test_a_reader_that_differs_from_the_golden_model_fails_the_export(tiny_run, spoil, expected):
    graph = graph_file.load(tiny_run / "export")

    def reader(part):
        tensors = golden.run(graph, part.ids, part.segments)
        spoil(tensors)
        return tensors

    with pytest.raises(VerificationError) as error:
        export.compare(graph, SENTENCES, "other", [n.name for n in graph.nodes], reader)
    found = re.fullmatch(f"export: {expected}", str(error.value))
    assert found and (not found.groups() or int(found[1]) == int(found[2]) + 1)


def test_a_comparison_of_nothing_fails(tiny_run):
    with pytest.raises(VerificationError) as error:
        export.compare(graph_file.load(tiny_run / "export"), SENTENCES, "other", [], lambda part: {})
    assert str(error.value) == "export: other: got 0 values to compare, must be at least 1"


@pytest.mark.parametrize(
    ("predicted", "measured", "fails"),
    [(10_000, 10_000, False), (10_000, 10_100, False), (10_000, 10_101, True), (10_000, 9_899, True), (500, 506, True)],
)
def test_cycles_that_are_off_by_more_than_one_per_cent_fail_the_verification(predicted, measured, fails):
    row = {"name": "interval, 24 tokens", "predicted": predicted, "measured": measured}
    if not fails:
        return verify.check_cycles([row])
    with pytest.raises(VerificationError) as error:
        verify.check_cycles([row])
    assert str(error.value) == (
        f"verify: interval, 24 tokens: got {measured:,} cycles, must be within 1% of {predicted:,} predicted; the timing model or the RTL is wrong"
    )


def test_a_simulation_that_cannot_be_built_is_no_finding_about_the_hardware(tiny_run, monkeypatch):
    def broken(*args, **kwargs):
        raise BuildError("simulation build failed")

    monkeypatch.setattr(job, "run_encoder", broken)
    run = RunFolder.open(tiny_run)
    bench = verify.Bench(Context(run=run, recipe=run.recipe, out=tiny_run, progress=lambda *_: None))
    bench.compare_memories()
    bench.plan("waveform", SENTENCES)
    with pytest.raises(BuildError):  # exit code 2: only a VerificationError is 1
        bench.simulate()


def spread(tiny_run, **who):
    """The bench of a run, with two simulations planned that `who` makes."""
    run = RunFolder.open(tiny_run)
    recipe = run.recipe.model_copy(update={"verification": run.recipe.verification.model_copy(update=who)})
    bench = verify.Bench(Context(run=run, recipe=recipe, out=tiny_run, progress=lambda *_: None))
    bench.compare_memories()
    for name, stall in (("one", 0.0), ("other", 0.3)):
        bench.plan(name, SENTENCES, stall_in=stall)
    return bench


def made(bench):
    """What two simulations of it find."""
    ends = {name: run.out_last_cycle.tolist() for name, run in bench.simulate().items()}
    return sorted(ends.items()), [replace(outcome, wall_seconds=0) for outcome in bench.outcomes], bench.reads.summary(), bench.fills


@pytest.fixture(scope="module")
def made_here(tiny_run):
    return made(spread(tiny_run))


@pytest.mark.parametrize("who", [{"workers": 2}, pytest.param({"workers": 2, "cluster": "local"}, marks=pytest.mark.slow)])
def test_simulations_find_the_same_wherever_they_are_made(tiny_run, made_here, who):
    if "cluster" in who:
        pytest.importorskip("ray", reason="no Ray: pip install 'bitloom[ray]'")
    assert made(spread(tiny_run, **who)) == made_here and [outcome.mismatches for outcome in made_here[1]] == [0, 0]


class Elsewhere(Here):
    """Workers of machines that do not see the build."""

    def __init__(self, crew, function, shared):
        super().__init__(crew, function, replace(pickle.loads(pickle.dumps(shared)), folder=Path("/none")))


def test_simulations_without_the_builds_folder_and_in_any_order_find_the_same(tiny_run, made_here, monkeypatch):
    monkeypatch.setattr(verify, "workers", Elsewhere)
    assert made(spread(tiny_run, workers=2, cluster="local")) == made_here


def test_what_a_worker_finds_is_told_as_found_here(tiny_run):
    bench = spread(tiny_run, workers=2)
    bench.jobs[1] = replace(bench.jobs[1], options=replace(bench.jobs[1].options, wall_seconds=0.01))
    with pytest.raises(ToolError, match="simulation: still running after 0 s"):
        bench.simulate()


@pytest.mark.slow
def test_waves_are_left(tiny_copy, bitloom):
    assert bitloom("verify", tiny_copy, "--waves")[0] == 0
    with open(tiny_copy / "verify" / "waves.vcd") as waves:
        assert "$enddefinitions" in waves.read(1 << 20)
