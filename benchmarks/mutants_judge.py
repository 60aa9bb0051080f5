# SPDX-License-Identifier: Apache-2.0
"""Judges a changed line of the RTL: does it compile, does its module's own bench see it, do simulations of encoders see it?

The benches are the repository's tests, run in a copy of its tree in which the line is changed.
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from benchmarks.mutants_draw import FOLDERS, Mutant
from bitloom.sim.tools import find_verilator

ROOMS = ("boards", "hls", "hw", "qat", "recipes", "sim")  # installed below `bitloom`
CPU_SECONDS = 60  # of one process: a simulation that goes on and on; no bench takes half of it
LEAST_SECONDS, FACTOR = 300, 10  # a bench that waits, not computes, is ended after FACTOR times what it takes without a change: the machine may be busy
END_SECONDS = 15  # for a bench that is told to end
FILE_BYTES = 1 << 29  # that it may write into one file
OTHER_TESTS = "not no_multiplier and not lint and not synthesis and not yosys"  # they read the RTL, but do not run it


class MutantError(Exception):
    """What keeps mutants from being judged, in one line."""


@dataclass(frozen=True)
class Bench:
    """Tests: files, pytest's -k and -m."""

    files: tuple[str, ...]
    names: str = OTHER_TESTS
    marks: str = "not slow"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """verdict: `no build`, `unit` or `verify` (what has seen it) or `survived`; by: the test; how: what it said."""

    verdict: str
    by: str = ""
    how: str = ""
    seconds: float = 0.0


MATRIX = ("tests/ops/test_linear.py", "tests/ops/test_scores.py", "tests/ops/test_context.py")
PRODUCTS, ARITHMETIC, STREAMS = "tests/rtl/test_products.py", "tests/hw/test_arithmetic.py", "tests/rtl/test_streams.py"
ROLLED, CODEBOOK = "tests/hw/test_rolled.py", "tests/hw/test_codebook.py"
STREAMED = ("tests/hw/test_streamed.py", "tests/hw/test_streamed_kinds.py")
OFF_RAMPS = "tests/rtl/test_off_ramps.py"
POOLS = ("tests/ops/test_token_max.py", "tests/ops/test_token_mean.py")
SPARSE = "tests/ops/test_linear_sparse.py"
NORM, REQUANT, BOARD = "tests/ops/test_layernorm.py", "tests/ops/test_requant.py", "tests/hil/test_board.py"
# Unit benches of what is no operator, the quickest first: by module, then by folder.
UNIT = {
    "axi_fetch": ("tests/rtl/test_axi_fetch.py",),
    "banks": MATRIX,
    "blocks": STREAMED,
    "by_turn": STREAMED,
    "decode": (MATRIX[0], CODEBOOK),
    "fifo": (STREAMS,),
    "fifo_deep": (STREAMS,),
    "first_key": MATRIX[1:],
    "image_loader": ("tests/rtl/test_image_loader.py",),
    "isqrt": (ARITHMETIC, NORM),
    "layernorm_scale": (NORM,),
    "layernorm_sums": (NORM,),
    "linear_tiles": STREAMED,
    "link_load": ("tests/hil/test_load.py",),
    "link_out": ("tests/hil/test_link_out.py", BOARD),
    "loop": (ROLLED, OFF_RAMPS),
    "lstm_cell": ("tests/ops/test_lstm.py",),
    "mac_array": (PRODUCTS, *MATRIX),
    "mul": (ARITHMETIC, NORM),
    "off_ramps": (OFF_RAMPS,),
    "pick": (SPARSE,),
    "places": ("tests/ops/test_lstm.py",),
    "pool": POOLS,
    "window": ("tests/ops/test_token_window.py", "tests/ops/test_window_max.py", "tests/ops/test_window_mean.py"),
    "product_reg": (PRODUCTS, ARITHMETIC, REQUANT, NORM),
    "recip": (ARITHMETIC, "tests/ops/test_softmax.py", NORM),
    "regroup": (MATRIX[2],),
    "ring": MATRIX[1:],
    "rom": ("tests/ops/test_table.py", "tests/ops/test_linear.py", REQUANT, *STREAMED),
    "schedule": (SPARSE, MATRIX[0], ROLLED, "tests/hw/test_sparse.py"),
    "sdram": ("tests/rtl/test_sdram.py",),
    "softmax_row": ("tests/ops/test_softmax.py",),
    "stream_fork": (STREAMS,),
    "tiles": STREAMED,
    "turns": (ROLLED,),
    "two_values": (MATRIX[0], CODEBOOK),
    "unfold": STREAMED,
    "unpack": (MATRIX[0], MATRIX[2]),
    "hw/rtl/board": (BOARD,),
    "hw/synth/rtl": ("tests/hw/test_reset_sync.py",),
    "hw/synth/rtl/ice40up/product_reg.sv": ("tests/hw/test_small_boards.py",),  # its namesake has others
    "hw/vivado/rtl": ("tests/hw/test_vivado_ip.py",),
}
# Encoders in simulation, stalls included; of three kinds, which hold every module. The IP's unit bench is one itself.
VERIFY = {
    "hw/rtl": Bench(("tests/hw/test_encoder_rtl.py",), "(bits_and_cycles or stalls) and (filled or few or queries)"),
    "hw/rtl/board": Bench((BOARD,), "disturbed_line or encoder_alone", "slow"),
}
ALONE = ("sdram",)  # in no design that is simulated whole
NO_BENCH = ("hw/synth/rtl/harness.sv", "hw/synth/rtl/harness_memory.sv")  # their frequency is measured, what they compute is not read
# What a top needs that is generated for each encoder.
STAND_IN = """\
package encoder_shape;
  localparam int IN_LANES = 2, IN_BITS = 10, IN_SIGNED = 1, IN_DEPTH = 64, OUT_W = 16, MEMORY = 1;
endpackage
module board_encoder #(parameter int CLOCK_MHZ = 25) (input wire logic clk, rst, clear, s_axis_tvalid, s_axis_tlast, m_axis_tready,
  input wire logic [31:0] s_axis_tdata, output logic s_axis_tready, m_axis_tvalid, m_axis_tlast, output logic [15:0] m_axis_tdata,
  output logic [63:0] identity, input wire logic load_valid, input wire logic [24:0] load_addr, input wire logic [15:0] load_data,
  output logic load_ready, weights_ready, memory_error, output logic [63:0] weights_hash, output logic [3:0] memory_error_code,
  output logic [31:0] memory_error_address, output logic sdram_cke, sdram_cs_n, sdram_ras_n, sdram_cas_n, sdram_we_n, sdram_dq_oe,
  output logic [1:0] sdram_ba, sdram_dqm, output logic [12:0] sdram_a, output logic [15:0] sdram_dq_o, input wire logic [15:0] sdram_dq_i);
endmodule
"""


