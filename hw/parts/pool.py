# SPDX-License-Identifier: Apache-2.0
"""pool: the largest code, or the sum, of a sentence's tokens (hw/rtl/pool.sv)."""

from __future__ import annotations

import numpy as np

from bitloom.hw.cost.memories import Memory, index_bits
from bitloom.hw.graph import Graph, Node, require
from bitloom.hw.instance import Params, Terms

BANKS = 2


def over_tokens(function: np.ufunc, x: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """function.reduce over each sentence's tokens: int64 [N, C], lengths [S] -> int64 [S, C]."""
    return function.reduceat(x, np.cumsum(lengths) - lengths, axis=0) if len(lengths) else x[:0]


def require_shapes(graph: Graph, node: Node) -> None:
    """Raise GraphError unless the node makes a vector of a token stream, as signed."""
    x, out = graph.tensor(node.inputs[0]), graph.tensor(node.name)
    require(x.kind == "token" and out.shape == (1, x.channels), graph, node, f"shapes got {x.shape} -> {out.shape}, must be ('T', C) -> (1, C)")
    require(x.signed == out.signed, graph, node, f"output got signed {out.signed}, must be {x.signed} as the input")


class Pool:
    """Its timing, for the operators' generators: two banks, one is filled while the other leaves."""

    def __init__(self) -> None:
        self._next, self._free, self._fresh = 0, [0] * BANKS, True  # cycles from which the next beat, the next sentences' first ones can be taken

    def take(self, channel, token) -> int:
        """Take a token from a channel of hw/plan/timing.py: the cycle of its last beat."""
        first = max(token.first, self._next, self._free.pop(0) if self._fresh else 0)
        last = token.taken(first)
        channel.popped(first, last)
        self._next, self._fresh = last + 1, token.end
        return last

    def left(self, cycle: int) -> None:
        """The last element of the oldest sentence is at the output from that cycle on."""
        self._free.append(cycle)


def memories(p: Params, bits: int) -> list[Memory]:
    """bits: of an element that is held."""
    return BANKS * [Memory("bank", p["LANES"] * bits, p["C"] // p["LANES"])]


def terms(p: Params, bits: int) -> Terms:
    count = p["MAX_TOKENS"].bit_length()
    return {"sum_bits": p["LANES"] * bits, "out_bits": bits, "count_bits": 4 * count + 2 * index_bits(p["C"] // p["LANES"]) + index_bits(p["LANES"])}
