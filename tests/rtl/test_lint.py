# SPDX-License-Identifier: Apache-2.0
"""Every module of the RTL library passes Verilator's lint with all warnings, and Yosys reads and elaborates it without any."""

import shutil
import subprocess
from pathlib import Path

import pytest
from yosys import run_yosys

from bitloom.sim.tools import find_verilator

RTL = Path(__file__).parents[2] / "hw" / "rtl"
MODULES = sorted(path.stem for path in RTL.glob("*.sv"))
# Set beside the defaults where those leave parts of a module out.
ROLLED = {"TURNS": 6, "SENTENCES": 3}
ULTRA = {"RAM_STYLE": '"ultra"'}
ROLLED_ALONE = {"TURNS": 6}
CODED, TWO = {"INDEX_W": 3, "WEIGHT_W": 8}, {"INDEX_W": 1, "WEIGHT_W": 8}
BY_TURN = ROLLED | {"MORE": 3, "ROUND_FILE": '"round.hex"'}
VARIANTS = {
    "turns": (ROLLED | {"STRIDE": 5}, ROLLED | {"ROWS": 3, "QUERIES": 2}, ROLLED | {"WIDTH": 7, "FILE": '"start.hex"', "AHEAD": 1}),
    "blocks": (ROLLED, {"FOLD": 4, "WORD": 4, "LANES": 2}, ULTRA, ULTRA | {"WORD": 4, "W": 11}),
    "unfold": (ULTRA, ULTRA | {"W": 12}, ULTRA | {"LANES": 2, "W": 30}, ULTRA | {"C": 12}),
    "ring": (ULTRA,),
    "token_window": ({"KERNEL": 4, "DILATION": 3}, {"KERNEL": 2, "BEATS": 1, "LANES": 3}),
    "window": ({"STRIDE": 2}, {"KERNEL": 2, "STRIDE": 5}, {"KERNEL": 4, "DILATION": 3, "STRIDE": 3, "BEATS": 1}),
    "window_max": ({"KERNEL": 3, "STRIDE": 1}, {"KERNEL": 5, "SIGNED": 0, "W": 1, "LANES": 2}),
    "window_mean": ({"KERNEL": 3, "STRIDE": 1}, {"KERNEL": 5, "SIGNED": 0, "W": 1, "OUT_W": 4, "LANES": 2, "SHIFT": 0}),
    "upsample": ({"STRIDE": 3, "LANES": 2, "BEATS": 1}, {"STRIDE": 4, "B_SIGNED": 0, "SHIFT": 2}),
    "pool": ({"SUM": 1, "OUT_W": 15}, {"LANES": 2, "SIGNED": 0}),
    "token_mean": ({"SIGNED": 0, "LANES": 4, "OUT_W": 5}, {"SHIFT": 0}),
    "concat": ({"A_BEATS": 1, "B_BEATS": 1},),
    "loop": (ULTRA, ROLLED | {"BORDER_W": 7, "ALL": "6'd24", "RECALL": 3}, ROLLED | {"BORDER_W": 7}, ROLLED | {"LABELS": 3, "LOGIT_W": 8, "PATIENCE": 2}),
    "off_ramps": (ROLLED | {"LABELS": 3, "W": 8, "PATIENCE": 2},),
    "tiles": (
        {"TABLE_FILE": '"table.hex"', "OFFSET_W": 6},
        {"TABLE_FILE": '"table.hex"', "OFFSET_W": 6, "TURNS": 3, "WIDTH": 20},
        {"WIDTH": 200},
        {"WIDTH": 20, "TURNS": 3},
        {"WIDTH": 64, "DATA_W": 128},
        {"RAM_STYLE": '"distributed"'},
    ),
    "linear_tiles": (
        ROLLED,
        CODED,
        ROLLED | CODED,
        TWO,
        ROLLED | TWO | {"EACH": 1},
        {"FOLD": 2},
        ULTRA | {"TILE_STYLE": '"distributed"'},
        {"PE": 4, "SIMD": 4, "K": 16, "C": 16, "WEIGHT_W": 8},
        {"KEEP": 2, "GROUP": 4},
        ROLLED | {"WORDS": 20, "ENTRIES": 20, "MOST": 2, "START_FILE": '"start.hex"', "TABLE_FILE": '"table.hex"', "OFFSET_W": 6},
    ),
    "pattern": ({"REACH": 0}, {"TAPS": 3, "REACH": 5, "LANES": 2, "WIDTH": 6}),
    "border": ({"BEATS": 1}, {"WIDTH": 1}),
    "keep_tokens": ({"BACK": 1, "AHEAD": 1}, {"BACK": 2, "AHEAD": 2, "MAX_TOKENS": 9, "SIDE": 2, "ROWS": 2}),
    "scores": ({"BACK": 1, "AHEAD": 2}, {"AHEAD": 0}, {"BORDER_W": 3}, {"QUERIES": 3}, {"QUERIES": 2, "SIDE": 2, "LANES": 4}),
    "context_op": ({"BACK": 1}, {"SEGMENT": 1}, {"QUERIES": 3}, {"QUERIES": 2, "SIDE": 2, "LANES": 4}),
    "regroup": ({"TOKENS": 3, "PARTS": 5, "BEATS": 2}, {"PARTS": 1}),
    "first_key": ({"SEGMENT": 1}, {"BACK": 0}, {"BACK": 2, "WORDS": 3}),
    "linear": (
        ROLLED,
        {"WORDS": 3, "ENTRIES": 3},
        {"WORDS": 4, "GRAIN": 2, "REPEAT": 2},
        {"KEEP": 2, "GROUP": 4},
        {"KEEP": 1, "GROUP": 2, "K": 8, "WORDS": 5, "ENTRIES": 5},
        ROLLED | {"WORDS": 19, "ENTRIES": 19, "START_FILE": '"start.hex"'},
        CODED,
        CODED | {"KEEP": 2, "GROUP": 4},
        ROLLED | CODED,
        TWO,
        ROLLED | TWO | {"EACH": 1, "IN_SIGNED": 0},
    ),  # fmt: skip
    "pick": ({"SIMD": 6, "KEEP": 3, "GROUP": 16}, {"PE": 2, "GROUP": 2, "KEEP": 1}),
    "mac_array": ({"OWN": 1, "PE": 3, "SIMD": 2},),
    "schedule": (
        {"STEPS": 4, "FOLDS": 6, "WORDS": 3, "DEPTH": 18, "GRAIN": 2, "REPEAT": 3},
        {"STEPS": 1},
        {"WORDS": 3, "DEPTH": 3},
        {"WORDS": 1, "DEPTH": 1, "FOLDS": 1, "STEPS": 1},
    ),
    "decode": (ROLLED_ALONE,),
    "two_values": (ROLLED_ALONE, {"EACH": 1, "LANES": 2, "WORDS": 6}),
    "table_op": (ROLLED,),
    "requant": (BY_TURN, BY_TURN | {"PER_CHANNEL": 1}, BY_TURN | {"MULT": 3}),
    "add": (BY_TURN | {"FACTOR_W": 4, "MULT_A": 9},),
    "softmax": (BY_TURN | {"EXP_LEAST": 6},),
    "layernorm": (BY_TURN,),
    "axi_fetch": ({"CLIENTS": 5, "DATA_W": 512, "BURST": 64, "OUTSTANDING": 16},),
    "image_loader": ({"DATA_W": 128}, {"DATA_W": 256}, {"DATA_W": 512}),
    "fifo": ({"DEPTH": 5, "WIDTH": 33}, {"DEPTH": 5000}, ULTRA | {"DEPTH": 5000}),
    "fifo_deep": ({"DEPTH": 5000, "WIDTH": 11}, {"DEPTH": 2049}, ULTRA, ULTRA | {"DEPTH": 50_000}, ULTRA | {"DEPTH": 50_000, "WIDTH": 80}),
    "stream_fork": ({"N": 3},),
}


