# SPDX-License-Identifier: Apache-2.0
"""What differs from FPGA family to family: Yosys's command, and what its cells cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction


@dataclass(frozen=True, kw_only=True)
class Family:
    """One family of `bitloom.hw.board`.

    synth      Yosys's command; {top} is replaced
    lut        cell -> lookup tables that it occupies
    ff         prefixes of the flip-flops' names
    dsp        cell -> multipliers of the board's kind
    block_ram  the board's kind of block RAM -> {cell: blocks}
    """

    synth: str
    lut: Mapping[str, int]
    ff: tuple[str, ...]
    dsp: Mapping[str, Fraction | int]
    block_ram: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


_XILINX_LUT = {f"LUT{n}": 1 for n in range(1, 7)} | {
    "RAM32X1D": 2, "RAM64X1D": 2, "RAM128X1D": 4, "RAM32M": 4, "RAM64M": 4, "RAM32M16": 8, "RAM64M8": 8, "SRL16E": 1, "SRLC32E": 1, "INV": 0,
}  # fmt: skip
_GOWIN_RAM = ("SP", "SPX9", "SDPB", "SDPX9B", "DPB", "DPX9B", "pROM", "pROMX9")


def _xilinx(name: str, dsp: str) -> Family:
    # A block RAM is asked for by the RTL where it is deep; -noiopad: the figures are those of a part, not of a chip's pins.
    return Family(
        synth=f"synth_xilinx -family {name} -top {{top}} -flatten -noiopad -noclkbuf",
        lut=_XILINX_LUT,
        ff=("FDRE", "FDSE", "FDCE", "FDPE"),
        dsp={dsp: 1},
        block_ram={"RAMB18": {"RAMB18E1": 1, "RAMB18E2": 1, "RAMB36E1": 2, "RAMB36E2": 2}, "URAM288": {"URAM288": 1}},
    )


FAMILIES = {
    # A distributed RAM takes four lookup tables to hold its bits, and the write port blocks four more of the same tile.
    "ecp5": Family(synth="synth_ecp5 -top {top}", lut={"LUT4": 1, "CCU2C": 2, "TRELLIS_DPR16X4": 8}, ff=("TRELLIS_FF",),
                   dsp={"MULT18X18D": 1}, block_ram={"DP16KD": {"DP16KD": 1}}),
    "gw2a": Family(synth="synth_gowin -top {top} -family gw2a", lut={f"LUT{n}": 1 for n in range(1, 5)} | {"ALU": 1, "RAM16SDP4": 4, "RAM16SDP2": 2},
                   ff=("DFF",), dsp={"MULT9X9": Fraction(1, 2), "MULT18X18": 1, "MULT36X36": 4}, block_ram={"BSRAM": dict.fromkeys(_GOWIN_RAM, 1)}),
    "ice40up": Family(synth="synth_ice40 -device u -dsp -dffe_min_ce_use 16 -top {top}", lut={"SB_LUT4": 1}, ff=("SB_DFF",), dsp={"SB_MAC16": 1},
                      block_ram={"SB_RAM40_4K": {f"SB_RAM40_4K{edge}": 1 for edge in ("", "NR", "NW", "NRNW")}, "SB_SPRAM256KA": {"SB_SPRAM256KA": 1}}),
    "artix-7": _xilinx("xc7", "DSP48E1"),
    "zynq-7000": _xilinx("xc7", "DSP48E1"),
    "zynq-ultrascale+": _xilinx("xcup", "DSP48E2"),
    "virtex-ultrascale+": _xilinx("xcup", "DSP48E2"),
    # Yosys maps no Versal part: its LUT, FF and block RAM are close to UltraScale+'s, and a product that a DSP48E2 takes fits a DSP58.
    "versal": _xilinx("xcup", "DSP48E2"),
}  # fmt: skip


def count(cells: Mapping[str, int], family: Family) -> dict[str, int | dict[str, int]]:
    """lut, ff, dsp and {kind: block_ram} of a netlist's cells; half multipliers are rounded up together."""
    ram = {kind: sum(cells.get(cell, 0) * size for cell, size in sizes.items()) for kind, sizes in family.block_ram.items()}
    return {
        "lut": sum(cells.get(cell, 0) * size for cell, size in family.lut.items()),
        "ff": sum(number for cell, number in cells.items() if cell.startswith(family.ff)),
        "dsp": -int(-sum(cells.get(cell, 0) * size for cell, size in family.dsp.items()) // 1),
        "block_ram": {kind: blocks for kind, blocks in ram.items() if blocks},
    }
