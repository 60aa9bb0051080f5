# SPDX-License-Identifier: Apache-2.0
"""FINN's MVU RTL simulated: a cross-check of FINN's results and of its cycle formula, in the same bench as bitloom's own units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bitloom.hls.finn import tool
from bitloom.hls.finn.errors import FinnError
from bitloom.hw import process
from bitloom.hw.graph import signed_bits
from bitloom.hw.hexfile import Hex
from bitloom.sim.unit import OutSpec, Stimulus, UnitCase, run_units

ADAPTER = Path(__file__).with_name("mvu_unit.sv")
DSP58 = 3  # FINN's number for the Versal variant; Verilator does not take the adder trees of the DSP48 ones


@dataclass(frozen=True, kw_only=True)
class MvuRun:
    """What FINN's unit did.

    outputs  int64 [N, C]
    cycle    int64 [N]: in which each vector's last beat left; cycle 0 is that of the first accepted input beat
    """

    outputs: np.ndarray
    cycle: np.ndarray

    @property
    def interval(self) -> np.ndarray:
        """Cycles between the ends of consecutive vectors, int64 [N - 1]."""
        return np.diff(self.cycle)


def formula(inputs: int, outputs: int, pe: int, simd: int) -> int:
    """FINN's cycles a vector: (MW/SIMD) * (MH/PE)."""
    return (inputs // simd) * (outputs // pe)


def pack(weight: np.ndarray, pe: int, simd: int, bits: int) -> Hex:
    """Weights int64 [C, K] as the words that the unit reads one after the other."""
    channels, inputs = weight.shape
    words = weight.reshape(channels // pe, pe, inputs // simd, simd).transpose(0, 2, 1, 3)
    return Hex.pack(words.reshape(-1, pe * simd), bits)


def simulate(x: np.ndarray, weight: np.ndarray, foldings: Sequence[tuple[int, int]], *, x_bits: int, x_signed: bool, weight_bits: int,
             stall_in: float = 0.0, stall_out: float = 0.0) -> list[MvuRun]:  # fmt: skip
    """x int64 [N, K] through FINN's unit (its Versal variant) with weight int64 [C, K], once for each folding (PE, SIMD), in one simulation.

    Raises FinnError: finn-plus missing, or a folding that does not divide. bitloom.sim.errors.SimulationError: no simulator, a broken stream rule.
    """
    (channels, inputs), cases = weight.shape, []
    acc_bits = signed_bits(int(np.abs(weight).sum(axis=1).max()) << (x_bits - x_signed))
    for pe, simd in foldings:
        if channels % pe or inputs % simd:
            raise FinnError(f"finn: MVU simulation: got PE {pe} and SIMD {simd}, must divide {channels} and {inputs}; choose divisors")
        params = {"MW": inputs, "MH": channels, "PE": pe, "SIMD": simd, "ACT_W": x_bits, "ACT_SIGNED": int(x_signed), "WEIGHT_W": weight_bits,
                  "ACC_W": acc_bits, "NARROW": int(weight.min() > -(1 << weight_bits - 1)), "VERSION": DSP58,
                  "WEIGHT_FILE": pack(weight, pe, simd, weight_bits)}  # fmt: skip
        beats = x.reshape(-1, simd)
        last = np.arange(1, len(beats) + 1) % (inputs // simd) == 0
        cases.append(UnitCase(module="mvu_unit", params=params, inputs={"s": Stimulus(beats, last, x_bits)},
                              output=OutSpec("m", pe, acc_bits, True), n_out=len(x) * channels // pe))  # fmt: skip
    with process.scratch("finn") as folder:
        results = run_units(cases, [ADAPTER, copy_rtl(folder)], stall_in=stall_in, stall_out=stall_out)
    return [MvuRun(outputs=r.beats.reshape(len(x), channels), cycle=r.cycle[r.last]) for r in results]


def copy_rtl(folder: Path) -> Path:
    """FINN's unit as one file in `folder`, the package that its modules import first."""
    source = tool.rtllib() / "mvu"
    names = ("mvu_pkg", "add_multi", "replay_buffer", "mvu", "mvu_vvu_8sx9_dsp58", "mvu_vvu_axi")
    target = folder / "mvu_vvu_axi.sv"
    target.write_text("\n".join((source / f"{name}.sv").read_text() for name in names))
    return target
