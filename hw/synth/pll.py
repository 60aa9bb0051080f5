# SPDX-License-Identifier: Apache-2.0
"""Phase-locked loops: the dividers that make a clock from the board's, within each family's limits, and the instance of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bitloom.hw.synth.tools import SynthError

TOLERANCE = 0.01  # of the wanted frequency: as far as the nearest setting may be off


@dataclass(frozen=True, kw_only=True)
class Pll:
    """A setting: in_mhz is divided by `divide`, the loop multiplies it; the oscillator's frequency is `post` times out_mhz."""

    in_mhz: float
    out_mhz: float
    divide: int
    multiply: int
    post: int


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Of one family, as used here. Frequencies in MHz, ends included. `loop_at_oscillator`: `multiply` gives the oscillator's frequency, not the output's."""

    divide: range
    multiply: range
    post: tuple[int, ...]
    detector: tuple[float, float]
    oscillator: tuple[float, float]
    output: tuple[float, float]
    source: str
    loop_at_oscillator: bool = False


LIMITS = {
    "ecp5": Limits(divide=range(1, 129), multiply=range(1, 129), post=tuple(range(1, 129)), detector=(10, 400), oscillator=(400, 800), output=(10, 400),
                   source="Lattice FPGA-DS-02012, ECP5 and ECP5-5G Family Data Sheet, sysCLOCK PLL timing", loop_at_oscillator=True),
    "gw2a": Limits(divide=range(1, 65), multiply=range(1, 65), post=(2, 4, 8, 16, 32, 48, 64, 80, 96, 112, 128), detector=(3, 500), oscillator=(500, 1250),
                   output=(3.90625, 625), source="Gowin DS226, GW2AR series; Apicula's gowin_pll"),
    "ice40up": Limits(divide=range(1, 17), multiply=range(1, 129), post=(2, 4, 8, 16, 32, 64), detector=(10, 133), oscillator=(533, 1066), output=(16, 275),
                      source="Lattice FPGA-DS-02008, iCE40 UltraPlus Family Data Sheet, PLL timing", loop_at_oscillator=True),
}  # fmt: skip


def solve_pll(family: str, in_mhz: float, out_mhz: float) -> Pll:
    """The setting nearest to out_mhz; of equal ones that with the fastest detector (least jitter), then the slowest oscillator.

    Raises SynthError: the family's PLL cannot come within TOLERANCE.
    """
    limits = LIMITS.get(family)
    settings = _settings(limits, in_mhz) if limits else ()
    best = min(settings, key=lambda s: (round(abs(s.out_mhz - out_mhz), 6), s.divide, s.multiply, s.post), default=None)
    if best is None or abs(best.out_mhz - out_mhz) > TOLERANCE * out_mhz:
        near = f"take {best.out_mhz:g}" if best else "take the board's own clock"
        raise SynthError(f"synth: clock_mhz: got {out_mhz:g}, must be what a PLL of {family} makes of {in_mhz:g} MHz; {near}")
    return best


def _settings(limits: Limits, in_mhz: float) -> Iterator[Pll]:
    for divide in limits.divide:
        if not _within(in_mhz / divide, limits.detector):
            continue
        for multiply in limits.multiply:
            loop = in_mhz * multiply / divide
            for post in limits.post:
                out, oscillator = (loop / post, loop) if limits.loop_at_oscillator else (loop, loop * post)
                if _within(oscillator, limits.oscillator) and _within(out, limits.output):
                    yield Pll(in_mhz=in_mhz, out_mhz=out, divide=divide, multiply=multiply, post=post)


def _within(value: float, ends: tuple[float, float]) -> bool:
    return ends[0] <= value <= ends[1]


def instance(family: str, pll: Pll, clock: str) -> str:
    """The instance named u_pll: from wire `clock` to wires `clk` and `locked`."""
    return {"ecp5": _ecp5, "gw2a": _gowin, "ice40up": _ice40}[family](pll, clock)


def _ecp5(pll: Pll, clock: str) -> str:
    # The loop is closed over a divider of its own (CLKOS), so that the output's does not bind it: finer steps at a fast phase detector.
    return f"""\
  wire loop;
  (* FREQUENCY_PIN_CLKI="{pll.in_mhz:g}", FREQUENCY_PIN_CLKOP="{pll.out_mhz:g}", ICP_CURRENT="12", LPF_RESISTOR="8" *)
  EHXPLLL #(.CLKI_DIV({pll.divide}), .CLKFB_DIV(1), .FEEDBK_PATH("CLKOS"), .CLKOS_ENABLE("ENABLED"), .CLKOS_DIV({pll.multiply}),
    .CLKOS_CPHASE({pll.multiply - 1}), .CLKOS_FPHASE(0), .CLKOP_ENABLE("ENABLED"), .CLKOP_DIV({pll.post}), .CLKOP_CPHASE({pll.post - 1}), .CLKOP_FPHASE(0),
    .PLLRST_ENA("DISABLED"), .STDBY_ENABLE("DISABLED"), .INTFB_WAKE("DISABLED")) u_pll (
    .CLKI({clock}), .CLKFB(loop), .CLKOS(loop), .CLKOP(clk), .LOCK(locked), .RST(1'b0), .STDBY(1'b0), .ENCLKOP(1'b0), .ENCLKOS(1'b0),
    .PLLWAKESYNC(1'b0), .PHASESEL0(1'b0), .PHASESEL1(1'b0), .PHASEDIR(1'b0), .PHASESTEP(1'b0), .PHASELOADREG(1'b0));
"""


def _gowin(pll: Pll, clock: str) -> str:
    return f"""\
  rPLL #(.FCLKIN("{pll.in_mhz:g}"), .IDIV_SEL({pll.divide - 1}), .FBDIV_SEL({pll.multiply - 1}), .ODIV_SEL({pll.post})) u_pll (
    .CLKIN({clock}), .CLKOUT(clk), .LOCK(locked), .CLKFB(1'b0), .RESET(1'b0), .RESET_P(1'b0), .FBDSEL(6'b0), .IDSEL(6'b0), .ODSEL(6'b0),
    .PSDA(4'b0), .DUTYDA(4'b0), .FDLY(4'b0));
"""


def _ice40(pll: Pll, clock: str) -> str:
    detector = pll.in_mhz / pll.divide
    loop_filter = next(code for limit, code in ((17, 1), (26, 2), (44, 3), (66, 4), (101, 5), (134, 6)) if detector < limit)
    return f"""\
  SB_PLL40_PAD #(.FEEDBACK_PATH("SIMPLE"), .DIVR({pll.divide - 1}), .DIVF({pll.multiply - 1}), .DIVQ({pll.post.bit_length() - 1}),
    .FILTER_RANGE({loop_filter})) u_pll (.PACKAGEPIN({clock}), .PLLOUTGLOBAL(clk), .LOCK(locked), .RESETB(1'b1), .BYPASS(1'b0));
"""
