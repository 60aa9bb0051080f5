# SPDX-License-Identifier: Apache-2.0
"""blocks: two blocks of tokens, one written while the other is read; or one (hw/rtl/blocks.sv)."""

from __future__ import annotations

from bitloom.hw.cost.memories import ULTRA, Memory, byte_bits
from bitloom.hw.instance import Params

STYLES = {"RAM_STYLE": ULTRA}  # of modules that have some


def places(count: int) -> Params:
    """Of a module with blocks."""
    return {} if count == 2 else {"PLACES": count}


def memories(p: Params, beat_bits: int, columns: int, words: int) -> list[Memory]:
    """words  of `columns` beats: of all blocks. A memory for each of the beats of a word; in UltraRAM one for all, each in whole bytes."""
    if p.get("RAM_STYLE") == ULTRA:
        return [Memory("block", columns * byte_bits(beat_bits), words, style=ULTRA)]
    return [Memory("block", beat_bits, words)] * columns