def unit_bench(root: Path, file: str) -> Bench:
    folder, stem = str(Path(file).parent), Path(file).stem
    operator = f"tests/ops/test_{stem.removesuffix('_op')}.py"
    files = UNIT.get(file) or UNIT.get(stem) or UNIT.get(folder) or ((operator,) if (root / operator).is_file() else ())
    if not files:
        raise MutantError(f"mutants: got {file} without a unit bench, must have one; name its tests in benchmarks/mutants_judge.py")
    return Bench(files)


def plant(root: Path, tree: Path, mutant: Mutant) -> None:
    """The file with its line changed, from the repository to its copy."""
    lines = (root / mutant.file).read_text().splitlines(keepends=True)
    lines[mutant.line - 1] = lines[mutant.line - 1].replace(mutant.before, mutant.after)
    (tree / mutant.file).write_text("".join(lines))


def compiles(tree: Path, file: str) -> bool:
    """Verilator reads the module and its parts without an error; warnings do not count."""
    verilator, text = find_verilator(), (tree / file).read_text()
    with tempfile.TemporaryDirectory() as folder:
        stand_in = Path(folder) / "stand_in.sv"
        stand_in.write_text(STAND_IN)
        sources = [str(stand_in)] * (" encoder" in text) + [str(tree / file)]
        command = [verilator.command, "--lint-only", "-Wno-fatal", "--quiet", "--top-module", Path(file).stem]
        libraries = [word for name in FOLDERS for word in ("-y", str(tree / name))]
        done = subprocess.run([*command, *libraries, *sources], env=verilator.env, capture_output=True, text=True, check=False)
    return done.returncode == 0


