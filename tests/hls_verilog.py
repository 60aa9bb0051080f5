# SPDX-License-Identifier: Apache-2.0
"""What Vitis HLS would have generated: hls/stand_in.v around an encoder of the RTL backend."""

import re
import shutil
from pathlib import Path

from bitloom.hw.plan.design import Design

STAND_IN = Path(__file__).parent / "hls" / "stand_in.v"
FAULTS = {"none": 0, "value": 1, "last": 2, "hang": 3}


def write_verilog(design: Design, build: Path, folder: Path, *, fault: str = "none", beat: int = 0, change: tuple[str, str] = ("", "")) -> Path:
    """The folder that csynth_design would have written, from the RTL of `build`: the top, the modules below it, memories in .dat files that they look for in `./`."""
    folder.mkdir()
    first, last = design.entry, design.outputs[0]
    text = STAND_IN.read_text()
    for name, info in (("IN", first), ("OUT", last)):
        width = info.lanes * info.io_bits
        text = re.sub(rf"\b{name}_MSB\b", str(width - 1), re.sub(rf"\b{name}_KEEP_MSB\b", str(width // 8 - 1), text))
    assert change[0] in text
    (folder / "encoder.v").write_text(text.replace(*change))
    core = (build / "encoder.sv").read_text().replace("module encoder ", "module encoder_core ")
    (folder / "encoder_core.sv").write_text(re.sub(r'"([^"]+)\.hex"', r'"./\1.dat"', core))
    for path in sorted((build / "rtl").glob("*.sv")):
        shutil.copy(path, folder)
    for path in build.glob("*.hex"):
        shutil.copy(path, folder / f"{path.stem}.dat")
    (folder / "fault.dat").write_text(f"{FAULTS[fault]:x}\n{beat:x}\n")
    return folder
