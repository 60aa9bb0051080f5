# SPDX-License-Identifier: Apache-2.0
"""loop: sends each sentence several times through the hardware layers of a rolled encoder (hw/rtl/loop.sv)."""

from __future__ import annotations

from collections import deque

from bitloom.hw.cost.memories import Memory, index_bits
from bitloom.hw.instance import Module, Params, Terms
from bitloom.hw.parts import fifo
from bitloom.hw.parts.by_turn import ByTurn


def _back(p: Params) -> Params:
    """The FIFO of what comes back."""
    return {"WIDTH": p["WIDTH"], "DEPTH": p["SENTENCES"] * p["MAX_TOKENS"] * p["BEATS"], "RAM_STYLE": p.get("RAM_STYLE", "")}


def memories(p: Params) -> list[Memory]:
    return fifo.memories(_back(p))


def terms(p: Params) -> Terms:
    count = index_bits(p["TURNS"]) * 2 * p["SENTENCES"]
    return fifo.terms(_back(p)) | {"out_bits": p["WIDTH"], "count_bits": count + 2 * index_bits(p["MAX_TOKENS"]) + index_bits(p["BEATS"])}


MODULE = Module(name="loop", terms=terms, memories=memories, styles=fifo.MODULE.styles)


class Loop:
    """Its timing: two processes, the way out of the last layer and the way into the first, that share the order of the sentences.

    orders  a channel of one beat a sentence: `end` where a new one may take its place, else it comes back
    by_turn  of one sentence whose memories are loaded for each turn (hw/parts/by_turn.py)
    """

    def __init__(self, turns: int, sentences: int, by_turn: ByTurn | None = None):
        self.turns, self.free, self.by_turn = turns, sentences, by_turn
        self._inside: deque[int] = deque()  # turns of the sentences in the layers, oldest first
        self._coming: deque[int] = deque()  # of those that come back
        self.entered: list[int] = []  # of all that have entered, in order

    def leave(self, tail, back, leaves, orders):
        """From the last layer: back, or out."""
        while True:
            turn, end, begun = None, False, False
            while not end:
                token = yield tail.get()
                turn = self._inside.popleft() if turn is None else turn
                final = turn == self.turns - 1
                first, last = yield (leaves if final else back).put(token.first, token.last, token.beats, token.end)
                tail.popped(first, last, token.last - token.first)
                end = token.end
                if not final and not begun:
                    self._coming.append(turn + 1)
                    yield orders.put(first, first, 1, False)
                begun = True
            if self.by_turn:
                yield self.by_turn.left.put(last, last, 1, True)
            if final:
                yield orders.put(last, last, 1, True)

    def enter(self, entry, back, orders, out):
        """To the first layer: a new sentence where there is a place for one and it is there, else the next of those that come back."""
        now = kept = 0  # a place that was not taken at once costs a cycle
        while True:
            new = (yield entry.before(orders, now + kept)) if self.free else False
            kept = 0
            if new:
                self.free -= 1
            else:
                order = yield orders.get()
                orders.popped(order.first, order.first)
                if self.by_turn:
                    yield from self.by_turn.wait()
                now = max(now, order.first)
                if order.end:
                    self.free, kept = self.free + 1, 1
                    continue
            self._inside.append(0 if new else self._coming.popleft())
            self.entered.append(self._inside[-1])
            source, end = entry if new else back, False
            opens = 0
            while not end:
                token = yield source.get()
                first = max(now, token.first)
                if self.by_turn and not opens:
                    opens = self.by_turn.open(self._inside[-1], first + 1)
                    first = max(first, opens - 1)
                last = token.taken(first)
                pace = last - first
                first, last = yield out.put(first + 1, last + 1, token.beats, token.end)
                source.popped(first - 1, last - 1, pace)
                now, end = last, token.end
