# SPDX-License-Identifier: Apache-2.0
"""The mutator and its judge (benchmarks/mutants.py): which lines are drawn, that nothing else changes, and what a verdict says."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import mutants_judge
from benchmarks.mutants import EQUIVALENT, Store, alone, table, wrong_entries
from benchmarks.mutants_draw import FOLDERS, KINDS, Mutant, constants, draw, rtl_files, sites
from benchmarks.mutants_judge import NO_BENCH, VERIFY, Judge, MutantError, Verdict, compiles, plant, unit_bench

ROOT = Path(__file__).parents[2]
ALL = draw(ROOT, 1, rtl_files(ROOT))
SMALL = """\
// a + b == 1
module tiny #(
  parameter int W = 8,  // W + 1
  localparam int X = W > 1 ? 2 : 1
) (
  input  wire logic clk, rst,
  input  wire logic [W-1:0] a,
  output logic [W-1:0] m
);
  logic [W-1:0] q, r [0:3];
  (* keep = 1 *) wire b = a <= q;
  always_ff @(posedge clk) begin
    if (b) q <= W'(a + 3'd1);  /* q < a */
    if (rst) begin
      {q, m} <= '0;
    end
  end
  initial if (W < 1) $fatal(1, "tiny: got W %0d, must be at least 1", W);
  initial begin
    if (W > 64)
      $fatal(1, "tiny: got W %0d, must be at most 64", W);
  end
endmodule
"""
# Every place of it: (kind, what is replaced, by what).
PLACES = {
    ("comparison", ">", (">=",)),
    ("constant", "1", ("2", "0")),
    ("constant", "2", ("3", "1")),
    ("comparison", "<=", ("<",)),
    ("condition", "b", ("!(b)",)),
    ("operator", "+", ("-",)),
    ("constant", "3'd1", ("3'd2", "3'd0")),
    ("assignment", "q <= W'(a + 3'd1)", ("",)),
    ("condition", "rst", ("!(rst)",)),
    ("constant", "'0", ("'1",)),
    ("reset", "{q, m}", ("{m}",)),
    ("reset", "{q, m}", ("{q}",)),
}


def test_places_of_a_tiny_module():
    found = [(s.kind, SMALL[s.start : s.end], s.choices) for s in sites(SMALL)]
    assert set(found) == PLACES and len(found) == len(PLACES) + 1  # the localparam has two ones


@pytest.mark.parametrize(
    ("number", "changed"),
    [
        ("0", ("1",)),
        ("7", ("8", "6")),
        ("'1", ("'0",)),
        ("1'b0", ("1'b1",)),
        ("4'h1", ("4'h0", "4'h9")),
        ("2'd3", ("2'd0", "2'd2")),
        ("8'h7E", ("8'h7f", "8'hfe")),
    ],
)
def test_constants(number, changed):
    assert constants(number) == changed


def test_a_seed_draws_the_same_and_another_one_does_not():
    again, other = draw(ROOT, 1, rtl_files(ROOT)), draw(ROOT, 2, rtl_files(ROOT))
    assert again == ALL and {m.change for m in ALL[:50]} != {m.change for m in other[:50]}


def test_what_is_drawn_does_not_change_with_other_lines(tmp_path):
    """An edit takes its own line's mutants away and leaves the order of the others."""
    (tmp_path / "a.sv").write_text(SMALL)
    (tmp_path / "b.sv").write_text(SMALL.replace("tiny", "other"))
    before = draw(tmp_path, 5, ["a.sv", "b.sv"])
    (tmp_path / "b.sv").write_text("// above\n" + SMALL.replace("tiny", "other").replace("if (b) q", "if (b || rst) q"))
    kept = {m.change: None for m in draw(tmp_path, 5, ["a.sv", "b.sv"])}
    untouched = [m.change for m in before if m.file == "a.sv" or "if (b)" not in m.before]
    assert len(untouched) > 15
    for kind in KINDS:  # kinds take turns, so the order holds within each
        own = [m.change for m in before if m.kind == kind and m.change in untouched]
        assert own == [change for change in kept if change in own]


INSTANCES = {"hw/rtl/token_window.sv"}  # of other modules, and nothing else


