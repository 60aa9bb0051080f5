# SPDX-License-Identifier: Apache-2.0
"""What reaches a terminal: only what its encoding can take, and nothing of what others wrote that it would obey."""

import io
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from bitloom import RunFolder, display, inference, report
from bitloom.qat.config import CalibrationWarning, ExitWarning
from bitloom.qat.files import DataWarning
from bitloom.stage import STAGES
from bitloom.text import printable

HOSTILE = "a\x1b]0;title\x07b\x9b31mc\u202ed[bold]:bug:\r"
TAME = "a\\x1b]0;title\\x07b\\x9b31mc\\u202ed[bold]:bug:\\x0d"
ALL = """\
import os, sys, time
from bitloom import cli, display
from bitloom.stage import STAGES
import bitloom.qat.trainer  # what takes long to import, once
for encoding in sys.argv[1:]:
    if child := os.fork():
        assert os.waitpid(child, 0)[1] == 0, encoding
        continue
    sys.stdout = open(encoding + ".out", "w", encoding=encoding)
    sys.stderr = open(encoding + ".err", "w", encoding=encoding, errors="backslashreplace")  # as Python's own
    for argv in (["--help"], ["plan", "--help"], ["recipes"], ["boards"], ["doctor"], ["report", "runs/none\\u2713\\xe9\\u4e2d"], ["no-such-command"]):
        try:
            cli.main(argv)
        except SystemExit as end:
            assert (end.code or 0) in (0, 2), (argv, end.code)
    with display.Display() as shown:
        shown.watcher.began(STAGES["train"])
        shown.watcher.progress(0.5, "caf\\xe9 \\u4e2d")
        time.sleep(0.3)
        shown.watcher.ended(STAGES["train"], 1.0, "label \\u4e2d \\ud800")
    sys.exit()
"""
ENCODINGS = {
    "ascii": ("ok train", r"caf\xe9 \u4e2d"),
    "latin-1": ("ok train", "café \\u4e2d"),
    "utf-8": ("✓ train", "café 中"),
}


@pytest.fixture(scope="module")
def shown(tmp_path_factory) -> Path:
    """What terminals of each encoding were sent: <encoding>.out and <encoding>.err."""
    folder = tmp_path_factory.mktemp("shown")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "FORCE_COLOR": "1", "COLUMNS": "200"}
    done = subprocess.run([sys.executable, "-c", ALL, *ENCODINGS], cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    return folder


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_encoding_of_the_terminal_will_do(shown, encoding):
    """Help, tables, errors, and the moving bar of a terminal."""
    mark, text = ENCODINGS[encoding]
    out, err = ((shown / f"{encoding}.{stream}").read_bytes().decode(encoding) for stream in ("out", "err"))
    plain = out.replace("\x1b[32m", "").replace("\x1b[0m", "")
    assert mark in plain and text in plain and r"\ud800" in plain and "quickstart" in out
    assert ("━" in out) == (encoding == "utf-8")
    assert err.startswith("bitloom: runs/none") and "No such command" in err


def said(call) -> str:
    """What `call` prints on a Console of its own, without a terminal."""
    made = Console(file=io.StringIO(), width=200, highlight=False)
    call(made)
    return made.file.getvalue()


def test_what_a_terminal_obeys_is_shown_escaped(monkeypatch, bitloom):
    assert printable(HOSTILE) == TAME
    assert printable("ok é 中 \u200d") == "ok é 中 \u200d", "only what does not show as it is written"

    def flow(console: Console) -> None:
        monkeypatch.setattr(display, "_console", lambda: console)
        with display.Display() as shown:
            shown.watcher.began(STAGES["train"])
            monkeypatch.setattr(display, "PLAIN_PERIOD", 0.0)
            shown.watcher.progress(0.5, HOSTILE)
            shown.watcher.ended(STAGES["train"], 1.0, HOSTILE)
            display.warnings.showwarning(HOSTILE)

    assert said(flow).count(TAME) == 3
    code, _, err = bitloom("report", HOSTILE)
    assert code == 2 and err == f"bitloom: {TAME}: got no run.json, must be a run folder; make one with `bitloom run RECIPE`\n"


def test_labels_and_words_of_a_prediction_are_shown_escaped(monkeypatch, bitloom):
    figures = {"logits": np.zeros(2), "codes": np.zeros(2), "tokens": 3, "clock_mhz": 1.0}
    monkeypatch.setattr(inference, "predict", lambda *_, **__: inference.Prediction(label=HOSTILE, strange={HOSTILE: ["[UNK]"]}, **figures))
    monkeypatch.setattr(RunFolder, "open", lambda path: path)
    code, out, _ = bitloom("predict", "run", "fine")
    assert code == 0 and out.count(TAME) == 2 and not set(out) & set("\x1b\x07\x9b\u202e\r")


def test_the_summary_is_shown_escaped(monkeypatch, tmp_path):
    (tmp_path / "report.json").write_text(json.dumps({"training": {"notes": [HOSTILE]}}))
    monkeypatch.setattr(report, "key_figures", lambda made: [(HOSTILE, HOSTILE, HOSTILE)])

    def summary(console: Console) -> None:
        monkeypatch.setattr(display, "_console", lambda: console)
        display.Display().summary(tmp_path)

    assert said(summary).count(TAME) == 4


def test_warnings_of_a_training_are_shown(monkeypatch):
    """Each category that a training has, as one line; those of libraries are not."""

    def flow(console: Console) -> None:
        monkeypatch.setattr(display, "_console", lambda: console)
        with display.Display():
            for category in (ExitWarning, CalibrationWarning, DataWarning, UserWarning):
                warnings.warn(f"a {category.__name__}", category, stacklevel=1)

    assert said(flow) == "warning: a ExitWarning\nwarning: a CalibrationWarning\nwarning: a DataWarning\n"
