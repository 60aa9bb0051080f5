# SPDX-License-Identifier: Apache-2.0
"""Runs Vivado on a project that `write_project` wrote, where it is installed, and reads what it reports."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from bitloom.hw import process
from bitloom.hw.board import Board
from bitloom.hw.synth.report import SynthReport, must_fit
from bitloom.hw.synth.tools import SynthError
from bitloom.hw.vivado.project import load_project
from bitloom.hw.vivado.reports import read_timing, resources

LOG = "vivado.log"
DONE = "bitloom: done"  # build.tcl's last line
ERROR = re.compile(r"^ERROR: ")
STEP = re.compile(r"^(?:Command: )?(package_ip|synth_design|opt_design|place_design|phys_opt_design|route_design|write_bitstream|launch_runs \w+)\b")
VERSION = re.compile(r"Vivado v(\d{4}\.\d+(?:\.\d+)?)")
Progress = Callable[[str], None]


def find_vivado() -> Path:
    """The command `vivado` on PATH.

    Raises SynthError: there is none.
    """
    if found := shutil.which("vivado"):
        return Path(found)
    raise SynthError(
        "vivado: got no command 'vivado', must be on PATH; install AMD Vivado with the board's device family and source its settings64.sh, "
        "or run `vivado -mode batch -source build.tcl` in the project's folder on a machine that has it"
    )


def build_project(project: Path, board: Board, *, jobs: int = 2, progress: Progress = lambda step: None) -> SynthReport:
    """Run the whole project: synthesis, placement, routing, reports, and a bitstream unless its flow is out_of_context.

    board     the one that the project was written for
    jobs      runs of Vivado at once
    progress  called with the name of each step as it begins

    Raises SynthError: no Vivado, another board's project, a failure (Vivado's first error line, and where the log is), a result that is missing;
    DoesNotFit: Vivado placed more than the board has (it says so itself before that, as an error).
    """
    project = Path(project)
    said = load_project(project)
    if (said["board"], said["part"]) != (board.name, board.part):
        raise SynthError(f"vivado: {project}: got a project for {said['board']} ({said['part']}), must be for {board.name} ({board.part}); write it again")
    command = [str(find_vivado()), "-mode", "batch", "-nojournal", "-log", LOG, "-source", "build.tcl", "-tclargs", str(jobs)]
    for name in ("reports", "output"):
        shutil.rmtree(project / name, ignore_errors=True)  # what an earlier run left is no result of this one
    began = time.monotonic()
    version = _run(command, project, progress)
    seconds = {"vivado": round(time.monotonic() - began, 2)}
    return collect(project, board, tools={"vivado": version}, seconds=seconds)


def collect(project: Path, board: Board, *, tools: dict[str, str] | None = None, seconds: dict[str, float] | None = None) -> SynthReport:
    """The report of a project that was built, here or elsewhere.

    Raises SynthError: a file of the outcome is missing, or a report cannot be read.
    """
    said = load_project(project)
    files = {name: Path(project) / file for name, file in said["outcome"].items()}
    for path in files.values():
        if not path.is_file() or not path.stat().st_size:
            raise SynthError(f"vivado: got no {path}, must be written by build.tcl; look into {Path(project) / LOG}")
    used = resources(files["utilization"], board)
    must_fit(board, used)
    timing = read_timing(files["timing"])
    if not (clocks := timing.clocks()):
        raise SynthError(f"{files['timing']}: got no clock with paths, must have one; look into {Path(project) / LOG} for what became of the XDC file")
    return SynthReport(
        board=board.name,
        part=board.part,
        family=board.family,
        top=said["flow"],
        clock_mhz=said["clock_mhz"],
        placed=True,
        resources=used,
        cells={},
        clocks=clocks,
        files=files,
        tools=tools or {},
        seconds=seconds or {},
    )


def _run(command: list[str], project: Path, progress: Progress) -> str:
    """Vivado, with all of the environment: what AMD's settings64.sh sets, and licences. Returns its version."""
    progress("vivado")
    lines: list[str] = []
    streams = {"stdout": process.PIPE, "stderr": process.STDOUT, "text": True, "errors": "replace"}
    with process.running(command, cwd=project, env=os.environ, **streams) as vivado:
        for line in vivado.stdout:
            lines.append(line.rstrip())
            if step := STEP.match(line):
                progress(step[1])
        vivado.wait()
    if not (project / LOG).is_file():  # Vivado died before it wrote its own
        (project / LOG).write_text("\n".join(lines) + "\n")
    if vivado.returncode or DONE not in lines:
        raise SynthError(
            f"vivado: got a failure (exit code {vivado.returncode}), must end without an error: {_telling(lines, project)}; log in {project / LOG}"
        )
    return next((found[1] for line in lines if (found := VERSION.search(line))), "unknown")


def _telling(lines: list[str], project: Path) -> str:
    """The first error line: of the runs' own logs, which say why, else of Vivado's."""
    for log in sorted(project.glob("vivado/*.runs/*/runme.log")):
        if found := [line.strip() for line in log.read_text(errors="replace").splitlines() if ERROR.match(line)]:
            return found[0]
    found = [line for line in lines if ERROR.match(line)]
    return found[0] if found else next((line for line in reversed(lines) if line.strip()), "no output")
