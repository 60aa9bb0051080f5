# SPDX-License-Identifier: Apache-2.0
"""Synthesis of an HLS project with Vitis HLS, where it is installed: csynth, co-simulation, IP export, and what the reports say.

The tool runs hls4ml's own build_prj.tcl with the options of build_opt.tcl, in a copy of the project. Commands: `vitis-run --mode hls --tcl FILE`
(Vitis 2023.2 and later, UG1702) and `vitis_hls -f FILE` (before, UG1399). `v++ -c --mode hls` takes no Tcl, and every Vitis with it has vitis-run.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from bitloom.hls.errors import HlsError
from bitloom.hls.reports import CosimReport, Estimate, ModuleReport, read_calls, read_cosim, read_csynth, read_modules
from bitloom.hw import process
from bitloom.sim.errors import SimulationError

TOP = "encoder"  # hls/project.py, which imports hls4ml: not needed here
SCRIPT = "build_prj.tcl"
COMMANDS = {"vitis-run": ("--mode", "hls", "--tcl", SCRIPT), "vitis_hls": ("-f", SCRIPT)}
STEP = re.compile(r"\*{5} (C SIMULATION|C/RTL SYNTHESIS|C/RTL SIMULATION|EXPORT IP) \*{5}")  # printed by build_prj.tcl
FAILURE = re.compile(r"^\s*(ERROR:|@E )|: (fatal )?error: ")
HARMLESS = "config_array_partition"  # an option that newer versions do not know: build_prj.tcl catches it, the log says ERROR nevertheless
SOLUTION = Path(f"{TOP}_prj") / "solution1"


@dataclass(frozen=True, kw_only=True)
class SynthReport:
    """What Vitis HLS made of a project. Paths are relative to the folder that `synthesize` was given.

    tool      command that ran
    estimate  csynth's figures for the whole encoder
    modules   those of the modules in it
    cosim     None: it was not asked for
    sentences whose outputs csim and cosim gave exactly as the golden model (0: not run)
    verilog   folder of the generated Verilog; ip: the exported IP's archive, or None
    """

    tool: str
    estimate: Estimate
    modules: tuple[ModuleReport, ...]
    cosim: CosimReport | None
    sentences: int
    verilog: str
    ip: str | None
    log: str
    seconds: float

    def as_dict(self) -> dict:
        """Plain dictionaries and lists, for report.json."""
        return asdict(self) | {"modules": [asdict(m) for m in self.modules]}


def find_tool() -> list[str]:
    """The command line that runs build_prj.tcl.

    Raises HlsError: no such tool on PATH.
    """
    for name, arguments in COMMANDS.items():
        if path := shutil.which(name):
            return [path, *arguments]
    raise HlsError(
        "synth: got neither vitis-run nor vitis_hls, one must be on PATH; install AMD Vitis and source its settings64.sh, "
        "or use the RTL backend (`bitloom build RUN`), which needs no vendor tool"
    )


def synthesize(
    project: Path, out: Path, *, cosim: bool = False, export: bool = True, progress: Callable[[float | None, str], None] = lambda fraction, text: None
) -> SynthReport:
    """Run Vitis HLS on a project that `to_hls4ml(...).write()` wrote.

    out       new or empty folder: gets `project/`, the copy that the tool works in, and `vitis.log`
    cosim     also C simulation and C/RTL co-simulation of the sentences in tb_data (`bitloom.hls.project.write_testbench`), compared with the golden outputs
    export    also an IP for Vivado's catalogue
    progress  progress(None, text) at each step of the tool
    Raises HlsError: no tool, no project, the tool failed (its first error line, and where the log is), a report that is missing or has another
    format. SimulationError: csim or cosim gave another value than the golden model.
    """
    project, out = Path(project), Path(out)
    command = find_tool()
    calls = read_calls(project / "firmware")
    work, log = _copy(project, out), out / "vitis.log"
    golden = _golden(work) if cosim else []
    (work / "build_opt.tcl").write_text(options(cosim=cosim, export=export))
    began = time.monotonic()
    _run(command, work, log, progress)
    seconds = time.monotonic() - began
    progress(None, "reading the reports")
    for name in ("csim", "rtl_cosim") if cosim else ():
        check_results(work / "tb_data" / f"{name}_results.log", golden)
    reports = work / SOLUTION / "syn" / "report"
    estimate = read_csynth(reports / f"{TOP}_csynth.xml")
    if estimate.module != TOP:
        raise HlsError(f"csynth report: got module '{estimate.module}', must be '{TOP}'; look into {log}")
    verilog = work / SOLUTION / "syn" / "verilog"
    if not (verilog / f"{TOP}.v").is_file():
        raise HlsError(f"synth: got no {verilog / f'{TOP}.v'}, must be written by csynth_design; look into {log}")
    return SynthReport(
        tool=Path(command[0]).name,
        estimate=estimate,
        modules=read_modules(reports, TOP, calls),
        cosim=_cosim(work, log) if cosim else None,
        sentences=len(golden),
        verilog=str(verilog.relative_to(out)),
        ip=_ip(work, out, log) if export else None,
        log=log.name,
        seconds=seconds,
    )


def options(*, cosim: bool, export: bool) -> str:
    """build_opt.tcl. hls4ml's own comparison of csim with cosim stays off: both are compared with the golden model instead."""
    values = {"reset": 1, "csim": int(cosim), "synth": 1, "cosim": int(cosim), "validation": 0, "export": int(export), "vsynth": 0, "fifo_opt": 0}
    return "array set opt {\n" + "".join(f"    {name:<10} {value}\n" for name, value in values.items()) + "}\n"


