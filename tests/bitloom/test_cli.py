# SPDX-License-Identifier: Apache-2.0
"""The command line: exit codes, one line an error, never a traceback for a user's mistake."""

import errno
import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bitloom import flow
from bitloom.errors import VerificationError
from bitloom.version import __version__

RECIPE = "name: small\ndata: {name: reviews}\nhardware: {target_cycles: 5000}\n"


@pytest.fixture(autouse=True)
def in_a_folder_with_a_recipe(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    Path("r.yaml").write_text(RECIPE)


def test_version(bitloom):
    assert bitloom("--version") == (0, f"bitloom {__version__}\n", "")


def test_help_lists_every_command(bitloom):
    code, out, _ = bitloom("--help")
    assert code == 0
    for command in ("run", "train", "export", "build", "verify", "report", "predict", "recipes", "doctor"):
        assert re.search(rf"^  {command} ", out, flags=re.M), command


@pytest.mark.parametrize("argv", [["nonsense"], ["run"], ["run", "r.yaml", "--nonsense"], ["predict", "runs/x", "s", "--on", "moon"]])
def test_wrong_usage_is_exit_code_2(bitloom, argv):
    code, _, err = bitloom(*argv)
    assert code == 2 and "Error" in err and "Traceback" not in err


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["run", "no.yaml"], "no.yaml: got no such file or directory, must be a readable YAML file; check the path"),
        (
            ["run", "r.yaml", "--set", "model.heads=3"],
            "--set model.heads=3: model.hidden: got 128 with 3 heads, must be divisible by the number of heads; use e.g. heads: 2",
        ),
        (
            ["run", "r.yaml", "--set", "quantization.weights=9"],
            "--set quantization.weights=9: quantization.weights: got 9, must be an integer 1 .. 8 (bits); change 'weights'",
        ),
        (
            ["run", "quickstrt"],
            "recipe: got 'quickstrt', must be a YAML file or one of bitloom's own; did you mean 'quickstart'? Known: minilm-sst2, quickstart, sst2-bsflex, sst2-kmeans, sst2-tiny, "
            "attention-window, balanced-pruning, block-pruning, compound, depth, distill-layers, distill-logits, ...",
        ),
        (["train", "nowhere"], "nowhere: got no run.json, must be a run folder; make one with `bitloom run RECIPE`"),
        (
            ["predict", "nowhere", "hello"],
            "nowhere: got no run.json, must be a run folder; make one with `bitloom run RECIPE`",
        ),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(bitloom, argv, expected):
    assert bitloom(*argv) == (2, "", f"bitloom: {expected}\n")


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ("", "train.tsv: got an empty file, must hold at least one example; check where the file came from"),
        (
            "sentence1\tlabel\nfine\tpositive\nbroken row\n",
            "train.tsv:3: got 1 fields, must be 2 (sentence1, label) with one tab between; correct the row",
        ),
        (
            "sentence1\tlabel\nfine\tpositive\nodd\tpurple\n",
            "train.tsv:3: got label 'purple', must be one of negative, positive; correct the row or set data.labels",
        ),
    ],
)
def test_a_malformed_data_file_is_named_with_its_line(bitloom, rows, expected):
    folder = Path("d/reviews").resolve()
    folder.mkdir(parents=True)
    (folder / "train.tsv").write_text(rows)
    (folder / "dev.tsv").write_text("sentence1\tlabel\nfine\tpositive\n")
    code, _, err = bitloom("run", "r.yaml", "--data", "d")
    assert (code, err) == (2, f"bitloom: {folder}/{expected}\n")


def test_a_data_folder_that_is_not_there_is_named(bitloom, tmp_path):
    code, _, err = bitloom("run", "r.yaml", "--data", "nowhere")
    assert (code, err) == (
        2,
        f"bitloom: data: got folder '{tmp_path}/nowhere', must be an existing folder; correct --data\n",
    )


def test_a_pattern_that_matches_no_layer_is_told_before_training(bitloom):
    code, _, err = bitloom("run", "r.yaml", "--set", "quantization.overrides={'layr.0.*': {weights: 2}}")
    assert code == 2 and err.startswith("bitloom: overrides: got pattern 'layr.0.*', must match a layer or tensor; did you mean ")


