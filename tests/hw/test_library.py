# SPDX-License-Identifier: Apache-2.0
"""Every operator has all its parts, each where its name says."""

import ast
import inspect
from importlib import import_module
from pathlib import Path

import pytest
from encoders import random_bilstm, random_cnn, random_encoder, random_hourglass

from bitloom.hw.board import Board
from bitloom.hw.cost.resources import MODULES, terms
from bitloom.hw.ops import OPS
from bitloom.hw.plan.design import Design
from bitloom.hw.plan.solve import HardwareConfig, solve

ROOT = Path(__file__).parents[2]
HEADERS = ROOT / "hls" / "nnet"
SHARED_HEADERS = ("beat", "axis", "fork", "csim", "pool", "window", "turns")  # streams and plumbing between the operators, and what some of them share
HARDWARE = [stem for stem, op in OPS.items() if not op.host and not op.gate]
NOT_FINN = {
    "border",
    "pattern",
    "keep_tokens",
    "token_window",
    "token_max",
    "token_mean",
    "concat",
    "lstm",
    "window_max",
    "window_mean",
    "upsample",
}  # it refuses them in one line


@pytest.mark.parametrize("stem", OPS)
def test_golden_part(stem):
    module = import_module(f"bitloom.hw.ops.{stem}")
    assert OPS[stem] is module.OP and module.OP.name == stem
    golden = getattr(module, stem)
    assert "returns" in golden.__doc__ or "y[s]" in golden.__doc__, "a golden function states shapes and units"
    assert callable(module.append)


@pytest.mark.parametrize("stem", HARDWARE)
def test_hardware_parts(stem):
    op = OPS[stem]
    assert inspect.isgeneratorfunction(op.timing)
    assert callable(op.rtl) and callable(op.interval) == op.matrix
    assert op.module.name in (stem, f"{stem}_op") and MODULES[op.module.name] is op.module
    names = [f"{stem}.sv", f"{stem}_op.sv"]  # table and context are keywords
    files = [ROOT / "hw" / "rtl" / name for name in names if (ROOT / "hw" / "rtl" / name).is_file()]
    assert len(files) == 1, f"hw/rtl must have one of {names}"
    assert f"Golden : hw/ops/{stem}.py" in files[0].read_text(), "the header names the golden function's file"


@pytest.mark.parametrize("stem", [stem for stem, op in OPS.items() if op.gate])
def test_gate_parts(stem):
    """A gate is part of the loop of a rolled encoder."""
    assert f"Golden : hw/ops/{stem}.py" in (ROOT / "hw" / "rtl" / f"{stem}.sv").read_text() and f" {stem} #(" in (ROOT / "hw" / "rtl" / "loop.sv").read_text()


def test_instances_are_of_the_records_module():
    """And every size that decides its cost is a number."""
    graphs = [random_encoder(1, keys="segment", patterns=("left", "next")), random_encoder(1, keep=128)]
    graphs += [random_cnn(1, hidden=8, stack=((3, 1),), kernels=(2, 3), filters=4, pooling=pooling) for pooling in ("max", "mean")]
    graphs += [random_bilstm(1, hidden=8, units=4, classifier=4), *(random_hourglass(1, hidden=8, returns=True, down=down) for down in ("max", "mean"))]
    board, units = Board.load("ulx3s_85f"), [unit for graph in graphs for unit in Design(graph, solve(graph, HardwareConfig(multipliers=30))).units]
    assert {unit.op.name for unit in units} == set(HARDWARE)
    for unit in units:
        assert unit.instance.module == unit.op.module.name
        sizes = terms(unit.instance, board)
        assert len(sizes) > 4 and all(size >= 0 for size in sizes.values()), unit.name


@pytest.mark.parametrize("stem", [stem for stem in HARDWARE if stem not in NOT_FINN])
def test_finn_parts(stem):
    assert callable(OPS[stem].finn.nodes) and callable(OPS[stem].finn.values)


@pytest.mark.parametrize("stem", HARDWARE)
def test_hls_parts(stem):
    assert callable(OPS[stem].hls)
    header = HEADERS / f"{stem}.h"
    assert header.is_file(), f"hls/nnet must have {stem}.h"
    head = "".join(line for line in header.read_text().splitlines(keepends=True)[:12] if line.startswith("//"))
    assert head.splitlines()[1].startswith(f"// {stem}: "), "the second line says what the operator computes"
    assert f"Golden : hw/ops/{stem}.py" in head, "the header names the golden function's file"
    assert f"BITLOOM_{stem.upper()}_H_" in header.read_text()


def test_no_header_without_an_operator():
    gates = {stem for stem, op in OPS.items() if op.gate and op.hls}
    assert {p.stem for p in HEADERS.glob("*.h")} == {*HARDWARE, *gates, *SHARED_HEADERS}


@pytest.mark.parametrize("stem", OPS)
def test_tests(stem):
    text = (ROOT / "tests" / "ops" / f"test_{stem}.py").read_text()
    assert "def test_" in text and stem in text


def test_no_file_without_an_operator():
    stems = {p.stem for p in (ROOT / "hw" / "ops").glob("*.py")} - {"__init__", "common", "record"}
    assert stems == set(OPS)


@pytest.mark.parametrize("folder", ["hw", "sim", "hls"])
def test_hardware_does_not_import_the_training_side(folder):
    """Arrows between folders point one way."""
    for path in (ROOT / folder).rglob("*.py"):
        brings_torch = path.is_relative_to(ROOT / "hls" / "finn")  # as its package does
        for line in path.read_text().splitlines():
            words = line.split()
            if words[:1] in (["import"], ["from"]):
                assert brings_torch or words[1].split(".")[0] not in {"torch", "transformers", "brevitas"}, f"{path}: {line}"
                assert not words[1].startswith(("bitloom.qat", "bitloom.stages")), f"{path}: {line}"


# Where one of these words is no operator: (file, word).
OTHER_WORDS = {
    ("benchmarks/mutants_judge.py", "off_ramps"),  # a module of hw/rtl: its bench is that of the loop
    ("bitloom/stages/verify.py", "table"),  # rows of a report
    ("hw/board.py", "add"),  # what to do with a field
    ("hw/parts/linear_tiles.py", "table"),  # a memory: where tiles lie
    ("qat/config.py", "scores"),  # a bit width of the recipe
    ("qat/data.py", "context"),  # a column of a data set
    ("qat/net/attention.py", "scores"),  # the same
    ("qat/train.py", "scores"),  # of tasks
}
ROOMS = ("benchmarks", "bitloom", "boards", "hls", "hw", "qat", "recipes", "sim")


def words_for_operators(source: str) -> set[str]:
    """Operators and their modules that a Python source names in a text of its own: to compare with, as a key, in a list."""
    names = {*OPS, *(op.module.name for op in OPS.values() if op.module)}
    return {node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in names}


def test_operators_are_named_in_their_own_files_only():
    """What differs between operators stands in their records (hw/ops/record.py): no other file asks which one it has."""
    found = {
        (str(path.relative_to(ROOT)), word)
        for room in ROOMS
        for path in (ROOT / room).rglob("*.py")
        if not path.is_relative_to(ROOT / "hw" / "ops")
        for word in words_for_operators(path.read_text())
    }
    assert not found - OTHER_WORDS, "use the operator's record"
    assert not OTHER_WORDS - found, "no such word: take it from the list"


@pytest.mark.parametrize("line", ['node.op == "softmax"', 'node.op in ("add", "table")', '{"context_op": 1}', 'match x:\n  case "linear":\n    pass'])
def test_a_named_operator_is_found(line):
    assert words_for_operators(line)