def test_every_kind_and_every_file_is_drawn():
    assert {m.kind for m in ALL[: len(KINDS)]} == set(KINDS) and {m.file for m in ALL} == set(rtl_files(ROOT)) - INSTANCES
    assert len(rtl_files(ROOT)) == sum(len(list((ROOT / folder).glob("*.sv"))) for folder in FOLDERS) == len(list((ROOT / "hw").rglob("*.sv")))
    assert len({(m.change, m.line) for m in ALL}) == len(ALL) > 2000


def test_only_code_changes():
    """Never a comment, a port, a parameter's default, a check; and each time the code."""
    for mutant in ALL:
        (old, *note), (new, *new_note) = (re.split(r"(//|/\*)", text, maxsplit=1) for text in (mutant.before, mutant.after))
        assert old != new and note == new_note, mutant
        assert not re.search(r"\$fatal|^\s*(module|parameter|input|output|typedef|endmodule)\b", old), mutant


def test_one_line_changes(tmp_path):
    for mutant in ALL[::40]:
        (tmp_path / mutant.file).parent.mkdir(parents=True, exist_ok=True)
        plant(ROOT, tmp_path, mutant)
        old, new = ((folder / mutant.file).read_text().splitlines() for folder in (ROOT, tmp_path))
        assert len(old) == len(new) and [i + 1 for i, pair in enumerate(zip(old, new, strict=True)) if pair[0] != pair[1]] == [mutant.line]


def test_drawn_lines_compile(tmp_path):
    """Nearly all: what does not is drawn anew. A broken line does not, a whole file does."""
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, tmp_path / folder, dirs_exist_ok=True)
    assert compiles(tmp_path, "hw/rtl/board/uart_top.sv")
    drawn = [*ALL[:12], next(m for m in ALL if m.file.endswith("harness.sv"))]
    read = []
    for mutant in drawn:
        plant(ROOT, tmp_path, mutant)
        read.append(compiles(tmp_path, mutant.file))
        shutil.copy(ROOT / mutant.file, tmp_path / mutant.file)
    assert sum(read) >= len(drawn) - 2, [m for m, ok in zip(drawn, read, strict=True) if not ok]
    (tmp_path / "hw/rtl/rom.sv").write_text((ROOT / "hw/rtl/rom.sv").read_text().replace("<= mem", "<= = mem"))
    assert not compiles(tmp_path, "hw/rtl/rom.sv")


def test_every_file_has_a_bench():
    for file in rtl_files(ROOT):
        if file not in NO_BENCH:
            assert all((ROOT / name).is_file() for name in unit_bench(ROOT, file).files)
    assert all((ROOT / name).is_file() for bench in VERIFY.values() for name in bench.files)
    assert set(NO_BENCH) <= set(rtl_files(ROOT))
    with pytest.raises(MutantError, match=r"mutants: got hw/rtl/new.sv without a unit bench, must have one; name its tests in benchmarks/mutants_judge.py"):
        unit_bench(ROOT, "hw/rtl/new.sv")


def test_equivalent_ones_are_lines_of_the_rtl():
    for (file, nth, before, after), reason in EQUIVALENT.items():
        lines = [line.strip() for line in (ROOT / file).read_text().splitlines()]
        assert lines.count(before) >= nth >= 1 and before != after, (file, before)
        assert len(reason.split()) > 5, (file, before)


@pytest.fixture
def repository(tmp_path, monkeypatch) -> Path:
    """One module, whose bench sees some changes, hangs at one, and cannot build another."""
    root = tmp_path / "root"
    for folder in ("bitloom", *mutants_judge.ROOMS, "hw/rtl", "tests/ops", "tests/whole"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "hw" / "rtl" / "tiny.sv").write_text(SMALL)
    shutil.copy(ROOT / "pyproject.toml", root)
    text = "import time\nfrom pathlib import Path\n\ndef test_text():\n    text = Path('hw/rtl/tiny.sv').read_text()\n"
    (root / "tests" / "ops" / "test_tiny.py").write_text(
        f"{text}    assert 'a + 3' in text, 'the sum'\n    time.sleep(60 * ('!(b)' in text))\n    while '2);' in text: pass\n    assert '!(rst)' not in text, 'simulation build failed'\n"
    )
    (root / "tests" / "whole" / "test_whole.py").write_text(f"{text}    assert '{{q, m}}' in text, 'the reset'\n")
    monkeypatch.setattr(mutants_judge, "LEAST_SECONDS", 8)
    monkeypatch.setattr(mutants_judge, "FACTOR", 0)
    monkeypatch.setattr(mutants_judge, "CPU_SECONDS", 2)
    monkeypatch.setattr(mutants_judge, "VERIFY", {"hw/rtl": mutants_judge.Bench(("tests/whole/test_whole.py",))})
    return root


