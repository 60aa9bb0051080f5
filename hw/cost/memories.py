# SPDX-License-Identifier: Apache-2.0
"""What a memory becomes on an FPGA: block RAM, UltraRAM, LUT RAM, or logic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # operators state their memories without the schema of boards
    from bitloom.hw.board import BlockRam, Board

# The rule of Yosys's memory_libmap with the costs of its libraries: a block costs as much as 128 lookup tables (iCE40's, which are smaller, as 64); 16 words of
# 4 bits in LUT RAM cost 4, and half a bit's multiplexer for each further row, rounded up to a power of two of them; a ROM of logic costs a 16th of its bits,
# a RAM of flip-flops its bits. The cheapest is taken. Where a word may be read in the cycle in which it is written, a block needs logic around it; its cost
# was found from what Yosys chooses.
SMALL_BLOCK_COST = {"SB_RAM40_4K": 64}
BLOCK_COST, LUT_RAM_COST, LUT_RAM_WORDS, LUT_RAM_BITS, MUX_COST, ROM_BITS, CHECK_COST = 128, 4, 16, 4, 0.5, 16, 20

# A memory is moved by an instance's parameters (Module.styles): to UltraRAM, or to LUT RAM, of four-input fabrics as above, or of AMD's six-input ones.
# UltraRAM (AMD UG573): 4096 words of 72 bits, no other shape, one clock, one port writes and one reads, no initial contents; a word's eight bytes of 9 bits
# can be written alone. LUT RAM (AMD UG574, RAM64M8): eight tables hold 64 words of 7 bits, written at one address and read at another; each further four of
# them take a table a bit to choose.
ULTRA, DISTRIBUTED = "ultra", "distributed"
ULTRA_WORDS, ULTRA_BITS, ULTRA_BYTE = 4096, 72, 9
TABLES, TABLE_WORDS, TABLE_BITS, TABLE_CHOICE = 8, 64, 7, 4


@dataclass(frozen=True)
class Memory:
    """Of `depth` words of `width` bits; `rom`: never written; `checked`: a word may be read in the cycle in which it is written.

    direct its words are read without a register, as no block gives them
    style  ULTRA or DISTRIBUTED: what it was moved to; any other: what takes least
    """

    name: str
    width: int
    depth: int
    rom: bool = False
    checked: bool = True
    style: str = ""
    direct: bool = False


@dataclass(frozen=True)
class Mapped:
    """What a memory becomes: `blocks` of block RAM, or `lut_ram` cells of 16 x 4 bits, or `logic_bits` of ROM in logic, or `ff_bits` of RAM in flip-flops;
    where it was moved, `ultra` blocks of UltraRAM, or `tables` of a six-input fabric."""

    blocks: int = 0
    lut_ram: int = 0
    logic_bits: int = 0
    ff_bits: int = 0
    ultra: int = 0
    tables: int = 0


def map_memory(memory: Memory, board: Board) -> Mapped:
    """Where it was moved to, else the cheapest form on a board."""
    if memory.style == ULTRA:
        return Mapped(ultra=ultra_count(memory))
    if memory.style == DISTRIBUTED:
        return Mapped(tables=table_count(memory)) if board.resources.lut_inputs == 6 else Mapped(lut_ram=_cells(memory))
    ram, bits = board.resources.block_ram[0], memory.width * memory.depth
    blocks = block_count(memory, ram)
    dear = blocks * SMALL_BLOCK_COST.get(ram.kind, BLOCK_COST)
    if memory.rom:
        return Mapped(logic_bits=bits) if bits <= ROM_BITS * dear else Mapped(blocks=blocks)
    if not board.resources.lut_ram:
        return Mapped(ff_bits=bits) if memory.direct or bits <= dear else Mapped(blocks=blocks)
    rows, cells = -(-memory.depth // LUT_RAM_WORDS), _cells(memory)
    cost = LUT_RAM_COST * cells + MUX_COST * ((1 << (rows - 1).bit_length()) - 1) * memory.width
    return Mapped(lut_ram=cells) if memory.direct or cost < dear + CHECK_COST * memory.checked else Mapped(blocks=blocks)


def _cells(memory: Memory) -> int:
    """Of 16 x 4 bits."""
    return -(-memory.depth // LUT_RAM_WORDS) * -(-memory.width // LUT_RAM_BITS)


def block_count(memory: Memory, ram: BlockRam) -> int:
    """Blocks for a memory with one read and one write port, in the shape that takes fewest."""
    return min(-(-memory.depth // depth) * -(-memory.width // width) for depth, width in ram.shapes)


def ultra_count(memory: Memory) -> int:
    """UltraRAMs for a memory of one write and one read port: they have one shape, so narrow words waste it."""
    return -(-memory.depth // ULTRA_WORDS) * -(-memory.width // ULTRA_BITS)


def table_count(memory: Memory) -> int:
    """Six-input tables for a memory in LUT RAM, with those that choose between its rows."""
    rows = -(-memory.depth // TABLE_WORDS)
    return rows * -(-memory.width // TABLE_BITS) * TABLES + -(-(rows - 1) // (TABLE_CHOICE - 1)) * memory.width


def byte_bits(bits: int) -> int:
    """Of something that is written alone in an UltraRAM's word: whole bytes."""
    return -(-bits // ULTRA_BYTE) * ULTRA_BYTE


def beside(bits: int) -> int:
    """How many of such `bits` have room in an UltraRAM's word, at least 1."""
    return max(1, ULTRA_BITS // byte_bits(bits))


def index_bits(words: int) -> int:
    """Bits of an address."""
    return max(1, (words - 1).bit_length())
