# SPDX-License-Identifier: Apache-2.0
"""What a synthesis showed, and what to do when it does not fit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bitloom.hw.board import Board
from bitloom.hw.cost.budget import Usage, too_much
from bitloom.hw.synth.tools import SynthError


class DoesNotFit(SynthError):
    """The board has too little of something."""


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


def must_fit(board: Board, resources: Mapping[str, Usage]) -> None:
    """Raise DoesNotFit if anything is used beyond what the board has: by how much, and what would make it fit."""
    if (text := too_much(board, resources)) is not None:
        raise DoesNotFit(f"synth: {board.name}: {text}")
