# SPDX-License-Identifier: Apache-2.0
"""One folder to copy to a PYNQ board: the driver, the bitstream with its description, and overlay.json, which holds their hashes and the streams."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import bitloom.boards.pynq_driver
from bitloom.hw.synth.tools import SynthError
from bitloom.hw.vivado.project import load_project

SCHEMA = "bitloom.overlay/1"
DRIVER = Path(bitloom.boards.pynq_driver.__file__).parent
OVERLAY = "overlay"


def pack_overlay(project: Path, out: Path) -> Path:
    """Write `out` (new or empty): pynq_driver/ and overlay/ with encoder.bit, encoder.hwh and overlay.json. Returns it.

    project  a project folder that Vivado has built, here or elsewhere
    Raises SynthError: not a project with a processing system, not built, or `out` is in use.
    """
    project, out = Path(project), Path(out)
    said = load_project(project)
    if "hwh" not in said["outcome"]:
        raise SynthError(f"vivado: {project}: got the flow {said['flow']}, must be zynq or mpsoc for PYNQ; use a board with a processing system")
    if said["ip"]["memory_bits"]:
        raise SynthError(f"vivado: {project}: got weights in external memory, must be on the chip: the board's driver loads no image yet; use encoder.xsa")
    files = {name: project / said["outcome"][key] for name, key in (("bit", "bitstream"), ("hwh", "hwh"))}
    for path in files.values():
        if not path.is_file():
            raise SynthError(f"vivado: got no {path}, must be built; run `vivado -mode batch -source build.tcl` in {project}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SynthError(f"vivado: got {out} with files in it, must be new or empty; give another folder")
    (out / OVERLAY).mkdir(parents=True)
    shutil.copytree(DRIVER, out / DRIVER.name, ignore=shutil.ignore_patterns("__pycache__"))
    manifest = {"schema": SCHEMA, "board": said["board"], "clock_mhz": said["clock_mhz"], **said["ip"]}
    for name, path in files.items():
        copy = shutil.copy(path, out / OVERLAY / f"encoder.{name}")
        manifest[name] = {"file": copy.name, "sha256": hashlib.sha256(copy.read_bytes()).hexdigest()}
    (out / OVERLAY / "overlay.json").write_text(json.dumps(manifest, indent=1) + "\n")
    return out
