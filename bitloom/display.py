# SPDX-License-Identifier: Apache-2.0
"""What the command line shows: stages as they go, the summary, the tools."""

from __future__ import annotations

import json
import logging
import time
import warnings
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from bitloom.flow import Watcher
from bitloom.qat.config import CalibrationWarning, ExitWarning
from bitloom.qat.files import DataWarning
from bitloom.qat.tokenizer import TruncationWarning
from bitloom.stage import Stage
from bitloom.text import printable

PLAIN_PERIOD = 10.0  # seconds between lines where there is no terminal to redraw


def _console() -> Console:
    console = Console(highlight=False)
    if not console.is_terminal:  # a log file has no width of its own
        console.width = 140
    return console


def _line(console: Console, text: str) -> None:
    """A text as it is: no markup, no line breaks of rich's, and nothing in it that a terminal obeys."""
    console.print(Text(printable(text, keep="\n")), soft_wrap=True)


def _row(table: Table, *cells: str | Text) -> None:
    table.add_row(*(cell if isinstance(cell, Text) else Text(printable(cell)) for cell in cells))


class Display:
    """A line per stage, with a moving bar on a terminal; use as a context manager."""

    def __init__(self) -> None:
        self.console = _console()
        self.watcher = Watcher(began=self._began, progress=self._progress, ended=self._ended)
        self._bar: Progress | None = None
        self._stage: Stage | None = None
        self._shown = 0.0

    def __enter__(self) -> Display:
        for name in ("datasets", "brevitas", "torch"):  # their notes are no news to a user of ours
            logging.getLogger(name).setLevel(logging.ERROR)
        self._warnings = warnings.catch_warnings()
        self._warnings.__enter__()
        warnings.simplefilter("ignore")
        for category in (TruncationWarning, DataWarning, CalibrationWarning, ExitWarning):
            warnings.filterwarnings("always", category=category)
        warnings.showwarning = lambda message, *_, **__: _line(self.console, f"warning: {message}")
        return self

    def __exit__(self, *_: object) -> None:
        self._warnings.__exit__(None, None, None)
        self._stop()

    def line(self, text: str) -> None:
        """Something that is said once."""
        _line(self.console, text)

    def _began(self, stage: Stage) -> None:
        self._stage, self._shown = stage, time.monotonic()
        if not self.console.is_terminal:
            _line(self.console, f"  {stage.name:7} {stage.title} ...")
            return
        columns = (
            SpinnerColumn("line" if self.console.options.ascii_only else "dots"),
            TextColumn("{task.fields[stage]:7}"),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            TextColumn("{task.description}", markup=False),
        )
        self._bar = Progress(*columns, console=self.console, transient=True)
        self._task = self._bar.add_task(stage.title, stage=stage.name, total=None)
        self._bar.start()

    def _progress(self, fraction: float | None, text: str) -> None:
        if self._bar:
            known = {} if fraction is None else {"total": 1.0, "completed": fraction}
            self._bar.update(self._task, description=printable(text), **known)
        elif time.monotonic() - self._shown >= PLAIN_PERIOD:
            self._shown = time.monotonic()
            share = "" if fraction is None else f"{fraction:4.0%} "
            _line(self.console, f"  {self._stage.name:7} {share}{text}")

    def _ended(self, stage: Stage, seconds: float | None, text: str) -> None:
        self._stop()
        took = "    -" if seconds is None else f"{seconds:4.0f}s"
        self.console.print(f"[green]✓[/] {stage.name:7} {took}  ", end="")
        _line(self.console, text)

    def _stop(self) -> None:
        if self._bar:
            self._bar.stop()
            self._bar = None

    def summary(self, run: Path) -> None:
        """The report in a table, and where it is."""
        from bitloom.report import key_figures

        table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True)
        report = json.loads((run / "report.json").read_text())
        for name, value, note in key_figures(report):
            _row(table, name, Text(printable(value), "bold"), Text(printable(note), "dim"))
        self.console.print()
        self.console.print(table)
        for note in report["training"]["notes"]:
            _line(self.console, f"Note: {note}")
        _line(self.console, f"\nReport: {run / 'report.html'}")