def _copy(project: Path, out: Path) -> Path:
    if not (project / SCRIPT).is_file():
        raise HlsError(f"synth: got {project} without {SCRIPT}, must be a project folder; write it with `bitloom build RUN --backend hls4ml`")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise HlsError(f"synth: got {out} with files in it, must be new or empty; give another folder")
    shutil.copytree(project, out / "project", ignore=shutil.ignore_patterns("*.so", "*.tar.gz", f"{TOP}_prj"))
    return out / "project"


def _run(command: list[str], work: Path, log: Path, progress: Callable[[float | None, str], None]) -> None:
    """The tool, with all of the environment: what AMD's settings64.sh sets, and licences."""
    progress(None, f"{Path(command[0]).name}: starting")
    with (
        open(log, "w") as out,
        process.running(command, cwd=work, env=os.environ, stdout=process.PIPE, stderr=process.STDOUT, text=True, errors="replace") as tool,
    ):
        for line in tool.stdout:
            out.write(line)
            if step := STEP.search(line):
                progress(None, f"{Path(command[0]).name}: {step[1]}")
        tool.wait()
    lines = log.read_text().splitlines()
    failures = [line.strip() for line in lines if FAILURE.search(line) and HARMLESS not in line]
    if tool.returncode or failures:
        told = failures[0] if failures else next((line.strip() for line in reversed(lines) if line.strip()), "no output")
        raise HlsError(f"synth: got a failure of {Path(command[0]).name} (exit code {tool.returncode}), must end without an error: {told} (log: {log})")


def _golden(work: Path) -> list[list[int]]:
    """The test bench's golden outputs, a list for each sentence; numbers behind its end are nan."""
    path = work / "tb_data" / "tb_output_predictions.dat"
    rows = [line.split() for line in path.read_text().splitlines()] if path.is_file() else []
    if not rows:
        raise HlsError(f"synth: got no sentences in {path}, must be some for co-simulation; write them with `bitloom.hls.project.write_testbench`, or no cosim")
    values = [[number for number in row if number != "nan"] for row in rows]
    if bad := [number for row in values for number in row if not re.fullmatch(r"-?\d+", number)]:
        raise HlsError(f"synth: {path}: got '{bad[0]}', must be whole numbers; write the test bench with `bitloom.hls.project.write_testbench`")
    return [[int(number) for number in row] for row in values]


def check_results(path: Path, golden: list[list[int]]) -> None:
    """Raise SimulationError unless a results file of encoder_test.cpp (a line a sentence) holds just the golden outputs.

    Raises HlsError: no such file, which is the test bench's own failure.
    """
    if not path.is_file():
        raise HlsError(f"synth: got no {path}, must be written by {TOP}_test.cpp; look into the log of the HLS tool")
    rows = [line.split() for line in path.read_text().splitlines() if line.strip()]
    if len(rows) != len(golden):
        raise SimulationError(f"{path.name}: got outputs of {len(rows)} sentences, must be {len(golden)}")
    for sentence, (got, want) in enumerate(zip(rows, golden, strict=True)):
        if len(got) != len(want):
            raise SimulationError(f"{path.name}: sentence {sentence}: got {len(got)} values, must be {len(want)}")
        for index, (a, b) in enumerate(zip(got, want, strict=True)):
            if a != str(b):
                raise SimulationError(f"{path.name}: sentence {sentence} output {index}: got {a}, must be {b}")


def _cosim(work: Path, log: Path) -> CosimReport:
    report = read_cosim(work / SOLUTION / "sim" / "report" / f"{TOP}_cosim.rpt")
    if report.status != "Pass":
        raise HlsError(f"cosim report: got status {report.status}, must be Pass; look into {log}")
    return report


def _ip(work: Path, out: Path, log: Path) -> str:
    """The archive: impl/export.zip, or the one in impl/ip, as the version has it."""
    found = [work / SOLUTION / "impl" / "export.zip", *sorted((work / SOLUTION / "impl" / "ip").glob("*.zip"))]
    existing = [path for path in found if path.is_file()]
    if not existing:
        raise HlsError(f"synth: got no archive in {work / SOLUTION / 'impl'}, must be written by export_design; look into {log}")
    return str(existing[0].relative_to(out))
