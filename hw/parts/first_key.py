# SPDX-License-Identifier: Apache-2.0
"""first_key: where a query's keys begin (hw/rtl/first_key.sv)."""

from __future__ import annotations

from bitloom.hw.cost.memories import index_bits
from bitloom.hw.instance import Params


def count_bits(p: Params, words: int, border: int = 0) -> int:
    """Bits of its registers; words: of a key; border: bits of a pair's, 0 where none counts. None where all keys before a query are seen."""
    if border:
        return index_bits(words * p["MAX_TOKENS"]) + 2 * border
    return index_bits(words * p["MAX_TOKENS"]) + index_bits(p["BACK"] + 2) if p["BACK"] < p["MAX_TOKENS"] - 1 else 0
