# SPDX-License-Identifier: Apache-2.0
"""The cost model: what a folded encoder takes of an FPGA, before any synthesis.

DSP and block RAM follow from rules (hw/mapping.py, hw/memories.py) and are exact for ECP5. LUT and FF of an operator are a sum of terms, each a number
of bits or cells that its RTL has, times a coefficient that was fitted to synthesized operators (hw/synth/calibrate.py, hw/coefficients.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from bitloom.hw.board import Board
from bitloom.hw.coefficients import COEFFICIENTS
from bitloom.hw.graph import Graph
from bitloom.hw.instance import Fold, Instance
from bitloom.hw.mapping import dsps
from bitloom.hw.memories import DEEP_FIFO, Mapped, fifo_chunks, index_bits, layernorm_widths, map_memory, memories
from bitloom.hw.ops import OPS
from bitloom.hw.plan.design import Design
from bitloom.hw.plan.folding import Folding

Terms = dict[str, float]


@dataclass(frozen=True)
class Cost:
    """What something takes. lut and ff are estimates; block_ram counts the board's first kind."""

    lut: float = 0.0
    ff: float = 0.0
    dsp: int = 0
    block_ram: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.lut + other.lut, self.ff + other.ff, self.dsp + other.dsp, self.block_ram + other.block_ram)

    def __mul__(self, times: int) -> Cost:
        return Cost(self.lut * times, self.ff * times, self.dsp * times, self.block_ram * times)


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
        total, kind = self.total, self.board.resources.block_ram[0].kind
        return {"lut": math.ceil(total.lut), "ff": math.ceil(total.ff), "dsp": total.dsp, "block_ram": {kind: total.block_ram}}


def estimate(graph: Graph, folding: Folding, board: Board) -> Estimate:
    """What a folded encoder takes on a board."""
    return Estimator(graph, board).estimate(folding)


class Estimator:
    """Costs of one graph on one board; remembers each operator's, as the solver asks again and again."""

    def __init__(self, graph: Graph, board: Board):
        self.graph, self.board = graph, board
        self._nodes: dict[tuple[str, Fold], Cost] = {}
        self._fifos: dict[tuple[int, int], Cost] = {}

    def node(self, name: str, fold: Fold) -> Cost:
        """One operator without its FIFOs."""
        if (name, fold) not in self._nodes:
            node = self.graph.node(name)
            self._nodes[name, fold] = instance_cost(OPS[node.op].rtl(self.graph, node, fold), self.board)
        return self._nodes[name, fold]

    def fifo(self, width: int, depth: int) -> Cost:
        if (width, depth) not in self._fifos:
            self._fifos[width, depth] = instance_cost(Instance(module="fifo", params={"WIDTH": width, "DEPTH": depth}), self.board)
        return self._fifos[width, depth]

    def estimate(self, folding: Folding) -> Estimate:
        design = Design(self.graph, folding)
        costs = dict.fromkeys((n.name for n in self.graph.nodes), Cost())
        for unit in design.units:
            costs[unit.name] = sum((self.fifo(port.stream.width, port.depth) for port in unit.ports), self.node(unit.name, unit.fold))
        for stream in design.forks:
            made = Instance(module="stream_fork", params={"N": len(design.readers[stream.tensor]), "WIDTH": stream.width})
            costs[stream.tensor] += instance_cost(made, self.board)
        for port in design.exits:
            costs[port.stream.tensor] += self.fifo(port.stream.width, port.depth)
        return Estimate(board=self.board, per_node=costs)


def instance_cost(made: Instance, board: Board) -> Cost:
    """One instance of a module of hw/rtl."""
    mapped = [map_memory(memory, board) for memory in memories(made)]
    named = terms(made, mapped)
    kind = COEFFICIENTS[fabric(board)]
    lut, ff = (sum(kind[made.module][what].get(name, 0.0) * value for name, value in named.items()) for what in ("lut", "ff"))
    return Cost(lut=lut, ff=ff, dsp=dsps(made, board.family), block_ram=sum(m.blocks for m in mapped))


def fabric(board: Board) -> str:
    """Which coefficients a board takes: by the inputs of its lookup tables."""
    return f"lut{board.resources.lut_inputs}"


def terms(made: Instance, mapped: list[Mapped]) -> Terms:
    """The sizes that decide an operator's LUT and FF, by name; `mapped` are its memories."""
    ram = {
        "one": 1,
        "lut_ram": sum(m.lut_ram for m in mapped),
        "rom_bits": sum(m.logic_bits for m in mapped),
        # a block RAM has the register behind it inside
        "read_bits": sum(memory.width for memory, m in zip(memories(made), mapped, strict=True) if not m.blocks),
    }
    return ram | FEATURES[made.module](made.params)


def _mac(p: dict, pe: int, simd: int, x_bits: int, w_bits: int) -> Terms:
    """hw/rtl/mac_array.sv: operands, products, adder tree, sums."""
    product = x_bits + w_bits
    node = min(product + (simd - 1).bit_length(), p["OUT_W"])
    pairs = (pe + 1) // 2 * simd if p["MUL_STYLE"] == "two" else 0
    additions = p["MUL_STYLE"] == "lut" or w_bits == 1
    return {
        "x_bits": simd * x_bits,
        "w_bits": pe * simd * w_bits,
        "pair_bits": pairs * (product + w_bits + 1),
        "product_bits": pe * simd * product,
        "carries": pe * simd if pairs else 0,
        "lut_product_bits": pe * simd * product * max(1, w_bits - 1) if additions else 0,
        "held_bits": 0 if additions else pe * simd * product,
        "tree_bits": pe * _tree_nodes(simd) * node,
        "tree_adder_bits": pe * (simd - 1) * node,
        "acc_bits": pe * p["OUT_W"],
    }


