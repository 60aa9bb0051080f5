# SPDX-License-Identifier: Apache-2.0
"""fifo: beats wait in registers (two of them), in LUT RAM, or above DEEP beats in block RAM or UltraRAM (hw/rtl/fifo.sv, fifo_deep.sv)."""

from __future__ import annotations

from bitloom.hw.cost.memories import ULTRA, ULTRA_WORDS, Memory, beside, byte_bits, index_bits
from bitloom.hw.instance import Instance, Module, Params, Terms

DEEP = 64  # beats, up to which hw/rtl/fifo.sv asks for LUT RAM


def instance(width: int, depth: int) -> Instance:
    """A FIFO of `depth` beats of `width` bits."""
    return Instance(module=MODULE.name, params={"WIDTH": width, "DEPTH": depth})


def _chunks(p: Params) -> list[int]:
    """Words of each memory: one LUT RAM up to DEEP beats, above it blocks with registers of their own."""
    width, depth = p["WIDTH"], p["DEPTH"]
    if depth <= DEEP:
        return [depth] if depth > 2 else []
    chunk = ULTRA_WORDS if _ultra(p) else 2048 if width < 9 else 1024 if width < 18 else 512
    return [min(chunk, depth - start) for start in range(0, depth, chunk)]


def _ultra(p: Params) -> bool:
    return p.get("RAM_STYLE") == ULTRA


def memories(p: Params) -> list[Memory]:
    """In UltraRAM as many chunks side by side as its words have room for."""
    width, chunks = p["WIDTH"] + 1, _chunks(p)
    if _ultra(p) and p["DEPTH"] > DEEP:
        side = min(beside(width), len(chunks))
        return [Memory("mem", side * byte_bits(width), words, checked=False, style=ULTRA) for words in chunks[::side]]
    return [Memory("mem", width, words, checked=False) for words in chunks]


def terms(p: Params) -> Terms:
    width, chunks = p["WIDTH"] + 1, len(_chunks(p))
    kind = "deep" if p["DEPTH"] > DEEP else "memory" if chunks else "pair"
    return {kind: 1, f"{kind}_bits": width, f"{kind}_address_bits": index_bits(p["DEPTH"]), "chunk_bits": chunks * width if kind == "deep" else 0}


MODULE = Module(name="fifo", terms=terms, memories=memories, styles={"RAM_STYLE": ULTRA})
