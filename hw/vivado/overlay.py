# SPDX-License-Identifier: Apache-2.0
"""One folder to copy to a PYNQ board: driver, bitstream with its description, weights that lie in memory, overlay.json with their hashes and the streams."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import bitloom.boards.pynq_driver
from bitloom.hw.image import FILE
from bitloom.hw.synth.tools import SynthError
from bitloom.hw.vivado.project import load_project

SCHEMA = "bitloom.overlay/2"
DRIVER = Path(bitloom.boards.pynq_driver.__file__).parent
OVERLAY = "overlay"


def pack_overlay(project: Path, out: Path) -> Path:
    """Write `out` (new or empty): pynq_driver/ and overlay/ with encoder.bit, encoder.hwh, overlay.json, and weights.bin if there is one. Returns it.

    project  a project folder that Vivado has built, here or elsewhere
    Raises SynthError: not a project with a processing system, not built, or `out` is in use.
    """
    project, out = Path(project), Path(out)
    said = load_project(project)
    if "hwh" not in said["outcome"]:
        raise SynthError(f"vivado: {project}: got the flow {said['flow']}, must be zynq or mpsoc for PYNQ; use a board with a processing system")
    names = {"bit": ("bitstream", "encoder.bit"), "hwh": ("hwh", "encoder.hwh")} | ({"image": ("image", FILE)} if said["ip"]["memory_bits"] else {})
    files = {name: project / said["outcome"][key] for name, (key, _) in names.items()}
    for path in files.values():
        if not path.is_file():
            raise SynthError(f"vivado: got no {path}, must be built; run `vivado -mode batch -source build.tcl` in {project}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SynthError(f"vivado: got {out} with files in it, must be new or empty; give another folder")
    (out / OVERLAY).mkdir(parents=True)
    shutil.copytree(DRIVER, out / DRIVER.name, ignore=shutil.ignore_patterns("__pycache__"))
    manifest = {"schema": SCHEMA, "board": said["board"], "clock_mhz": said["clock_mhz"], **said["ip"]}
    for name, path in files.items():
        copy = shutil.copy(path, out / OVERLAY / names[name][1])
        manifest[name] = {"file": copy.name, "sha256": hashlib.sha256(copy.read_bytes()).hexdigest()}
    (out / OVERLAY / "overlay.json").write_text(json.dumps(manifest, indent=1) + "\n")
    return out
