# SPDX-License-Identifier: Apache-2.0
"""Build a bench once per content, run it under cocotb, and let no failure pass for success."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version as package_version
from pathlib import Path

from bitloom.hw import process
from bitloom.sim.errors import BuildError, SimulationError, ToolError
from bitloom.sim.plusargs import arguments
from bitloom.sim.tools import Verilator, cocotb_env, find_verilator

TOP = "bench"
HDL = Path(__file__).resolve().parent / "hdl"
BENCH_FILES = (HDL / "bench.vlt", *(HDL / f"bench_{part}.sv" for part in ("control", "source", "sink", "tap", "fill")))
HEADERS, PRECOMPILE = HDL / "headers.h", HDL / "headers.mk"
MEMORY_FILES = (HDL / "axi_memory.sv", HDL / "bench_memory.sv")
# What is not said to begin with, or is an X, has random bits: a simulation that begins with zeros does not miss a reset (sim/plusargs.py).
COMMON = ("-O3", "-Wno-fatal", "--timescale", "1ns/1ns", "--x-initial", "unique", "--x-assign", "unique")


@dataclass(frozen=True)
class Effort:
    """How much the C++ compiler does. options: Verilator's; make: the compiler's; headers: one precompiled header for all designs, 0.1 GB in the cache."""

    options: tuple[str, ...]
    make: tuple[str, ...]
    headers: bool = False


# For a run of a moment (units): one file but for the largest, and headers, which take longer than it, parsed once. For one of minutes (encoders): splitting
# keeps the compiler's time linear; one function of a whole encoder takes it minutes, and runs no faster. Verilator has a precompiled header there.
QUICK = Effort(("--output-split", "300000"), ("OPT_FAST=-O0", "OPT_SLOW=-O0", "OPT_GLOBAL=-O1"), headers=True)
FAST = Effort(("--output-split", "5000", "--output-split-cfuncs", "500"), ("OPT_FAST=-O2", "OPT_SLOW=-O0", "OPT_GLOBAL=-O2"))
EFFORT = "BITLOOM_BUILD"  # environment: `quick` takes QUICK for encoders too, for those that simulate a moment


def encoder_effort() -> Effort:
    return QUICK if os.environ.get(EFFORT) == "quick" else FAST


@dataclass(frozen=True, kw_only=True)
class Model:
    """All that decides what a simulation executable is.

    sources    Verilog files, packages first
    generated  file name -> text of files that are written for this design only
    options    Verilator's, besides COMMON
    effort     QUICK or FAST
    Contents of hex memories are no part of it: they are read when a simulation starts (`run` puts them in its folder).
    """

    sources: tuple[Path, ...]
    generated: dict[str, str]
    options: tuple[str, ...] = ()
    effort: Effort = QUICK

    def key(self, verilator: Verilator, kind: str) -> str:
        digest = hashlib.sha256(f"{kind}\n{verilator.version}\n{COMMON}\n{self.options}\n{self.effort}\n".encode())
        for path in self.sources:
            digest.update(f"{path.name}\n".encode() + hashlib.sha256(_content(path)).digest())
        for name in sorted(self.generated):
            digest.update(f"{name}\n".encode() + hashlib.sha256(self.generated[name].encode()).digest())
        return digest.hexdigest()[:32]


def cache_dir() -> Path:
    """Where built simulations are kept: $BITLOOM_CACHE, else ~/.cache/bitloom/sim."""
    return Path(os.environ.get("BITLOOM_CACHE") or Path.home() / ".cache" / "bitloom" / "sim").absolute()


def build(design: Model) -> Path:
    """The cocotb simulation executable of a design; compiled unless the cache has it.

    Raises BuildError: no simulator, or the build fails (with its log's last lines).
    """
    import cocotb_tools.config as config

    libs, main = config.libs_dir, config.share_dir / "lib" / "verilator" / "verilator.cpp"
    link = f"-Wl,-rpath,{libs} -L{libs} -lcocotbvpi_verilator"
    return compile_model(design, "cocotb", ["--vpi", "--timing", "-LDFLAGS", link, str(main)])


def compile_model(design: Model, kind: str, extra: Sequence[str]) -> Path:
    """Verilate and compile into the cache, unless it is there. Its folder appears whole or not at all."""
    verilator = find_verilator()
    key = design.key(verilator, f"{kind} {' '.join(extra)} cocotb {package_version('cocotb')}")
    target = cache_dir() / f"{kind}-{key}"
    if (target / TOP).is_file():
        return target / TOP
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with process.scratch("build", target.parent) as folder:
            work = folder / "work"
            work.mkdir()
            _compile(design, verilator, extra, work)
            _install(work, target)
    except OSError as error:  # not writable, disk full
        raise BuildError(f"simulation cache: {error}; free some space or set BITLOOM_CACHE to another folder") from error
    return target / TOP


def _compile(design: Model, verilator: Verilator, extra: Sequence[str], work: Path) -> None:
    if " " in str(work):
        raise BuildError(f"simulation cache: got {work}, must have no space in its path (make cannot); set BITLOOM_CACHE")
    log, objects = work / "build.log", work / "obj"
    for name, text in design.generated.items():
        (work / name).write_text(text)
    sources = [str(Path(p).absolute()) for p in design.sources] + list(design.generated)
    _call(
        [
            verilator.command,
            "-cc",
            "--exe",
            "--Mdir",
            "obj",
            "--prefix",
            "Vtop",
            "--top-module",
            TOP,
            "-o",
            TOP,
            *COMMON,
            *design.effort.options,
            *design.options,
            *extra,
            *sources,
        ],
        work,
        verilator,
        log,
    )
    runtime = cache_dir() / f"runtime-{_runtime_key(verilator, design, extra)}"
    _copy_objects(runtime, objects)
    make = ["make", "-C", "obj", "-f", "Vtop.mk", "-j", "2", *design.effort.make]
    if design.effort.headers:
        make += _headers(runtime, objects, lambda target: _call([*make, "-f", str(PRECOMPILE), target], work, verilator, log))
    _call(make, work, verilator, log)
    if not runtime.is_dir():
        _keep_runtime(objects, runtime)


def _call(command: Sequence[str], work: Path, verilator: Verilator, log: Path) -> None:
    with log.open("a") as out:
        out.write(" ".join(command) + "\n")
        out.flush()
        env = verilator.env | {"TMPDIR": str(work)}  # what a compiler that was killed leaves goes with the folder
        done = process.run(command, cwd=work, env=env, stdout=out, stderr=process.STDOUT)
    if done.returncode:
        kept = shutil.copy(log, cache_dir() / "failed-build.log")
        raise BuildError(f"simulation build failed, log in {kept}:\n{telling_lines(log)}")


def _runtime_key(verilator: Verilator, design: Model, extra: Sequence[str]) -> str:
    """Of what is compiled into it: of options those that add to it (vpi, timing, waves), not those that say how Verilog is read."""
    flags = [a for a in (*design.options, *extra) if a.startswith("--")]
    return hashlib.sha256(f"{verilator.version}\n{design.effort}\n{flags}\n".encode() + _content(HEADERS)).hexdigest()[:16]


def _copy_objects(source: Path, target: Path) -> None:
    """Verilator's own runtime takes most of a small bench's build and is the same for all: make finds it compiled.

    Copies are newer than Vtop.mk, which make compares them with.
    """
    target.mkdir(parents=True, exist_ok=True)
    for path in source.glob("verilated*.o"):
        shutil.copyfile(path, target / path.name)


def _headers(runtime: Path, objects: Path, made: Callable[[str], None]) -> list[str]:
    """What make is told for files that begin with the precompiled header, which the runtime lends or `made` makes."""
    shutil.copyfile(HEADERS, objects / HEADERS.name)
    precompiled = objects / f"{HEADERS.name}.gch"
    if (runtime / precompiled.name).is_file():
        precompiled.symlink_to(runtime / precompiled.name)
    else:
        made(precompiled.name)
    for speed in ("fast", "slow"):  # Verilator's own header, of the design: a compiler takes one, and this one is not missed
        (objects / f"Vtop__pch.h.{speed}.gch").touch()
    return [f"USER_CPPFLAGS=-include {HEADERS.name}", "VK_PCH_I_FAST=", "VK_PCH_I_SLOW="]


def _keep_runtime(objects: Path, runtime: Path) -> None:
    with process.scratch("runtime", runtime.parent) as folder, suppress(OSError):  # another process was faster
        _copy_objects(objects, folder / "objects")
        for path in objects.glob(f"{HEADERS.name}.gch"):
            shutil.move(path, folder / "objects" / path.name)
        os.rename(folder / "objects", runtime)


def _install(work: Path, target: Path) -> None:
    """Keep the executable, the log and the generated files; another process may have been faster."""
    os.replace(work / "obj" / TOP, work / TOP)
    shutil.rmtree(work / "obj")
    try:
        os.rename(work, target)
    except OSError:
        if not (target / TOP).is_file():
            raise


def needed(files: Sequence[Path], text: str) -> list[Path]:
    """The files that a design needs: a module's file has its name. So a change elsewhere does not build it anew."""
    pending, found, by_name = [text], set(), {Path(f).stem: Path(f) for f in files}
    while pending:
        words = set(re.findall(r"\w+", pending.pop()))
        for name in (by_name.keys() & words) - found:
            found.add(name)
            pending.append(_content(by_name[name]).decode())
    return [by_name[name] for name in sorted(found)]


def run(
    executable: Path,
    folder: Path,
    plusargs: dict[str, int],
    *,
    env: dict[str, str] | None = None,
    args: Sequence[str] = (),
    wall_seconds: float = 3600.0,
) -> None:
    """Run a bench under cocotb in `folder`, which holds its inputs and gets its records.

    Raises SimulationError: the simulator says what is wrong (a $fatal), or a test failed. ToolError: it took longer than wall_seconds, died
    without a word, or ran no test.
    """
    results, log = folder / "results.xml", folder / "sim.log"
    results.unlink(missing_ok=True)
    environment = cocotb_env("bitloom.sim.cocotb_bench", TOP, results) | (env or {})
    command = [str(executable), *args, *arguments(plusargs)]
    try:
        with log.open("w") as out:
            done = process.run(command, cwd=folder, env=environment, stdout=out, stderr=process.STDOUT, timeout=wall_seconds)
    except process.TimeoutExpired:
        raise ToolError(f"simulation: still running after {wall_seconds:.0f} s, log in {log}; give it more time or fewer sentences") from None
    check_results(results, log, done.returncode)


def check_results(results: Path, log: Path, returncode: int) -> None:
    """Raise SimulationError unless cocotb says that at least one test ran and all passed; ToolError where neither it nor the simulator says anything."""
    from cocotb_tools.check_results import get_results

    where = f"log in {log}:\n{telling_lines(log)}"
    try:
        tests, failed = get_results(results)
    except Exception as error:  # no file, or XML that was cut off
        kind = SimulationError if any(mark in where for mark in SIMULATORS) else ToolError
        raise kind(f"simulation died before it wrote results (exit code {returncode}), {where}") from error
    if tests == 0:
        raise ToolError(f"simulation ran 0 tests, must be at least 1, {where}")
    if failed or returncode:
        raise SimulationError(f"simulation: {failed} of {tests} tests failed (exit code {returncode}), {where}")


SIMULATORS = ("%Fatal", "%Error")  # how Verilator's own messages begin


def telling_lines(log: Path, count: int = 8) -> str:
    """The last lines of a log that say what went wrong: the simulator's or compiler's own, else Python's, else any."""
    try:
        lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    except OSError:
        return "(no log)"
    for marks in ((*SIMULATORS, ": error:", "fatal error"), ("Error", "ERROR", "assert")):
        if found := [line for line in lines if any(mark in line for mark in marks)]:
            return "\n".join(found[-count:])
    return "\n".join(lines[-count:])


def _content(path: Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise BuildError(f"simulation source {path}: {error.strerror}; check the list of RTL files") from error
