# SPDX-License-Identifier: Apache-2.0
"""banks: double buffers of tokens or rows (hw/rtl/banks.sv)."""

from __future__ import annotations

from collections import deque

from bitloom.hw.cost.memories import Memory


def memory(name: str, element_bits: int, word: int, words: int) -> Memory:
    """Two units of `words` words of `word` elements."""
    return Memory(name, element_bits * word, 2 * words)


class Banks:
    """Their timing, for the operators' generators: banks, each for one unit (a token, a row, a block) that is read while the next is written.

    A unit can be read from the cycle after its last beat was taken, a bank written from the cycle after its unit was read for the last time. One process
    takes units, another reads them.

    whole  told of each unit: from when on it can be read, and what `close` says
    gone   of each unit: from when on its bank can be written
    """

    def __init__(self, taken, places: int = 2) -> None:
        self.whole, self.gone = taken.told(), taken.told()
        self._taken, self._next = taken, 0  # cycle from which the next beat can be taken
        self._free = deque([0] * places)  # the same for the next units' banks, oldest first

    def open(self):
        """The next token begins a unit; the unit that was in its bank must be done (`yield from`)."""
        if not self._free:
            self._free.extend((yield self.gone.get()))
        self._next = max(self._next, self._free.popleft())

    def after(self, cycle: int) -> None:
        """No beat is taken until that cycle is over."""
        self._next = max(self._next, cycle + 1)

    def starts(self, token) -> int:
        """The cycle in which the first beat of a token that comes next is taken."""
        return max(token.first, self._next)

    def take(self, token):
        """Take a token of the open unit (`yield from`): the cycle of its last beat."""
        first = self.starts(token)
        alone = token.taken(first)
        last = yield self._taken.leave(token, alone)
        self._taken.popped(first, last, alone - first)
        self._next = last + 1
        return last

    def close(self, *what) -> None:
        """The open unit is whole."""
        self.whole.tell(self._next, *what)

    def done(self, cycle: int) -> None:
        """The oldest unit is read for the last time in that cycle."""
        self.gone.tell(cycle + 1)

    def each(self):
        """The process that takes units of one token each, and says how many beats each has and whether it ends a sentence."""
        while True:
            token = yield self._taken.get()
            yield from self.open()
            yield from self.take(token)
            self.close(token.beats, token.end)