def _tree_nodes(leaves: int) -> int:
    """Registers of the tree of four-input adders behind its leaves."""
    nodes = 0
    while leaves > 1:
        leaves = -(-leaves // 4)
        nodes += leaves
    return nodes


def _linear(p: dict) -> Terms:
    mac = _mac(p, p["PE"], p["SIMD"], p["IN_W"], p["WEIGHT_W"])
    wait = (p["SIMD"] - p["LANES_IN"]) * p["IN_W"]
    return mac | {
        "part_bits": wait,
        "out_bits": p["LANES_OUT"] * p["OUT_W"],
        "count_bits": (index_bits(p["C"] * p["K"] // p["PE"] // p["SIMD"]) + index_bits(p["C"] // p["LANES_OUT"]) + 2 * index_bits(p["K"] // p["SIMD"])),
    }


def _scores(p: dict) -> Terms:
    words = p["HEADS"] * p["DIM"] // p["SIMD"]
    return _mac(p, 1, p["SIMD"], p["Q_W"], p["K_W"]) | {
        "part_bits": (p["SIMD"] - p["LANES"]) * (p["Q_W"] + p["K_W"]),
        "count_bits": 4 * index_bits(words * p["MAX_TOKENS"]) + 3 * index_bits(words),
    }


def _context(p: dict) -> Terms:
    words = p["HEADS"] * p["DIM"] // p["PE"]
    return _mac(p, p["PE"], 1, p["P_W"], p["V_W"]) | {
        "part_bits": (p["PE"] - p["LANES"]) * p["V_W"],
        "out_bits": 0,
        "count_bits": 3 * index_bits(words * p["MAX_TOKENS"]) + 5 * index_bits(p["MAX_TOKENS"]) + index_bits(words),
    }


def _requant(p: dict) -> Terms:
    lanes, product = p["LANES"], p["PER_CHANNEL"] or p["MULT"] > 1
    beyond = max(0, p["IN_W"] - 18) if product else 0
    keep = p["IN_W"] + (p["MULT_W"] if product else 0)
    return {
        "in_bits": lanes * p["IN_W"],
        "multiplied_bits": lanes * keep if product else 0,
        "low_bits": lanes * beyond * (p["MULT_W"] + beyond) if beyond <= 4 else 0,
        "sum_bits": lanes * max(1, keep - p["SHIFT"]),
        "shift_bits": lanes * min(p["SHIFT"], keep),
        "out_bits": lanes * p["OUT_W"],
        "count_bits": index_bits(p["C"] // lanes) if p["PER_CHANNEL"] else 0,
    }


def _add(p: dict) -> Terms:
    return {"in_bits": p["LANES"] * (p["A_W"] + p["B_W"]), "out_bits": p["LANES"] * p["OUT_W"]}


def _table(p: dict) -> Terms:
    return {"in_bits": p["LANES"] * p["IN_W"], "out_bits": p["LANES"] * p["OUT_W"]}


def _softmax(p: dict) -> Terms:
    recip = p["RECIP_BITS"] - p["EXP_W"] + 2
    return {"index_bits": index_bits(p["MAX_TOKENS"]), "recip_bits": recip, "product_bits": p["EXP_W"] + recip, "exp_bits": p["EXP_W"], "in_bits": p["IN_W"]}


def _layernorm(p: dict) -> Terms:
    total, variance, recip = layernorm_widths(p)
    lanes = p["LANES"]
    product = p["IN_W"] + (p["H"] - 1).bit_length() + recip
    return {
        "serial_bits": variance + recip,
        "sum_bits": total,
        "square_bits": lanes * 2 * p["IN_W"],
        "product_bits": lanes * product,
        "scaled_bits": lanes * (p["GAMMA_W"] + p["SHIFT"]),
        "lane_bits": lanes * p["IN_W"],
    }


def _first(p: dict) -> Terms:
    return {"lane_bits": p["LANES"] * p["W"], "count_bits": index_bits(p["C"] // p["LANES"])}


def _fifo(p: dict) -> Terms:
    width, chunks = p["WIDTH"] + 1, len(fifo_chunks(p))
    kind = "deep" if p["DEPTH"] > DEEP_FIFO else "memory" if chunks else "pair"
    return {kind: 1, f"{kind}_bits": width, f"{kind}_address_bits": index_bits(p["DEPTH"]), "chunk_bits": chunks * width if kind == "deep" else 0}


def _fork(p: dict) -> Terms:
    return {"branches": p["N"]}


FEATURES: dict[str, Callable[[dict], Terms]] = {
    "linear": _linear, "scores": _scores, "context_op": _context, "requant": _requant, "add": _add, "table_op": _table, "softmax": _softmax,
    "layernorm": _layernorm, "first_token": _first, "fifo": _fifo, "stream_fork": _fork,
}  # fmt: skip
