# SPDX-License-Identifier: Apache-2.0
"""by_turn: holds each sentence in front of the layers until the memories on the chip are loaded for its turn (hw/rtl/by_turn.sv)."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from bitloom.hw.instance import Instance, Module, Params, Terms


def instance(width: int) -> Instance:
    """width: bits of a beat."""
    return Instance(module=MODULE.name, params={"WIDTH": width})


class ByTurn:
    """Its timing, for the loop's two processes (hw/parts/loop.py).

    load  load(turn, cycle): when a turn's memories are loaded that is asked for in that cycle (`yield from`)
    left  a channel of one beat a sentence and turn: the last beat out of the layers
    """

    def __init__(self, load: Callable[[int, int], Generator[Any, Any, int]], left):
        self.left, self._load = left, load
        self._empty = 0  # the cycle from which on nothing is in the layers

    def wait(self):
        """Until the sentence that is inside has left (`yield from`)."""
        gone = yield self.left.get()
        self.left.popped(gone.first, gone.first)
        self._empty = gone.first  # as the channel has it: the cycle behind that of the beat

    def open(self, turn: int, cycle: int) -> int:
        """The cycle from which on a sentence passes whose first beat is there in that cycle (`yield from`)."""
        return (yield from self._load(turn, max(cycle, self._empty))) + 1


def terms(p: Params) -> Terms:
    return {"count_bits": 2}


MODULE = Module(name="by_turn", terms=terms)
