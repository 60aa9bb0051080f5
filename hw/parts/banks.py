# SPDX-License-Identifier: Apache-2.0
"""banks: double buffers of tokens or rows (hw/rtl/banks.sv)."""

from __future__ import annotations

from collections import deque

from bitloom.hw.cost.memories import Memory


def memory(name: str, element_bits: int, word: int, words: int) -> Memory:
    """Two units of `words` words of `word` elements."""
    return Memory(name, element_bits * word, 2 * words)


class Banks:
    """Their timing, for the operators' generators: two banks, each for one unit (a token or a row) that is read while the next is written; or one bank.

    A unit can be read from the cycle after its last beat was taken, a bank written from the cycle after its unit was
    read for the last time.
    """

    def __init__(self, places: int = 2) -> None:
        self._next = 0  # cycle from which the next beat can be taken
        self.began = 0  # cycle of the first beat of the token that was taken last
        self._free = deque([0] * places)  # the same for the next units' banks, oldest first

    def open(self) -> None:
        """The next token begins a unit; the unit that was in its bank must be done."""
        self._next = max(self._next, self._free.popleft())

    def after(self, cycle: int) -> None:
        """No beat is taken until that cycle is over."""
        self._next = max(self._next, cycle + 1)

    def take(self, channel, token):
        """Take a token of the open unit from a channel of hw/plan/timing.py (`yield from`): the cycle of its last beat."""
        first = self.began = max(token.first, self._next)
        alone = token.taken(first)
        last = yield channel.leave(token, alone)
        channel.popped(first, last, alone - first)
        self._next = last + 1
        return last

    def done(self, cycle: int) -> None:
        """The oldest unit is read for the last time in that cycle."""
        self._free.append(cycle + 1)
