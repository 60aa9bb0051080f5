# SPDX-License-Identifier: Apache-2.0
"""Reads what Vitis HLS writes about a design: csynth XML and the co-simulation report.

Format: as Vitis HLS 2022 to 2024 write it and hls4ml's parse_vivado_report reads it, but strictly: a figure that is missing is an error here, and
one that the tool does not know (`undef`, `NA`) is None.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bitloom.hls.errors import HlsError

RESOURCES = ("LUT", "FF", "DSP", "BRAM_18K", "URAM")
LONGEST_NAME = 80  # config_compile -name_max_length of hls4ml's build_prj.tcl
CUT_SUFFIX = 3  # characters that replace the end of a longer name


@dataclass(frozen=True, kw_only=True)
class Call:
    """A line of the firmware: the operator's stem, its tensor in C++ and in the graph."""

    stem: str
    cpp_name: str
    tensor: str


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Csynth's figures for one module. Cycles of one sentence; None where they depend on data in a way that the tool does not see.

    latency_min, latency_max, interval_min, interval_max   clock cycles
    clock_target_ns, clock_estimated_ns                    periods
    resources, available                                   LUT, FF, DSP, BRAM_18K, URAM: used, and what the part has
    """

    module: str
    part: str
    version: str
    clock_target_ns: float
    clock_estimated_ns: float
    latency_min: int | None
    latency_max: int | None
    interval_min: int | None
    interval_max: int | None
    resources: dict[str, int]
    available: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class ModuleReport:
    """A module below the top; tensor: of the operator that it is, None for a part of one and for helpers of the HLS tool."""

    module: str
    tensor: str | None
    latency_min: int | None
    latency_max: int | None
    interval_min: int | None
    interval_max: int | None
    resources: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class CosimReport:
    """Measured by C/RTL co-simulation, in clock cycles; None where the report says NA (ap_ctrl_none has no start and done to measure from)."""

    status: str
    latency_min: int | None
    latency_avg: int | None
    latency_max: int | None
    interval_min: int | None
    interval_avg: int | None
    interval_max: int | None


def read_csynth(path: Path) -> Estimate:
    """One <module>_csynth.xml.

    Raises HlsError: no such file, no XML, or a figure that is missing or no number.
    """
    try:
        root = ET.parse(path).getroot()
    except OSError as error:
        raise HlsError(f"csynth report: got no {path}, must be written by csynth_design; look into the log of the HLS tool") from error
    except ET.ParseError as error:
        raise HlsError(f"csynth report: {path}: got no XML ({error}), must be a whole report; synthesize again") from error
    timing, overall = "PerformanceEstimates/SummaryOfTimingAnalysis", "PerformanceEstimates/SummaryOfOverallLatency"
    best, worst = _cycles(path, root, f"{overall}/Best-caseLatency"), _cycles(path, root, f"{overall}/Worst-caseLatency")
    interval = [_cycles(path, root, f"{overall}/Interval-{end}") for end in ("min", "max")]
    if worst is None:  # the tool then says an interval of 0, or undef
        interval = [None, None]
    return Estimate(
        module=_text(path, root, "UserAssignments/TopModelName"),
        part=_text(path, root, "UserAssignments/Part"),
        version=_text(path, root, "ReportVersion/Version"),
        clock_target_ns=_number(path, root, "UserAssignments/TargetClockPeriod"),
        clock_estimated_ns=_number(path, root, f"{timing}/EstimatedClockPeriod"),
        latency_min=best,
        latency_max=worst,
        interval_min=interval[0],
        interval_max=interval[1],
        resources=_resources(path, root, "Resources"),
        available=_resources(path, root, "AvailableResources"),
    )


def _text(path: Path, root: ET.Element, place: str) -> str:
    found = root.find(place)
    if found is None or not (found.text or "").strip():
        raise HlsError(f"csynth report: {path}: got no {place}, must be there; this version of the HLS tool writes another format")
    return found.text.strip()


def _number(path: Path, root: ET.Element, place: str) -> float:
    text = _text(path, root, place)
    if not re.fullmatch(r"\d+(\.\d+)?", text):
        raise HlsError(f"csynth report: {path}: {place}: got '{text}', must be a number")
    return float(text)


def _cycles(path: Path, root: ET.Element, place: str) -> int | None:
    text = _text(path, root, place)
    if text == "undef":
        return None
    if not text.isdigit():
        raise HlsError(f"csynth report: {path}: {place}: got '{text}', must be a whole number of cycles or undef")
    return int(text)


def _resources(path: Path, root: ET.Element, kind: str) -> dict[str, int]:
    """DSP blocks are called DSP48E by Vivado HLS."""
    found = {}
    for name in RESOURCES:
        place = f"AreaEstimates/{kind}/{name}"
        if name == "DSP" and root.find(place) is None:
            place += "48E"
        found[name] = int(_number(path, root, place))
    return found


def read_modules(folder: Path, top: str, calls: Sequence[Call]) -> tuple[ModuleReport, ...]:
    """All reports of a folder but the top's, in the order of `calls`; parts and helpers after them."""
    made = []
    for path in sorted(folder.glob("*_csynth.xml")):
        estimate = read_csynth(path)
        if estimate.module != top:
            made.append(
                ModuleReport(
                    module=estimate.module,
                    tensor=find_tensor(estimate.module, calls),
                    latency_min=estimate.latency_min,
                    latency_max=estimate.latency_max,
                    interval_min=estimate.interval_min,
                    interval_max=estimate.interval_max,
                    resources=estimate.resources,
                )
            )
    order = {call.tensor: index for index, call in enumerate(calls)}
    return tuple(sorted(made, key=lambda m: (order.get(m.tensor, len(order)), m.module)))


