# SPDX-License-Identifier: Apache-2.0
"""The cost model: what a folded encoder takes of an FPGA, before any synthesis.

DSP and block RAM follow from rules (multipliers.py, memories.py) and are exact for ECP5. LUT and FF of a module are a sum of terms, each a number
of bits or cells that its RTL has, times a coefficient that was fitted to synthesized operators (hw/synth/calibrate.py, coefficients.json).
"""

from __future__ import annotations

import json
import math
from dataclasses import astuple, dataclass, field, replace
from functools import cache
from pathlib import Path
from statistics import median

from bitloom.hw.board import Board
from bitloom.hw.cost.memories import Memory, index_bits, map_memory
from bitloom.hw.cost.multipliers import dsps
from bitloom.hw.hexfile import Hex
from bitloom.hw.instance import Instance, Module, Terms
from bitloom.hw.ops import OPS
from bitloom.hw.parts import PARTS
from bitloom.hw.plan.design import Design

COEFFICIENTS = Path(__file__).with_name("coefficients.json")
CHOICE = 0.5  # LUTs that choose a word, for each bit of a RAM in flip-flops
UNMEASURED = 2.0  # LUT and FF of a unit of a term that no measured module has
MODULES: dict[str, Module] = {m.name: m for op in OPS.values() for m in (op.module, op.tiled) if m} | PARTS


@dataclass(frozen=True)
class Cost:
    """What something takes. lut and ff are estimates; block_ram counts the board's first kind, ultra_ram its UltraRAMs."""

    lut: float = 0.0
    ff: float = 0.0
    dsp: int = 0
    block_ram: int = 0
    ultra_ram: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(*(mine + its for mine, its in zip(astuple(self), astuple(other), strict=True)))

    def __mul__(self, times: int) -> Cost:
        return Cost(*(mine * times for mine in astuple(self)))


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Of one folded encoder on one board. per_node: each operator with its FIFOs and the fork behind it; total: all of them."""

    board: Board
    per_node: dict[str, Cost] = field(default_factory=dict)

    @property
    def total(self) -> Cost:
        return sum(self.per_node.values(), Cost())

    def counted(self) -> dict:
        """As hw/synth/report.py takes them: lut, ff, dsp, block_ram {kind: n}."""
        total, have = self.total, self.board.resources
        rams = {have.block_ram[0].kind: total.block_ram} | ({have.ultra_ram.kind: total.ultra_ram} if have.ultra_ram else {})
        return {"lut": math.ceil(total.lut), "ff": math.ceil(total.ff), "dsp": total.dsp, "block_ram": rams}


def estimate(design: Design, board: Board) -> Estimate:
    """What a design takes on a board."""
    return Estimator(board).estimate(design)


class Estimator:
    """Costs on one board; remembers each instance's by its parameters, as layers are alike and the solver asks again and again."""

    def __init__(self, board: Board):
        self.board = board
        self.known: dict[tuple, Cost] = {}

    def cost(self, made: Instance, loaded: bool = False) -> Cost:
        """One instance of a module of hw/rtl; loaded: its ROMs are written after reset (hw/rtl/rom.sv)."""
        key = (loaded, made.module, *((name, value) for name, value in made.params.items() if not isinstance(value, Hex)))
        if key not in self.known:
            self.known[key] = instance_cost(made, self.board, loaded)
        return self.known[key]

    def estimate(self, design: Design) -> Estimate:
        """Of every unit, with the FIFOs in front of it, the fork behind it and the encoder's output."""
        loaded = design.fetch is not None
        costs = dict.fromkeys((node.name for node in design.graph.nodes), Cost())
        for tensor, name, made in design.instances:
            costs[tensor] += self.cost(design.styled(name, made), loaded)
        return Estimate(board=self.board, per_node=costs)


def instance_cost(made: Instance, board: Board, loaded: bool = False) -> Cost:
    """One instance of a module of hw/rtl."""
    module = MODULES[made.module]
    sizes = terms(made, board, loaded)
    lut, ff = (cells(made.module, what, sizes, board.resources.lut_inputs) for what in ("lut", "ff"))
    mapped = [map_memory(memory, board) for memory in _memories(made, loaded)]
    ff += sum(memory.width + index_bits(memory.depth) for memory in module.memories(made.params) if loaded and memory.rom)  # a word that comes in parts
    return Cost(
        lut=lut + sum(m.tables + CHOICE * m.ff_bits for m in mapped),
        ff=ff + sum(m.ff_bits for m in mapped),
        dsp=dsps(module.products(made.params), board.family),
        block_ram=sum(m.blocks for m in mapped),
        ultra_ram=sum(m.ultra for m in mapped),
    )


def _memories(made: Instance, loaded: bool) -> list[Memory]:
    """Of an instance; those that are loaded are RAM, which is not read while it is written."""
    return [replace(m, rom=False, checked=False) if loaded and m.rom else m for m in MODULES[made.module].memories(made.params)]


def terms(made: Instance, board: Board, loaded: bool = False) -> Terms:
    """The sizes that decide a module's LUT and FF, by name: its own, and those of its memories."""
    module = MODULES[made.module]
    memories = _memories(made, loaded)
    mapped = [map_memory(memory, board) for memory in memories]
    ram = {
        "one": 1,
        "lut_ram": sum(m.lut_ram for m in mapped),
        "rom_bits": sum(m.logic_bits for m in mapped),
        # a block RAM and an UltraRAM have the register behind it inside
        "read_bits": sum(memory.width for memory, m in zip(memories, mapped, strict=True) if not m.blocks and not m.ultra),
    }
    return ram | module.terms(made.params)


def cells(module: str, what: str, sizes: Terms, lut_inputs: int) -> float:
    """Lookup tables (`what` is "lut") or flip-flops ("ff") of a module whose terms have these sizes.

    A module that was never measured takes for each term the median of those that have it, else UNMEASURED cells a unit.
    """
    data = _coefficients()
    measured = data["lut4"].get(module)
    each, other = (measured[what], 0.0) if measured else (_typical(what), UNMEASURED)
    share = data["lut6_share"][what] if lut_inputs == 6 else 1.0
    return share * sum(each.get(name, other) * size for name, size in sizes.items())


@cache
def _coefficients() -> dict:
    """lut4: cells of four-input fabrics by module and term; lut6_share: what fabrics of six-input tables take of them (docs/synthesis.md)."""
    return json.loads(COEFFICIENTS.read_text())


@cache
def _typical(what: str) -> dict[str, float]:
    """{term: median of the measured modules that have it}."""
    measured = [both[what] for both in _coefficients()["lut4"].values()]
    return {name: median(each[name] for each in measured if name in each) for name in {name for each in measured for name in each}}
