# SPDX-License-Identifier: Apache-2.0
"""A `vivado` that is a Tcl interpreter with stand_in.tcl, which checks calls and block design; its reports are those of tests/hw/vivado."""

import shutil
from pathlib import Path

from tcl_interpreter import interpreter

from bitloom.hw.board import Board
from bitloom.hw.vivado import write_project

DATA = Path(__file__).parent / "hw" / "vivado"
BOARD_FILES = "tul.com.tw:pynq-z2:part0:1.0 xilinx.com:zcu104:part0:1.1"


class StandIn:
    """An executable `vivado` on PATH. `fault`: what goes wrong in stand_in.tcl. `data`: its reports, which a test may change."""

    def __init__(self, folder: Path, monkeypatch):
        (folder / "bin").mkdir(parents=True)
        self.data, self.calls_file, self.setenv = folder / "data", folder / "calls", monkeypatch.setenv
        shutil.copytree(DATA, self.data)
        program = folder / "bin" / "vivado"
        words = " ".join(f"'{word.replace(chr(39), chr(39) + chr(92) + chr(39) * 2)}'" for word in interpreter())
        program.write_text(f"#!/bin/sh\nexec {words} '{DATA / 'stand_in.tcl'}' \"$@\"\n")
        program.chmod(0o755)
        for key, value in {
            "PATH": f"{folder / 'bin'}:/usr/bin:/bin",
            "STAND_IN_DATA": str(self.data),
            "STAND_IN_CALLS": str(self.calls_file),
            "STAND_IN_BOARDS": BOARD_FILES,
            "STAND_IN_FAULT": "none",
        }.items():
            self.setenv(key, value)

    def fault(self, name: str) -> None:
        self.setenv("STAND_IN_FAULT", name)

    def report(self, name: str, old: str, new: str) -> None:
        """Change a report."""
        path = self.data / f"{name}.rpt"
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    def calls(self, *commands: str) -> list[str]:
        """The calls of these commands, in order."""
        return [line for line in self.calls_file.read_text().splitlines() if line.split()[0] in commands]


def project(built: Path, name: str, folder: Path, **options) -> tuple[Path, Board]:
    board = Board.load(name)
    return write_project(built, board, folder / "project", **options), board