def show_tools() -> None:
    """The table of `bitloom doctor`."""
    from bitloom.sim.doctor import tools

    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("tool", "found", "needed for", "install"):
        table.add_column(title, overflow="fold")
    for tool in tools():
        found = Text(printable(tool.version), "green") if tool.found else Text("no", "yellow")
        _row(table, tool.name, found, tool.needed_for, "" if tool.found else tool.install)
    _console().print(table)


def show_recipes() -> None:
    """The table of `bitloom recipes`."""
    from bitloom.recipe import Recipe, shipped, title

    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("recipe", "layers x hidden", "heads", "tokens", "what"):
        table.add_column(column, overflow="fold")
    for name, path in shipped().items():
        m = Recipe.load(path).model
        _row(table, name, *m.size, str(m.max_tokens), title(path))
    _console().print(table)


def show_plan(graph, made, compressed: str = "") -> None:
    """The tables of `bitloom plan`; `made` is a graph's PlanTable of hw/plan/table.py. The folding is the recipe's, or that of the one board.

    compressed  a line on what compression makes of the network
    """
    from bitloom.hw.plan.table import folds

    shown = made.boards[0] if len(made.boards) == 1 else made.goal
    folding = folds(graph, shown.folding) if shown.folding else {}
    sizes = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("component", "nodes", "parameters", "weight bits", f"MACs, {made.max_tokens} tokens", f"PE x SIMD, {shown.board or 'recipe'}"):
        sizes.add_column(title, overflow="fold")
    for part in (*made.components, made.total):
        figures = (f"{n:,}" for n in (part.nodes, part.parameters, part.weight_bits, part.macs))
        _row(sizes, f"{part.name}{' (host)' if part.host else ''}", *figures, folding.get(part.name, ""))
    fits = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("board", "layers", "multipliers", "useful", "interval", "sentences/s", "latency by tokens", "used", "bound by"):
        fits.add_column(title, overflow="fold")
    for one in (made.goal, *made.boards):
        name = one.board if one is not made.goal else f"recipe's goal{one.board and f' on {one.board}'}"
        used = ", ".join(f"{use.used:,}/{use.available:,} {kind}" for kind, use in one.used.items() if use.used)
        if one.folding is None:
            _row(fits, name, "-", "-", "-", "-", "-", "-", used, f"does not fit: {one.used[one.binds].share:.1f} x {one.binds}" if one.used else one.problem)
            continue
        latency = ", ".join(f"{n}: {cycles:,}" for n, cycles in one.latency.items())
        how = one.folding.how + (f", {one.fetched:.1f} bytes a cycle" if one.folding.memory else "")
        figures = f"{one.folding.multipliers:,}", f"{one.useful:.1%}", f"{one.interval:,}", f"{one.sentences_per_second:,.0f}"
        _row(fits, name, how, *figures, latency, used, one.binds)
    if compressed:
        _line(_console(), compressed)
    for table in (sizes, fits):
        _console().print(table)


def show_boards() -> None:
    """The table of `bitloom boards`."""
    from bitloom.hw.board import boards

    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("board", "part", "LUT", "DSP", "block RAM, kbit", "UltraRAM, kbit", "flow"):
        table.add_column(title, overflow="fold")
    for name, board in boards().items():
        r = board.resources
        kbits = {ram.kind: ram.bits * ram.count // 1024 for ram in r.block_ram}
        ultra = kbits.pop(r.ultra_ram.kind) if r.ultra_ram else 0
        _row(table, name, board.part or "-", f"{r.lut:,}", f"{r.dsp.count:,}", f"{sum(kbits.values()):,}", f"{ultra:,}" if ultra else "-", board.flow)
    _console().print(table)
