# SPDX-License-Identifier: Apache-2.0
"""Reads what Vivado writes about a design: report_utilization and report_timing_summary, as text.

Format: AMD UG906 (Vivado 2019 to 2025). Columns are found by their headings, as they differ between versions; a figure that is missing is an error.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from bitloom.hw.board import Board
from bitloom.hw.synth.report import ClockResult, Usage
from bitloom.hw.synth.tools import SynthError

# The rows that give a resource, by the names of the families (7 series, UltraScale+, Versal).
LUT = ("Slice LUTs", "CLB LUTs")
FF = ("Slice Registers", "CLB Registers", "Registers")
DSP = ("DSPs", "DSP Slices")
URAM = ("URAM",)
COLUMNS = 12  # of the timing tables: worst slack, total slack, failing endpoints, endpoints; for setup, hold and pulse width
CLOCK = re.compile(r"\s*(\S+)\s+\{[^}]*\}\s+([\d.]+)\s+[\d.]+")  # name, waveform, period, frequency


@dataclass(frozen=True, kw_only=True)
class Site:
    """A row of report_utilization; block RAM tiles come in halves, and `available` is None where the report leaves it out."""

    used: float
    available: float | None


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Worst slacks in ns (None where Vivado says NA: there is no such path) and each clock's period in ns."""

    setup_ns: float | None
    hold_ns: float | None
    pulse_width_ns: float | None
    periods_ns: dict[str, float]
    setup_by_clock_ns: dict[str, float]

    @property
    def met(self) -> bool:
        return all(slack is None or slack >= 0 for slack in (self.setup_ns, self.hold_ns, self.pulse_width_ns))

    def clocks(self) -> dict[str, ClockResult]:
        """What each clock with paths between registers reaches: the period less the setup slack."""
        return {
            name: ClockResult(target_mhz=round(1000 / period, 2), fmax_mhz=round(1000 / (period - self.setup_by_clock_ns[name]), 2))
            for name, period in self.periods_ns.items()
            if name in self.setup_by_clock_ns
        }


def read_utilization(path: Path) -> dict[str, Site]:
    """Site type -> figures, of every table that has them.

    Raises SynthError: no such file, no table in it.
    """
    sites: dict[str, Site] = {}
    columns: list[str] = []
    for line in _lines(path):
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")] if line.lstrip().startswith("|") else []
        if {"Site Type", "Used"} <= set(cells):
            columns = cells
        elif len(cells) == len(columns) and columns:
            row = dict(zip(columns, cells, strict=True))
            name = row["Site Type"].rstrip("*").strip()  # a star marks a footnote
            if _is_number(row["Used"]) and name not in sites:
                available = row.get("Available", "")
                sites[name] = Site(used=float(row["Used"]), available=float(available) if _is_number(available) else None)
        elif not line.startswith(("+", "|")):
            columns = []
    if not sites:
        raise SynthError(f"{path}: got no table of site types, must be a text of report_utilization; look into Vivado's log")
    return sites


def resources(path: Path, board: Board) -> dict[str, Usage]:
    """lut, ff, dsp and the board's kinds of block RAM, against what the board has.

    A tile of 36 kbit counts as two RAMB18, as in the board's data. Raises SynthError: a row is missing.
    """
    sites, have = read_utilization(path), board.resources
    result = {
        "lut": Usage(used=_used(path, sites, LUT), available=have.lut),
        "ff": Usage(used=_used(path, sites, FF), available=have.ff),
        "dsp": Usage(used=_used(path, sites, DSP), available=have.dsp.count),
    }
    for ram in have.block_ram:
        used = _used(path, sites, URAM) if ram.kind == "URAM288" else _used(path, sites, ("Block RAM Tile",), per_site=2)
        result[ram.kind] = Usage(used=used, available=ram.count)
    return result


def read_timing(path: Path) -> Timing:
    """The design's timing summary, its clocks, and each clock's own setup slack.

    Raises SynthError: no such file, no summary in it, or nothing is constrained.
    """
    text = "\n".join(_lines(path))
    if "There are no user specified timing constraints." in text:
        raise SynthError(f"{path}: got a design without timing constraints, must have a clock; look into Vivado's log for what became of the XDC file")
    heads, rows = _table(path, text, "Design Timing Summary")
    slack = [heads.find(name) for name in ("WNS(ns)", "WHS(ns)", "WPWS(ns)")]
    if len(rows) != 1 or not 0 <= slack[0] < slack[1] < slack[2] or len(cells := rows[0].split()) != COLUMNS:
        raise SynthError(f"{path}: got no row of {COLUMNS} figures in 'Design Timing Summary', must be a text of report_timing_summary; look into Vivado's log")
    clocks = [CLOCK.match(row) for row in _table(path, text, "Clock Summary")[1]]
    # A clock without paths between registers has no figures but those of its pulses.
    own = [row.split() for row in _table(path, text, "Intra Clock Table")[1]]
    return Timing(
        setup_ns=_slack(cells[0]),
        hold_ns=_slack(cells[4]),
        pulse_width_ns=_slack(cells[8]),
        periods_ns={clock[1]: float(clock[2]) for clock in clocks if clock},
        setup_by_clock_ns={row[0]: float(row[1]) for row in own if len(row) == 1 + COLUMNS and _is_number(row[1])},
    )


def _table(path: Path, text: str, title: str) -> tuple[str, list[str]]:
    """The headings and the rows under a title. Numbers are set right and may be wider than their column: rows are not cut here."""
    found = re.search(rf"^\| {re.escape(title)} *\n\| -+ *\n-+ *\n(.*?)(?=^-{{20,}} *$|\Z)", text, re.M | re.S)
    if not found:
        raise SynthError(f"{path}: got no '{title}', must be a text of report_timing_summary; look into Vivado's log")
    lines = [line for line in found[1].splitlines() if line.strip()]
    rule = next((n for n, line in enumerate(lines) if n and not set(line) - {" ", "-"}), None)
    if rule is None:
        return "", []
    rows = lines[rule + 1 :]  # up to a sentence such as "All user specified timing constraints are met."
    return lines[rule - 1], rows[: next((n for n, row in enumerate(rows) if row.rstrip().endswith(".")), len(rows))]


def _used(path: Path, sites: dict[str, Site], names: tuple[str, ...], per_site: int = 1) -> int:
    for name in names:
        if name in sites:
            return round(sites[name].used * per_site)
    raise SynthError(f"{path}: got no row {' or '.join(names)}, must be there; the report is cut off or of another version")


def _slack(cell: str) -> float | None:
    return float(cell) if _is_number(cell) else None


def _is_number(cell: str) -> bool:
    return re.fullmatch(r"-?\d+(\.\d+)?", cell) is not None


def _lines(path: Path) -> list[str]:
    try:
        return Path(path).read_text(errors="replace").splitlines()
    except OSError as error:
        raise SynthError(f"{path}: got {(error.strerror or 'no file').lower()}, must be a report that Vivado wrote; look into its log") from error