def lint(source: Path, top: str, params: dict[str, int], folder: Path) -> str:
    """What Verilator says about a module, its libraries in `folder`: "" if nothing."""
    verilator = find_verilator()
    values = [f"-G{key}={value}" for key, value in params.items()]
    command = [
        verilator.command,
        "--lint-only",
        "-Wall",
        "--quiet",
        "--top-module",
        top,
        "-y",
        str(folder),
        *values,
        str(source),
    ]
    done = subprocess.run(command, env=verilator.env, capture_output=True, text=True, check=False)
    said = "\n".join(line for line in (done.stdout + done.stderr).splitlines() if line.startswith("%"))
    return said or ("" if done.returncode == 0 else done.stderr)


def elaborate(folder: Path, modules: list[str], script: str = "") -> str:
    """What Yosys complains about when it elaborates each module of a folder as top: "" if nothing."""
    files = " ".join(f"{m}.sv" for m in modules)
    tops = "\n".join(f"design -load all\nhierarchy -check -top {m}\nproc\ncheck -assert" for m in modules)
    (folder / "read.ys").write_text(f"read_verilog -sv {files}\ndesign -save all\n{tops}\n{script}")
    done = run_yosys(folder, "-q", "read.ys")
    said = (done.stdout + done.stderr).strip()
    return said or ("" if done.returncode == 0 else f"exit code {done.returncode}")


def test_there_are_modules():
    assert {"fifo", "stream_fork", "linear", "softmax"} <= set(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_verilator_lint(module):
    for params in ({}, *VARIANTS.get(module, ())):
        assert lint(RTL / f"{module}.sv", module, params, RTL) == "", params


def test_yosys_reads_all(tmp_path):
    for module in MODULES:
        shutil.copy(RTL / f"{module}.sv", tmp_path)
    assert elaborate(tmp_path, MODULES) == ""


@pytest.mark.parametrize("params", [{}, {"CLOCK_MHZ": 133, "CL": 3, "COL_W": 10, "ROW_W": 12}])
def test_the_memory_controller_of_a_board(params, tmp_path):
    """hw/rtl/board/sdram.sv; the others of its folder are linted as parts of their top (tests/hil/test_board.py)."""
    assert lint(RTL / "board" / "sdram.sv", "sdram", params, RTL) == ""
    for source in (RTL / "board" / "sdram.sv", RTL / "fifo.sv", RTL / "fifo_deep.sv"):
        shutil.copy(source, tmp_path)
    assert elaborate(tmp_path, ["fifo", "fifo_deep", "sdram"]) == ""


def test_module_is_named_as_its_file():
    """The bench finds a module's file by its name (bitloom.sim.runner.needed)."""
    for module in MODULES:
        assert f"\nmodule {module} " in (RTL / f"{module}.sv").read_text(), module


def test_a_bad_module_is_found(tmp_path):
    """The two checks above can fail: a width mismatch for Verilator, an unknown module for Yosys."""
    bad = tmp_path / "bad.sv"
    bad.write_text("module bad (input wire logic [3:0] a, output logic [1:0] y);\n  assign y = a;\nendmodule\n")
    assert "WIDTHTRUNC" in lint(bad, "bad", {}, tmp_path)
    bad.write_text("module bad (input wire logic a, output logic y);\n  nowhere u (.a, .y);\nendmodule\n")
    assert "nowhere" in elaborate(tmp_path, ["bad"])