def find_tensor(module: str, calls: Sequence[Call]) -> str | None:
    """The tensor whose operator a module is.

    `bitloom::linear<beat<..>, .., config_layer_0_query_acc>` becomes the module linear_beat_.._config_layer_0_query_acc_s, its loops modules of their
    own with `_Pipeline_` in their names. Of a name that is too long the tool cuts the end and puts a few characters there: then what is left must fit
    one call only.
    """
    stem_fits = [c for c in calls if module.startswith((f"{c.stem}_beat_", f"{c.stem}_axis_"))]
    whole = [c.tensor for c in stem_fits if module.endswith((f"_config_{c.cpp_name}_s", f"_config_{c.cpp_name}"))]
    if whole or len(module) < LONGEST_NAME or "_config_" not in module:
        return whole[0] if len(whole) == 1 else None
    left = module[:-CUT_SUFFIX].rpartition("_config_")[2]
    cut = [c.tensor for c in stem_fits if f"{c.cpp_name}_s".startswith(left)]
    return cut[0] if len(cut) == 1 else None


def read_calls(firmware: Path) -> tuple[Call, ...]:
    """The operators that a project's firmware calls, in order: encoder.cpp, and in parameters.h those of layers that are used in turn.

    Raises HlsError: no such file, or none in them.
    """
    found = []
    for source in (firmware / "encoder.cpp", firmware / "parameters.h"):
        try:
            found += re.findall(r"bitloom::(\w+)<[^;]*\bconfig_(\w+)>\([^;{]*\)(?:;|\) \{) // (\S+)", source.read_text())
        except OSError as error:
            raise HlsError(f"HLS project: got no {source}, must be a whole project; write it with `bitloom build RUN --backend hls4ml`") from error
    if not found:
        raise HlsError(f"HLS project: got {firmware} without a call of an operator, must be written by bitloom; write the project again")
    return tuple(Call(stem=stem, cpp_name=name, tensor=tensor) for stem, name, tensor in found)


def read_cosim(path: Path) -> CosimReport:
    """<top>_cosim.rpt: the row of Verilog.

    Raises HlsError: no such file, no such row, or a figure that is neither a number nor NA.
    """
    try:
        text = path.read_text()
    except OSError as error:
        raise HlsError(f"cosim report: got no {path}, must be written by cosim_design; look into the log of the HLS tool") from error
    rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in text.splitlines() if re.match(r"\s*\|\s*Verilog\s*\|", line)]
    if len(rows) != 1 or len(rows[0]) not in (8, 9):  # 9: with the total execution time, since 2021
        raise HlsError(f"cosim report: {path}: got {len(rows)} rows of Verilog, must be one of 8 or 9 columns; this version writes another format")
    _, status, *figures = rows[0]
    if bad := [f for f in figures if not (f.isdigit() or f == "NA")]:
        raise HlsError(f"cosim report: {path}: got '{bad[0]}', must be a number of cycles or NA")
    values = [None if f == "NA" else int(f) for f in figures]
    names = [f"{kind}_{end}" for kind in ("latency", "interval") for end in ("min", "avg", "max")]
    return CosimReport(status=status, **dict(zip(names, values[:6], strict=True)))
