# SPDX-License-Identifier: Apache-2.0
"""The memories inside an operator's hardware, and what each becomes on an FPGA: block RAM, LUT RAM, or logic."""

from __future__ import annotations

from dataclasses import dataclass

from bitloom.hw.board import BlockRam, Board
from bitloom.hw.instance import Instance

# The rule of Yosys's memory_libmap with the costs of its ECP5 library: a block costs as much as 128 lookup tables; 16 words of 4 bits in LUT RAM cost
# 4, and half a bit's multiplexer for each further row, rounded up to a power of two of them; a ROM of logic costs a 16th of its bits. The cheapest is
# taken. Where a word may be read in the cycle in which it is written, a block needs logic around it; its cost was found from what Yosys chooses.
BLOCK_COST, LUT_RAM_COST, LUT_RAM_WORDS, LUT_RAM_BITS, MUX_COST, ROM_BITS, CHECK_COST = 128, 4, 16, 4, 0.5, 16, 20

DEEP_FIFO = 64  # beats, up to which hw/rtl/fifo.sv asks for LUT RAM


@dataclass(frozen=True)
class Memory:
    """Of `depth` words of `width` bits; `rom`: never written; `checked`: a word may be read in the cycle in which it is written."""

    name: str
    width: int
    depth: int
    rom: bool = False
    checked: bool = True


@dataclass(frozen=True)
class Mapped:
    """What a memory becomes: `blocks` of block RAM, or `lut_ram` cells of 16 x 4 bits, or `logic_bits` of ROM in logic."""

    blocks: int = 0
    lut_ram: int = 0
    logic_bits: int = 0


def map_memory(memory: Memory, board: Board) -> Mapped:
    """The cheapest form on a board."""
    blocks = block_count(memory, board.resources.block_ram[0])
    if memory.rom:
        bits = memory.width * memory.depth
        return Mapped(logic_bits=bits) if bits <= ROM_BITS * BLOCK_COST * blocks else Mapped(blocks=blocks)
    rows = -(-memory.depth // LUT_RAM_WORDS)
    cells = rows * -(-memory.width // LUT_RAM_BITS)
    cost = LUT_RAM_COST * cells + MUX_COST * ((1 << (rows - 1).bit_length()) - 1) * memory.width
    if board.resources.lut_ram and cost < BLOCK_COST * blocks + CHECK_COST * memory.checked:
        return Mapped(lut_ram=cells)
    return Mapped(blocks=blocks)


def block_count(memory: Memory, ram: BlockRam) -> int:
    """Blocks for a memory with one read and one write port, in the shape that takes fewest."""
    return min(-(-memory.depth // depth) * -(-memory.width // width) for depth, width in ram.shapes)


def memories(made: Instance) -> list[Memory]:
    """The memories of one instance of hw/rtl."""
    find = {
        "linear": _linear,
        "scores": _scores,
        "context_op": _context,
        "requant": _requant,
        "table_op": _table,
        "softmax": _softmax,
        "layernorm": _layernorm,
        "fifo": _fifo,
    }.get(made.module)
    return find(made.params) if find else []


def index_bits(words: int) -> int:
    """Bits of an address."""
    return max(1, (words - 1).bit_length())


def _banks(name: str, element_bits: int, word: int, words: int) -> Memory:
    """hw/rtl/banks.sv: two units of `words` words."""
    return Memory(name, element_bits * word, 2 * words)


def _linear(p: dict) -> list[Memory]:
    steps, folds = p["K"] // p["SIMD"], p["C"] // p["PE"]
    return [
        _banks("token", p["IN_W"], p["SIMD"], steps),
        Memory("weight", p["PE"] * p["SIMD"] * p["WEIGHT_W"], folds * steps, rom=True),
        Memory("bias", p["LANES_OUT"] * p["OUT_W"], p["C"] // p["LANES_OUT"], rom=True),
    ]


def _scores(p: dict) -> list[Memory]:
    words = p["HEADS"] * p["DIM"] // p["SIMD"]
    return [_banks("query", p["Q_W"], p["SIMD"], words), _banks("keys", p["K_W"], p["SIMD"], words * p["MAX_TOKENS"])]


def _context(p: dict) -> list[Memory]:
    words = p["HEADS"] * p["DIM"] // p["PE"]
    return [_banks("row", p["P_W"], 1, p["MAX_TOKENS"]), _banks("values", p["V_W"], p["PE"], words * p["MAX_TOKENS"])]


def _requant(p: dict) -> list[Memory]:
    return [Memory("mult", p["LANES"] * p["MULT_W"], p["C"] // p["LANES"], rom=True)] if p["PER_CHANNEL"] else []


def _table(p: dict) -> list[Memory]:
    return [Memory("table", p["OUT_W"], 1 << p["IN_W"], rom=True)] * p["LANES"]


def _softmax(p: dict) -> list[Memory]:
    row = 1 << index_bits(p["MAX_TOKENS"])
    total, recip = p["EXP_W"] + (p["MAX_TOKENS"] - 1).bit_length(), p["RECIP_BITS"] - p["EXP_W"] + 2
    return [
        Memory("x", p["IN_W"], 2 * row),
        Memory("e", p["EXP_W"], 4 * row),
        Memory("exp", p["EXP_W"], 1 << p["IN_W"], rom=True),
        Memory("sum", total, 4),
        Memory("recip", recip, 4),
    ]


def layernorm_widths(p: dict) -> tuple[int, int, int]:
    """Bits of S1, of the variance and of the reciprocal, as hw/rtl/layernorm.sv has them."""
    variance = ((p["H"] * ((1 << p["IN_W"]) - 1)) ** 2 // 4 + p["EPS"]).bit_length()
    return p["IN_W"] + (p["H"] - 1).bit_length(), variance, p["RECIP_BITS"] - (p["EPS"].bit_length() - 1) // 2 + 1


def _layernorm(p: dict) -> list[Memory]:
    beats = p["WIDTH"] // p["LANES"]
    total, variance, recip = layernorm_widths(p)
    return [
        Memory("x", p["LANES"] * p["IN_W"], 4 << index_bits(beats)),
        Memory("sum1", total, 4),
        Memory("var", variance, 4),
        Memory("recip", recip, 4),
        Memory("gamma", p["LANES"] * p["GAMMA_W"], beats, rom=True),
        Memory("beta", p["LANES"] * p["BETA_W"], beats, rom=True),
    ]


def fifo_chunks(p: dict) -> list[int]:
    """Words of each memory of a FIFO: one LUT RAM up to 64 beats, above it blocks with registers of their own (hw/rtl/fifo_deep.sv)."""
    width, depth = p["WIDTH"], p["DEPTH"]
    if depth <= DEEP_FIFO:
        return [depth] if depth > 2 else []
    chunk = 2048 if width < 9 else 1024 if width < 18 else 512
    return [min(chunk, depth - start) for start in range(0, depth, chunk)]


def _fifo(p: dict) -> list[Memory]:
    return [Memory("mem", p["WIDTH"] + 1, words, checked=False) for words in fifo_chunks(p)]
