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

    A place can be written from the cycle after its sentence was read for the last time.
    """

    def __init__(self, graph: Graph, longest: int) -> None:
        """longest: tokens of a sentence, at most."""
        self._next = 0  # cycle from which the next beat can be taken
        self._room = deque([0] * (room(graph) * longest))  # the same for the next tokens' places, oldest first
        self._sentences = deque([0] * SENTENCES)  # and for the first tokens of the sentences
        self._tokens = deque([0])  # of the sentences that are held

    def take(self, channel, token):
        """Take a token from a channel of hw/plan/timing.py (`yield from`): the cycle of its last beat."""
        opens = 0 if self._tokens[-1] else self._sentences.popleft()
        first = max(token.first, self._next, self._room.popleft(), opens)
        alone = token.taken(first)
        last = yield channel.leave(token, alone)
        channel.popped(first, last, alone - first)
        self._next = last + 1
        self._tokens[-1] += 1
        if token.end:
            self._tokens.append(0)
        return last

    def done(self, cycle: int) -> None:
        """The oldest sentence is read for the last time in that cycle."""
        self._room.extend([cycle + 1] * self._tokens.popleft())
        self._sentences.append(cycle + 1)
