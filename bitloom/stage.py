# SPDX-License-Identifier: Apache-2.0
"""Which stages there are, what each reads, and what the command line may add: one table for the command line and the flow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bitloom.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Option:
    """A value that a stage takes from the command line; run.json keeps it as text.

    kind   flag: yes or no; count: a whole number, `least` or more; mhz: above 0; board: a name, or a file's path; text: as it is
    hint   what to write for it, where it must be given
    """

    kind: Literal["flag", "count", "mhz", "board", "text"] = "text"
    least: int | None = None
    hint: str = ""

    def text(self, where: str, value: object) -> str:
        """The value as it is kept. Raises UsageError, beginning with `where`: out of range."""
        if self.kind == "flag":
            return "yes" if value else "no"
        if self.kind == "mhz" and not value > 0:
            raise UsageError(f"{where} {value:g}, must be above 0 (MHz); change it")
        if self.kind == "count" and self.least is not None and value < self.least:
            raise UsageError(f"{where} {value}, must be {self.least} or more; change it")
        if self.kind == "board" and ("/" in value or value.endswith((".yaml", ".yml"))):
            return str(Path(value).resolve())  # from wherever the next command is typed
        return f"{value:g}" if self.kind == "mhz" else str(value)

    def value(self, text: str) -> str | bool | int | float:
        """What `text` made a text of."""
        return {"flag": lambda t: t == "yes", "count": int, "mhz": float}.get(self.kind, str)(text)


OPTIONS = {
    "board": Option(kind="board", hint="NAME` (`bitloom boards` lists them)"),
    "clock": Option(kind="mhz"),
    "cosim": Option(kind="flag"),
    "ip": Option(kind="flag"),
    "seed": Option(kind="count", least=1),
    "sentences": Option(),
    "target": Option(hint="sim`, or serial:/dev/ttyUSB0, or pynq://HOST"),
    "tokens": Option(kind="count"),  # the stage knows the graph's limit
}
NO = "none"  # the value that takes an option back


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One step of the flow.

    sections  recipe sections that it reads: a change in one of them runs the stage again
    after     stages whose files it reads
    judges    those of them whose files it takes as they stand: finding what is wrong with them is its work
    also      stages whose files it reads if they are there
    options   what the command line must add once, by its name in OPTIONS
    may       what it may add; both are kept with the run
    version   raised when the stage's code gives other files for the same inputs
    resumes   it continues from what a killed run of it left, so `<stage>.tmp` is kept while the inputs are the same
    """

    name: str
    title: str
    sections: tuple[str, ...]
    after: tuple[str, ...] = ()
    judges: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    may: tuple[str, ...] = ()
    version: int = 1
    resumes: bool = False

    @property
    def backend(self) -> str:
        """`rtl`, or the backend in front of the name's slash."""
        return self.name.partition("/")[0] if "/" in self.name else "rtl"

    @property
    def takes(self) -> tuple[str, ...]:
        """The names of all its options."""
        return (*self.options, *self.may)

    def command(self, run: object) -> str:
        """The command line that runs it."""
        verb = self.name.rpartition("/")[2]
        if self.backend == "rtl":
            return f"bitloom {verb} {run}"
        return f"bitloom {VERBS.get(verb, verb)} {run} --backend {self.backend}{' --rtl' if verb in VERBS else ''}"


CORE = ("train", "export", "build", "verify", "report")  # of `bitloom run`; the others are run when they are asked for
VERBS = {"rtl": "verify"}  # stage of a backend -> its command where that has another name
STAGES = {
    stage.name: stage
    for stage in (
        Stage(name="train", title="Train", sections=("model", "data", "quantization", "training", "compression"), resumes=True),
        Stage(
            name="export",
            title="Export and check the integer graph",
            sections=("name", "data", "verification"),
            after=("train",),
            version=2,  # 2: zeros of each layer's weights
        ),
        Stage(
            name="build",
            title="Fold and emit RTL",
            sections=("hardware",),
            after=("export",),
            may=("board",),
            version=2,  # 2: products packed into multipliers, folding for a board
        ),
        Stage(
            name="verify",
            title="Simulate and compare",
            sections=("data", "verification"),
            after=("export", "build"),
            judges=("build",),
            version=3,  # 2: with a slow consumer; 3: with resets in mid-run, memory files compared
        ),
        Stage(
            name="report",
            title="Report",
            sections=("name", "hardware"),
            after=("train", "export", "build", "verify"),
            also=("hls4ml/build", "hls4ml/verify", "hls4ml/synth", "hls4ml/rtl", "finn/build", "finn/verify", "synth", "hil"),
        ),
        Stage(
            name="search",
            title="Search for the best within the budget",
            sections=("name", "model", "data", "quantization", "training", "compression", "hardware", "search"),
            may=("board",),
            resumes=True,
        ),
        Stage(name="synth", title="Synthesize, place and route", sections=(), after=("export", "build"), may=("board", "clock", "seed")),
        Stage(
            name="hil",
            title="Run on the board and compare",
            sections=("data", "verification"),
            after=("export", "build"),
            judges=("build",),
            options=("target",),
            may=("sentences",),
        ),
        Stage(
            name="hls4ml/build",
            title="Write the HLS project",
            version=2,  # 2: layers in turn
            sections=("data", "hardware", "verification"),
            after=("export", "build"),
            options=("board",),
        ),
        Stage(
            name="hls4ml/verify",
            title="Compile the HLS project and compare",
            sections=("data", "verification"),
            after=("export", "hls4ml/build"),
            judges=("hls4ml/build",),
        ),
        Stage(
            name="hls4ml/synth",
            title="Synthesize with Vitis HLS",
            sections=(),
            after=("hls4ml/build",),
            may=("cosim", "ip"),
        ),
        Stage(
            name="hls4ml/rtl",
            title="Simulate the RTL of Vitis HLS and compare",
            sections=("data", "verification"),
            after=("export", "build", "hls4ml/synth"),
            judges=("hls4ml/synth",),
        ),
        Stage(
            name="finn/build",
            title="Lower with FINN",
            sections=("hardware",),
            after=("export", "build"),
            options=("board",),
            may=("tokens",),
        ),
        Stage(
            name="finn/verify",
            title="Execute FINN's graph and compare",
            sections=("data", "verification"),
            after=("export", "build", "finn/build"),
            judges=("finn/build",),
        ),
    )
}


def stage_of(verb: str, backend: str = "rtl") -> Stage:
    """The stage of a command: of `build --backend finn` it is finn/build."""
    return STAGES[verb if backend == "rtl" else f"{backend}/{verb}"]


def typed(stage: Stage, given: Mapping[str, object]) -> dict[str, str]:
    """The options as they were typed, as texts; None: not given.

    Raises UsageError: an option that another backend's stage of that name takes, or a value out of range.
    """
    verb, texts = stage.name.rpartition("/")[2], {}
    for name, value in given.items():
        if value is None:
            continue
        if name not in stage.takes:
            others = [s.backend for s in STAGES.values() if s.name.rpartition("/")[2] == verb and name in s.takes]
            raise UsageError(f"{verb}: got --{name} with --backend {stage.backend}, must be with {' or '.join(others)}; leave it out")
        texts[name] = OPTIONS[name].text(f"{verb}: got --{name}", value)
    return texts
