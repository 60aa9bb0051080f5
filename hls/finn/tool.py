# SPDX-License-Identifier: Apache-2.0
"""All contact with the finn-plus package: its version, its environment, its build steps. Imported late, since it is not a dependency.

finn-plus is used as a library. Its modules look for Vivado's simulator while they are imported; without Vivado the names that would load it are
set to None, and everything that needs no Vivado works: conversion, folding, estimates, code generation, Python execution.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import logging
import os
import re
from collections.abc import Iterator
from difflib import get_close_matches
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import SimpleNamespace

from bitloom.hls.finn.errors import FinnError

VERSION = "1.6.1"
INSTALL = f"pip install --no-deps finn-plus=={VERSION}"
NO_VIVADO = "/no-vivado/2024.2"  # FINN parses a version out of the path, wherever it points
PART = re.compile(r"x[aqc]r?(7|zu|ku|vu|k|u|v)[a-z0-9]*-[a-z]+\d+-[\w-]+", re.IGNORECASE)

_STEPS = "finn.builder.build_dataflow_steps"
_MODULES = {
    "steps": _STEPS,
    "config": "finn.builder.build_dataflow_config",
    "absorb": "finn.transformation.streamline.absorb",
    "reorder": "finn.transformation.streamline.reorder",
    "pwpolyf": "finn.transformation.fpgadataflow.convert_to_hw.pwpolyf",
    "norm": "finn.transformation.streamline.extract_norm_scale_bias",
    "rounding": "finn.transformation.streamline.round_thresholds",
    "fpga": "finn.util.basic",
    "settings": "finn.util.settings",
    "fifo": "finn.transformation.fpgadataflow.insert_fifo",
    "dwc": "finn.transformation.fpgadataflow.insert_dwc",
    "specialize": "finn.transformation.fpgadataflow.specialize_layers",
    "registry": "qonnx.custom_op.registry",
    "general": "qonnx.transformation.general",
    "datatypes": "qonnx.transformation.infer_datatypes",
    "shapes": "qonnx.transformation.infer_shapes",
    "wrapper": "qonnx.core.modelwrapper",
    "execution": "qonnx.core.onnx_exec",
}  # fmt: skip


def installed() -> str:
    """finn-plus's version, or "" if it is not installed."""
    try:
        return version("finn-plus")
    except PackageNotFoundError:
        return ""


def require_installed() -> None:
    """Raises FinnError: finn-plus is missing or of another version."""
    if (found := installed()) != VERSION:
        got = f"version {found}" if found else "no finn-plus"
        raise FinnError(f"finn: got {got}, must be finn-plus {VERSION}; {INSTALL} (its own requirements are in constraints.txt)")


def has_vivado() -> bool:
    """Whether the environment names a Vivado installation, as its settings64.sh does."""
    return bool(os.environ.get("XILINX_VIVADO"))


@cache
def rtllib() -> Path:
    """FINN's RTL library, found without importing it.

    Raises FinnError: finn-plus is missing or of another version.
    """
    require_installed()
    spec = importlib.util.find_spec("finn")
    return Path(next(iter(spec.submodule_search_locations))) / "finn-rtllib"


@contextlib.contextmanager
def session(folder: Path) -> Iterator[SimpleNamespace]:
    """finn's modules, working in `folder`; what it prints goes to folder/finn.log. Its environment variables end with the context.

    Raises FinnError: finn-plus is missing or of another version.
    """
    require_installed()
    work = Path(folder).absolute() / "code"
    work.mkdir(parents=True, exist_ok=True)
    before = {key: os.environ.get(key) for key in ("FINN_BUILD_DIR", "XILINX_VIVADO")}
    with (Path(folder) / "finn.log").open("a") as log, contextlib.redirect_stdout(log):
        handler, logger = logging.StreamHandler(log), logging.getLogger("finn_logger")
        logger.addHandler(handler)
        kept, logger.propagate = logger.propagate, False
        os.environ["FINN_BUILD_DIR"] = str(work)
        os.environ.setdefault("XILINX_VIVADO", NO_VIVADO)
        try:
            finn = _modules(before["XILINX_VIVADO"] is not None)
            finn.settings.get_settings().finn_build_dir = work
            yield finn
        finally:
            logger.removeHandler(handler)
            logger.propagate = kept
            for key, value in before.items():
                os.environ.pop(key, None)
                if value is not None:
                    os.environ[key] = value


@cache
def _modules(vivado: bool) -> SimpleNamespace:
    if not vivado:
        xsi = importlib.import_module("finn.xsi")
        for name in xsi._LAZY_NAMES:
            setattr(xsi, name, None)
    return SimpleNamespace(**{key: importlib.import_module(name) for key, name in _MODULES.items()})


def part_of(finn: SimpleNamespace, name: str) -> str:
    """The part number of one of FINN's boards, or a part number as it is.

    Raises FinnError: neither.
    """
    boards = finn.fpga.part_map
    if name in boards:
        return boards[name]
    if PART.fullmatch(name):
        return name
    near = get_close_matches(name, [*boards, *boards.values()], n=1, cutoff=0.4)
    hint = f"did you mean '{near[0]}'? " if near else ""
    raise FinnError(
        f"finn: got part '{name}', must be a part number such as xczu3eg-sbva484-1-e or one of FINN's boards; {hint}Boards: {', '.join(sorted(boards))}"
    )