def test_a_run_of_another_version_is_exit_code_2(bitloom):
    Path("old").mkdir()
    Path("old/run.json").write_text(json.dumps({"schema": "bitloom.run/1"}))
    for argv in (["report", "old"], ["predict", "old", "hello"], ["run", "r.yaml", "--out", "old"]):
        code, _, err = bitloom(*argv)
        assert (code, err) == (
            2,
            "bitloom: old/run.json: got schema 'bitloom.run/1', must be 'bitloom.run/2'; this run is of another version of bitloom, "
            "make it anew in another folder (`bitloom run old/recipe.yaml --out DIR`)\n",
        )


def test_a_tokenizer_with_more_tokens_than_the_checkpoint_is_exit_code_2(bitloom, tmp_path):
    from transformers import BertConfig, BertForSequenceClassification

    shape = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertForSequenceClassification(BertConfig(vocab_size=7, **shape)).save_pretrained(tmp_path / "ck")
    (tmp_path / "ck" / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcd"]) + "\n")
    code, _, err = bitloom("run", "r.yaml", "--set", "model.checkpoint=ck", "--set", "data.max_train_examples=8")
    assert (code, err) == (2, "bitloom: checkpoint: got 7 tokens, must be at least the tokenizer's 8; use its own tokenizer\n")


def test_a_failed_verification_is_exit_code_1(bitloom, monkeypatch):
    def fail(*_, **__):
        raise VerificationError("verify: back to back: 3 of 10 values differ")

    monkeypatch.setattr(flow, "run_flow", fail)
    assert bitloom("run", "r.yaml") == (1, "", "bitloom: verify: back to back: 3 of 10 values differ\n")


def test_a_fault_of_our_own_is_one_line_with_a_log(bitloom, monkeypatch):
    def break_(*_, **__):
        raise ZeroDivisionError("oh\nno")

    monkeypatch.setattr(flow, "run_flow", break_)
    code, _, err = bitloom("run", "r.yaml")
    found = re.fullmatch(r"bitloom: got an unexpected ZeroDivisionError \(oh\), must not happen; please report it with (\S+)\n", err)
    assert code == 3 and "ZeroDivisionError: oh" in Path(found[1]).read_text()
    Path(found[1]).unlink()
    code, _, err = bitloom("--debug", "run", "r.yaml")
    assert code == 3 and "Traceback" in err
    Path(err.split()[-1]).unlink()


def test_a_path_that_no_file_system_takes_is_exit_code_2(bitloom, tmp_path):
    path = tmp_path / ("n" * 300)
    for argv in (["report", path], ["run", "quickstart", "--out", path], ["run", "quickstart", "--set", f"data.name={path}"]):
        code, _, err = bitloom(*argv)
        assert code == 2 and re.fullmatch(rf"bitloom: {path}\S*: got 'File name too long', must be a path that the file system takes; check it\n", err), err


def test_what_the_machine_refuses_is_one_line_and_exit_code_2(bitloom, monkeypatch):
    def full():
        raise OSError(errno.ENOSPC, "No space left on device", "run/.lock")

    monkeypatch.setattr("bitloom.display.show_tools", full)
    assert bitloom("doctor") == (
        2,
        "",
        "bitloom: run/.lock: got 'No space left on device', must be writable, with room; free some or use another folder\n",
    )


def test_a_run_folder_that_cannot_be_made_is_named(bitloom, tmp_path):
    (tmp_path / "file").write_text("")
    code, _, err = bitloom("run", "r.yaml", "--out", tmp_path / "file" / "run")
    assert (code, err) == (
        2,
        f"bitloom: {tmp_path}/file/run: got 'Not a directory', must be a folder that can be made; use --out DIR\n",
    )


def test_doctor_lists_the_tools(bitloom):
    code, out, _ = bitloom("doctor")
    assert code == 0 and "g++" in out.lower() and "verilator" in out.lower() and "needed for" in out


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_signals_end_a_command_with_128_and_their_number(tmp_path, number, expected):
    """A real signal to a real process, while it waits inside a command; what is to be cleaned up is."""
    code = (
        "import bitloom.flow, time\nfrom bitloom.cli import main\n"
        "def wait(*a, **k):\n    try:\n        print('waiting', flush=True)\n        time.sleep(60)\n    finally:\n        print('cleaned up', flush=True)\n"
        "bitloom.flow.run_flow = wait\nmain(['run', 'r.yaml'])"
    )
    (tmp_path / "r.yaml").write_text(RECIPE)
    root = str(Path(__file__).resolve().parents[2])
    with subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": root, "PATH": ""},
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # a shell's background jobs ignore SIGINT, nohup's SIGHUP
    ) as process:
        assert process.stdout.readline() == "waiting\n"
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, "Traceback" in err) == (expected, "cleaned up\n", False)
