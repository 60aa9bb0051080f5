# SPDX-License-Identifier: Apache-2.0
"""What a synthesis showed, and what to do when it does not fit."""
from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from hw.board import Board, boards
from hw.synth.tools import SynthError

ADVICE = "take fewer bits (weights, activations), fewer layers, shorter sentences (max_tokens) or a smaller hardware target"


class DoesNotFit(SynthError):
    """The board has too little of something."""


@dataclass(frozen=True, kw_only=True)
class Usage:
    """How many of a resource a design takes, and how many the board has."""

    used: int
    available: int

    @property
    def share(self) -> float:
        return self.used / self.available if self.available else float("inf") if self.used else 0.0


@dataclass(frozen=True, kw_only=True)
class ClockResult:
    """A clock after routing: what was asked for and what was reached, in MHz."""

    target_mhz: float
    fmax_mhz: float


@dataclass(frozen=True, kw_only=True)
class SynthReport:
    """What a synthesis showed.

    top         "board" (it can be loaded) or "harness" (a measurement)
    clock_mhz   of the design
    resources   lut, ff, dsp and each kind of block RAM; after placement as the place and route tool counts, else of the synthesized netlist
    cells       the synthesized netlist's cells by type
    clocks      name -> ClockResult; empty without place and route
    files       bitstream, svf, netlist, ...: paths
    tools       tool -> version
    seconds     step -> wall time
    """

    board: str
    part: str | None
    family: str
    top: str
    clock_mhz: float
    placed: bool
    resources: dict[str, Usage]
    cells: dict[str, int]
    clocks: dict[str, ClockResult] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)
    tools: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def fmax_mhz(self) -> float | None:
        """Of the slowest clock; None without place and route."""
        return min((clock.fmax_mhz for clock in self.clocks.values()), default=None)

    @property
    def bitstream(self) -> Path | None:
        return self.files.get("bitstream")

    @property
    def timing_met(self) -> bool | None:
        """Whether every clock reaches its target; None without place and route."""
        return all(clock.fmax_mhz >= clock.target_mhz for clock in self.clocks.values()) if self.clocks else None

    def save(self, path: Path, key: str) -> None:
        """Write it beside what it tells of; `key` stands for all that decided it."""
        files = {name: file.name for name, file in self.files.items()}
        path.write_text(json.dumps(asdict(self) | {"files": files, "key": key}, indent=1) + "\n")

    @classmethod
    def load(cls, path: Path, key: str) -> SynthReport | None:
        """A saved report; None if there is none of that key, or one of its files is gone."""
        try:
            data = json.loads(path.read_text())
        except (OSError, ValueError):
            return None
        files = {name: path.parent / file for name, file in data.get("files", {}).items()}
        if data.pop("key", None) != key or not all(file.is_file() for file in files.values()):
            return None
        kinds = {"resources": Usage, "clocks": ClockResult}
        return cls(**(data | {"files": files} | {field: {name: kind(**value) for name, value in data[field].items()} for field, kind in kinds.items()}))

    def as_dict(self) -> dict:
        """For JSON: paths as texts, with fmax_mhz and timing_met."""
        return asdict(self) | {"files": {name: str(path) for name, path in self.files.items()}, "fmax_mhz": self.fmax_mhz, "timing_met": self.timing_met}


def usage(board: Board, counted: Mapping) -> dict[str, Usage]:
    """Counts (`lut`, `ff`, `dsp`, `block_ram` {kind: n}) beside what the board has."""
    have = board.resources
    result = {key: Usage(used=counted[key], available=total) for key, total in (("lut", have.lut), ("ff", have.ff), ("dsp", have.dsp.count))}
    for ram in have.block_ram:
        result[ram.kind] = Usage(used=counted["block_ram"].get(ram.kind, 0), available=ram.count)
    return result


def must_fit(board: Board, resources: Mapping[str, Usage], where: str = "synth") -> None:
    """Raise DoesNotFit if anything is used beyond what the board has: by how much, and what would make it fit."""
    over = {name: use for name, use in resources.items() if use.used > use.available}
    if over:
        needs = {name: use.used for name, use in resources.items()}
        text = ", ".join(f"{use.used} {label(board, name)} of {use.available} ({use.share:.1f} times)" for name, use in over.items())
        raise DoesNotFit(f"{where}: {board.name}: got {text}, must be at most what the board has; {ADVICE}{larger(board, needs)}")


def label(board: Board, name: str) -> str:
    """What people call a resource: the primitive's name where it is one."""
    return {"lut": f"LUT{board.resources.lut_inputs}", "ff": "FF", "dsp": board.resources.dsp.kind}.get(name, name)


def larger(board: Board, needs: Mapping[str, int]) -> str:
    """The boards of `boards/` that have enough, smallest first, as the end of a sentence; figures of other families are a guide only."""
    kinds = [ram.kind for ram in board.resources.block_ram if ram.initialised]
    bits = {ram.kind: ram.bits for ram in board.resources.block_ram}
    ram_bits = sum(needs.get(kind, 0) * bits[kind] for kind in kinds)
    fits = [other for other in boards().values() if other.name != board.name and _has(other, needs, ram_bits)]
    names = [other.name for other in sorted(fits, key=lambda other: other.resources.lut)]
    return f", or a larger board: {', '.join(names)}" if names else ""


def _has(board: Board, needs: Mapping[str, int], ram_bits: int) -> bool:
    have = board.resources
    blocks = sum(ram.count * ram.bits for ram in have.block_ram if ram.initialised)
    return needs.get("lut", 0) <= have.lut and needs.get("ff", 0) <= have.ff and needs.get("dsp", 0) <= have.dsp.count and ram_bits <= blocks
