# SPDX-License-Identifier: Apache-2.0
"""Banks of a memory that several turns of a rolled encoder share, as they hold the same (hw/rtl/turns.sv: BANKS, BANK_OF)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bitloom.hw.graph import Graph
from bitloom.hw.instance import Codes, Params

BITS = 8  # of a bank's number in BANK_OF


class Banks(NamedTuple):
    """first: of each bank the first turn that has it; of: each turn's bank."""

    first: tuple[int, ...]
    of: tuple[int, ...]

    @classmethod
    def own(cls, turns: int) -> Banks:
        """Each turn has one."""
        return cls(tuple(range(turns)), tuple(range(turns)))

    def params(self, prefix: str = "") -> Params:
        """Of a module; none where each turn has a bank of its own."""
        if len(self.first) == len(self.of):
            return {}
        return {f"{prefix}BANKS": len(self.first), f"{prefix}BANK_OF": sum(bank << BITS * turn for turn, bank in enumerate(self.of))}


def banks(graph: Graph, turns: Sequence[Sequence[np.ndarray]]) -> Banks:
    """turns: what each of them holds, in one memory or in several that are read at one place."""
    return alike(turns) if graph.shared else Banks.own(len(turns))


def alike(turns: Sequence[Sequence[np.ndarray]]) -> Banks:
    """The same, wherever they are stored."""
    first: list[int] = []
    of = []
    for turn, own in enumerate(turns):
        bank = next((number for number, other in enumerate(first) if _same(own, turns[other])), len(first))
        first += [turn] * (bank == len(first))
        of.append(bank)
    return Banks(tuple(first), tuple(of))


def codes(turns: Sequence[np.ndarray], bits: int, signed: bool = True) -> Codes:
    """The memory of an HLS layer, given what each turn reads, flat and equally long."""
    found = alike([[own] for own in turns])
    return Codes(data=np.concatenate([turns[turn] for turn in found.first]), bits=bits, signed=signed, of=found.of)


def _same(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> bool:
    return len(a) == len(b) and all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def count(params: Params, prefix: str = "") -> int:
    """Banks of a module's memory."""
    return int(params.get(f"{prefix}BANKS", params.get("TURNS", 1)))


def of_turns(params: Params, key: str) -> list[int]:
    """Of a module's memory, by the name of its parameter: each turn's bank."""
    turns, prefix = int(params.get("TURNS", 1)), "BIAS_" if key == "BIAS_FILE" else ""
    if key == "ROUND_FILE" or f"{prefix}BANKS" not in params:
        return list(range(turns))
    return [int(params[f"{prefix}BANK_OF"]) >> BITS * turn & (1 << BITS) - 1 for turn in range(turns)]