def drawn(root: Path, kind: str, after: str) -> Mutant:
    return next(m for seed in range(9) for m in draw(root, seed, ["hw/rtl/tiny.sv"]) if m.kind == kind and after in m.after)


@pytest.mark.parametrize(
    ("kind", "after", "verdict", "by", "how"),
    [
        ("operator", "a - 3", "unit", "tests/ops/test_tiny.py::test_text", "the sum"),
        pytest.param("condition", "!(b)", "unit", "tests/ops/test_tiny.py", "ended after 8 s", marks=pytest.mark.slow),
        ("constant", "3'd2", "unit", "tests/ops/test_tiny.py", "ended by SIGXCPU"),
        ("condition", "!(rst)", "no build", "tests/ops/test_tiny.py::test_text", "simulation build failed"),
        ("reset", "{m}", "verify", "tests/whole/test_whole.py::test_text", "the reset"),
        ("comparison", "a < q", "survived", "", ""),
    ],
)
def test_verdicts(repository, tmp_path, kind, after, verdict, by, how):
    judge = Judge(repository, tmp_path / "out")
    got = judge.judge(drawn(repository, kind, after))
    assert (got.verdict, got.by) == (verdict, by) and how in got.how
    assert (tmp_path / "out" / "tree" / "hw" / "rtl" / "tiny.sv").read_text() == SMALL


def test_a_bench_that_fails_without_a_change_is_an_error(repository, tmp_path):
    (repository / "hw" / "rtl" / "tiny.sv").write_text(SMALL.replace("a + 3", "a - 3"))
    with pytest.raises(MutantError, match=r"mutants: tests/ops/test_tiny.py::test_text fails without a change: .*the sum.*; mend it first"):
        Judge(repository, tmp_path / "out").judge(drawn(repository, "comparison", "a < q"))


def test_verdicts_are_kept_and_counted(tmp_path, monkeypatch):
    store, judged = Store(tmp_path / "m.json"), []
    for number, verdict in enumerate(("unit", "unit", "verify", "survived", "survived")):
        store.put(ALL[number], Verdict(verdict=verdict, by="a test"))
        judged.append((number, ALL[number], store.get(ALL[number])))
    assert Store(tmp_path / "m.json").records == store.records and len(json.loads((tmp_path / "m.json").read_text())) == 5
    monkeypatch.setitem(EQUIVALENT, ALL[4].change, "as it is")
    assert table(judged).splitlines()[-1] == "| all | 5 | 2 | 1 | 1 | 1 |" and wrong_entries(judged) == []
    monkeypatch.setitem(EQUIVALENT, ALL[0].change, "it is not")
    assert len(wrong_entries(judged)) == 1 and "is in EQUIVALENT, but a test sees it" in wrong_entries(judged)[0]


def test_two_campaigns_do_not_share_a_folder(tmp_path):
    first = alone(tmp_path / "out")
    with pytest.raises(MutantError, match=r"--out: got .*out, in which another campaign runs, must be free; take another folder or wait"):
        alone(tmp_path / "out")
    first.close()
    alone(tmp_path / "out").close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--only", "softmx"], "--only: got 'softmx', must be RTL that has a bench; did you mean 'softmax'?"),
        (["--run", "99999"], "--run: got 99999, must be 0 .. "),
        (["--count", "0"], "--count: got 0, must be at least 1"),
    ],
)
def test_bad_options(options, message, tmp_path):
    command = [sys.executable, "-m", "benchmarks.mutants", "--out", str(tmp_path), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stderr.startswith(message) and done.stderr.count("\n") == 1