class Judge:
    """Runs benches in a copy of the repository in `work`; only one at a time."""

    def __init__(self, root: Path, work: Path):
        self.root, self.tree, self.cache, self.temporary, self.log = root, *(work / name for name in ("tree", "cache", "tmp", "bench.log"))
        shutil.rmtree(self.tree, ignore_errors=True)
        for room in ("bitloom", *ROOMS, "tests"):
            shutil.copytree(root / room, self.tree / room, ignore=shutil.ignore_patterns("__pycache__"))
        for room in ROOMS:  # as they are installed: the copy is imported, not the repository
            (self.tree / "bitloom" / room).symlink_to(Path("..") / room)
        shutil.copy(root / "pyproject.toml", self.tree)
        self.cache.mkdir(parents=True, exist_ok=True)
        self.seconds = cache(self._seconds)

    def judge(self, mutant: Mutant) -> Verdict:
        """Raises MutantError: a bench fails without the change, too, or has no test."""
        spent, benches, folder = 0.0, {"unit": unit_bench(self.root, mutant.file)}, str(Path(mutant.file).parent)
        if folder in VERIFY and Path(mutant.file).stem not in ALONE:
            benches["verify"] = VERIFY[folder]
        with self._planted(mutant):
            if not compiles(self.tree, mutant.file):
                return Verdict(verdict="no build")
        for name, bench in benches.items():
            limit = max(LEAST_SECONDS, FACTOR * self.seconds(bench))
            began = time.monotonic()
            with self._planted(mutant):
                seen = self._run(bench, limit)
            spent += time.monotonic() - began
            if seen:
                verdict = "no build" if "simulation build failed" in seen[1] else name
                return Verdict(verdict=verdict, by=seen[0], how=seen[1], seconds=round(spent, 1))
        return Verdict(verdict="survived", seconds=round(spent, 1))

    @contextmanager
    def _planted(self, mutant: Mutant) -> Iterator[None]:
        """The tree with the change, and without it again; what is built meanwhile nobody needs again."""
        built = set(self.cache.iterdir())
        plant(self.root, self.tree, mutant)
        try:
            yield
        finally:
            shutil.copy(self.root / mutant.file, self.tree / mutant.file)
            for made in set(self.cache.iterdir()) - built:
                if not made.name.startswith("runtime-"):
                    shutil.rmtree(made) if made.is_dir() else made.unlink()

    def _seconds(self, bench: Bench) -> float:
        """What it takes without a change; it must pass."""
        began = time.monotonic()
        seen = self._run(bench, 3600)
        if seen:
            raise MutantError(f"mutants: {seen[0]} fails without a change: {seen[1]}; mend it first")
        return time.monotonic() - began

    def _run(self, bench: Bench, limit: float) -> tuple[str, str] | None:
        """(test, what it said) of the first test that fails; None if all pass."""
        shutil.rmtree(self.temporary, ignore_errors=True)
        self.temporary.mkdir()
        own = {"PYTHONPATH": self.tree, "BITLOOM_CACHE": self.cache, "TMPDIR": self.temporary, "COLUMNS": "400", "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider", "-m", bench.marks, "-k", bench.names, *bench.files]
        with self.log.open("w") as out:
            process = subprocess.Popen(
                command,
                cwd=self.tree,
                env=os.environ | {key: str(value) for key, value in own.items()},
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_limits,
            )
        code = _wait(process, limit)
        if code is None or code in (-signal.SIGXCPU, -signal.SIGXFSZ):
            return " ".join(bench.files), f"ended after {limit:.0f} s" if code is None else f"ended by {signal.Signals(-code).name}"
        if code == 0:
            return None
        said = self.log.read_text(errors="replace")
        failed = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - (.*))?$", said, re.MULTILINE)
        if code != 1 or not failed:
            raise MutantError(f"mutants: pytest {' '.join(bench.files)} -k {bench.names!r} ended with {code}, must run tests; see {self.log}")
        return failed[1], failed[2] or ""


def _limits() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES, FILE_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 10))


def _wait(process: subprocess.Popen, limit: float) -> int | None:
    """Its exit code; None if it took too long. What it has started ends with it."""
    try:
        return process.wait(limit)
    except subprocess.TimeoutExpired:
        return None
    finally:
        for end in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError, subprocess.TimeoutExpired):
                os.killpg(process.pid, end)
                process.wait(END_SECONDS)
