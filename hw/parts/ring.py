# SPDX-License-Identifier: Apache-2.0
"""ring: sentences, each held until it has been read to the end, in a memory of twice the longest, or of one (hw/rtl/ring.sv)."""

from __future__ import annotations

from collections import deque

from bitloom.hw.cost.memories import ULTRA, Memory, index_bits
from bitloom.hw.graph import Graph
from bitloom.hw.instance import Params

SENTENCES = 16  # whole ones that a ring holds at most
STYLES = {"RAM_STYLE": ULTRA}  # of modules that have one


def room(graph: Graph) -> int:
    """Longest sentences that it has room for: one beside that which is attended, but where only one is in the layers."""
    return min(2, graph.inside) if graph.around else 2


def params(graph: Graph) -> Params:
    """Of a module with a ring."""
    return {} if room(graph) == 2 else {"ROOM": room(graph)}


def memory(p: Params, name: str, element_bits: int, word: int, words: int) -> Memory:
    """words  of `word` elements: the longest sentence's."""
    return Memory(name, element_bits * word, p.get("ROOM", 2) * words, style=p.get("RAM_STYLE", ""))


def count_bits(words: int) -> int:
    """Bits of its counters: where it is written, where the oldest sentence begins, how much is held of all, of the oldest and of the newest sentence."""
    return 3 * index_bits(2 * words) + 2 * index_bits(words)


class Ring:
    """Its timing, for the operators' generators: a sentence's tokens enter as soon as there is room, and leave together when it has been read.

    A place can be written from the cycle after its sentence was read for the last time. One process takes tokens, another reads sentences.

    whole  told of each sentence: from when on all of it is there, its tokens
    """

    def __init__(self, graph: Graph, longest: int, taken) -> None:
        """longest: tokens of a sentence, at most."""
        self.whole, self._gone = taken.told(), taken.told()
        self._taken, self._next = taken, 0  # cycle from which the next beat can be taken
        self._room = deque([0] * (room(graph) * longest))  # the same for the next tokens' places, oldest first
        self._sentences = deque([0] * SENTENCES)  # and for the first tokens of the sentences

    def each(self):
        """The process that takes tokens."""
        tokens = 0  # of the sentence that comes
        while True:
            token = yield self._taken.get()
            while not self._room or not (tokens or self._sentences):
                cycle, left = yield self._gone.get()
                self._room.extend([cycle] * left)
                self._sentences.append(cycle)
            first = max(token.first, self._next, self._room.popleft(), 0 if tokens else self._sentences.popleft())
            alone = token.taken(first)
            last = yield self._taken.leave(token, alone)
            self._taken.popped(first, last, alone - first)
            self._next, tokens = last + 1, tokens + 1
            if token.end:
                self.whole.tell(last + 1, tokens)
                tokens = 0

    def done(self, cycle: int, tokens: int) -> None:
        """The oldest sentence, of so many, is read for the last time in that cycle."""
        self._gone.tell(cycle + 1, tokens)
