# SPDX-License-Identifier: Apache-2.0
"""loop: sends each sentence several times through the hardware layers of a rolled encoder (hw/rtl/loop.sv)."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from bitloom.hw.cost.memories import Memory, index_bits
from bitloom.hw.instance import Module, Params, Terms
from bitloom.hw.keys import Border
from bitloom.hw.parts import fifo
from bitloom.hw.parts.by_turn import ByTurn
from bitloom.hw.plan.requests import Told


def _back(p: Params) -> Params:
    """The FIFO of what comes back."""
    return {"WIDTH": p["WIDTH"], "DEPTH": p["SENTENCES"] * p["MAX_TOKENS"] * p["BEATS"], "RAM_STYLE": p.get("RAM_STYLE", "")}


def _told(p: Params) -> Params:
    """The FIFO of the tokens of packs' sentences."""
    return {"WIDTH": p["BORDER_W"], "DEPTH": p["SENTENCES"] * p["MAX_TOKENS"] + 1}


def memories(p: Params) -> list[Memory]:
    kept = [Memory("kept", p["WIDTH"], p["MAX_TOKENS"] * p["BEATS"])] if p.get("RECALL", 0) else []
    kept += fifo.memories(_told(p)) if p.get("PACK", 0) else []
    return fifo.memories(_back(p)) + kept


def terms(p: Params) -> Terms:
    count = index_bits(p["TURNS"]) * 2 * p["SENTENCES"]
    own = fifo.terms(_back(p)) | {"out_bits": p["WIDTH"], "count_bits": count + 2 * index_bits(p["MAX_TOKENS"]) + index_bits(p["BEATS"])}
    if labels := p.get("LABELS", 0):  # off_ramps.sv: the logits of those that are not answered, the two largest, each sentence's state
        answers = 1 << index_bits(p["TURNS"] * p["SENTENCES"])
        state = index_bits(p["TURNS"]) + index_bits(answers) + index_bits(labels) + p["PATIENCE"].bit_length()
        own["out_bits"] += (answers << index_bits(labels)) * p["LOGIT_W"] + 4 * p["LOGIT_W"] + answers
        own["count_bits"] += state * (2 * p["SENTENCES"] + 2)
    if border := p.get("BORDER_W", 0):
        waits = fifo.terms(_told(p)) if p.get("PACK", 0) else {"count_bits": border * (2 * p["SENTENCES"] + 1)}
        own |= {key: own.get(key, 0) + size for key, size in waits.items()}
        own["count_bits"] += border + (2 * index_bits(p["MAX_TOKENS"] * p["BEATS"]) if p.get("RECALL", 0) else 0)
    return own


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """What a loop knows of pairs of sentences.

    borders  of the sentences, as they were sent: tokens of the first of the two
    everything  by turn: all keys are seen
    recall   turn before which first sentences are kept; 0: none is
    left_out tokens of each that were not sent, as they are kept
    asked, told  channels: from the border's unit, to its readers
    """

    borders: Sequence[Border]
    everything: Sequence[bool]
    recall: int
    left_out: Sequence[int]
    asked: Any
    told: Any

    def border(self, sentence: int, turn: int) -> Border:
        return 0 if self.everything[turn] else self.borders[sentence]

    def recalled(self, sentence: int, turn: int) -> int:
        """Tokens that come from what is kept."""
        return self.left_out[sentence] if self.recall and turn == self.recall else 0

    def tell(self, new: bool, cycle: int):
        """Behind the last beat of a visit, which leaves the loop in that cycle."""
        if new:
            token = yield self.asked.get()
            self.asked.popped(max(token.first, cycle - 1), max(token.first, cycle - 1))
        yield self.told.put(cycle, cycle, 1, True)


@dataclass(kw_only=True)
class PacksInside:
    """What a loop knows of packs.

    borders  of the packs: tokens of each of their sentences
    asked, told  channels, as of Pairs
    """

    borders: Sequence[Border]
    asked: Any
    told: Any
    free: int = 0  # cycle from which the next sentence's can be told

    def border(self, pack: int, turn: int) -> Border:
        return self.borders[pack]

    def tell(self, new: bool, cycle: int, end: bool):
        """The next sentence's, from that cycle on: when it is; end: it is the last of its pack."""
        first = max(cycle, self.free)
        if new:
            token = yield self.asked.get()
            first = max(first, token.first)
            self.asked.popped(first, first)
        _, moved = yield self.told.put(first + 1, first + 1, 1, end)
        self.free = max(first + 1, moved)
        return first


MODULE = Module(name="loop", terms=terms, memories=memories, styles=fifo.MODULE.styles)


class Loop:
    """Its timing: two processes, the way out of the last layer and the way into the first, that share the order of the sentences.

    With off-ramps three: what comes back, what is decided, the way in.
    orders  a channel of one beat a sentence: `end` where a new one may take its place, else it comes back
    exits   the turn behind which each sentence leaves; None: the last
    by_turn  of one sentence whose memories are loaded for each turn (hw/parts/by_turn.py)
    pairs, packs  of an encoder whose keys depend on borders, of either
    """

    def __init__(
        self,
        turns: int,
        sentences: int,
        exits: Sequence[int] | None = None,
        by_turn: ByTurn | None = None,
        pairs: Pairs | None = None,
        packs: PacksInside | None = None,
    ):
        self.turns, self.free, self.exits, self.by_turn, self.pairs, self.packs = turns, sentences, exits, by_turn, pairs, packs
        self.borders: list[Border] = []  # of all that have entered, in order
        self._inside: deque[tuple[int, int]] = deque()  # (sentence, turn) of those in the layers, oldest first
        self._undecided: deque[tuple[int, int]] = deque()  # the same, of those whose logits have not come
        self._coming: deque[tuple[int, int]] = deque()  # of those that come back
        self._dropping: deque[bool] = deque()  # of those that leave, oldest first: it is still to be dropped
        self._gone = Told()  # of those that are to be dropped: the cycle behind their last beat, beats
        self._new = 0  # sentences that have come
        self.entered: list[int] = []  # turns of all that have entered, in order

    def last_turn(self, sentence: int) -> int:
        return self.turns - 1 if self.exits is None else int(self.exits[sentence])

    def leave(self, tail, back, leaves, orders):
        """From the last layer: back, or out."""
        while True:
            visit, end, begun = None, False, False
            while not end:
                token = yield tail.get()
                visit = self._inside.popleft() if visit is None else visit
                final = visit[1] == self.turns - 1
                first, last = yield (leaves if final else back).put(token.first, token.last, token.beats, token.end)
                tail.popped(first, last, token.last - token.first)
                end = token.end
                if not final and not begun:
                    self._coming.append((visit[0], visit[1] + 1))
                    yield orders.put(first, first, 1, False)
                begun = True
            if self.by_turn:
                yield self.by_turn.left.put(last, last, 1, True)
            if final:
                yield orders.put(last, last, 1, True)

    def drop(self, tail, back):
        """From the last layer, with off-ramps: back; of a sentence that leaves, nothing is wanted."""
        while True:
            visit, end, beats = None, False, 0
            while not end:
                token = yield tail.get()
                visit = self._inside.popleft() if visit is None else visit
                first, last, end, beats = token.first, token.taken(token.first), token.end, beats + token.beats
                if visit[1] < self.last_turn(visit[0]):
                    first, last = yield back.put(token.first, token.last, token.beats, end)
                tail.popped(first, last, token.last - token.first)
            if self.by_turn:
                yield self.by_turn.left.put(last, last, 1, True)
            if visit[1] == self.last_turn(visit[0]) < self.turns - 1:
                self._gone.tell(last + 1, beats)

    def decide(self, logits, orders, leaves):
        """What logits say, a cycle behind their last beat; and the answers, two cycles later, in the order in which the sentences came."""
        ready: dict[int, int] = {}  # first cycle of the answers of those that have left
        answered = free = 0
        while True:
            token = yield logits.get()
            logits.popped(token.first, last := token.taken(token.first))
            sentence, turn = self._undecided.popleft()
            if stays := turn < self.last_turn(sentence):
                self._coming.append((sentence, turn + 1))
            else:
                self._dropping.append(turn < self.turns - 1)
                ready[sentence] = last + 3
            yield orders.put(last + 1, last + 1, 1, not stays)
            while answered in ready:
                first = max(free, ready.pop(answered))
                _, end = yield leaves.put(first, first + token.beats - 1, token.beats, True)
                free, answered = end + 1, answered + 1

    def enter(self, entry, back, orders, out):
        """To the first layer: a new sentence where there is a place for one and it is there, else the next of those that come back."""
        now = kept = 0  # a place that was not taken at once costs a cycle
        dropped = 0  # from when on no sentence is dropped, and others can come back
        while True:
            new = (yield entry.before(orders, max(now + kept, dropped))) if self.free else False
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
                    if self._dropping and self._dropping.popleft():
                        last, beats = yield self._gone.get()
                        dropped = max(max(dropped, now + 1, last - beats + 1) + beats, last + 1)
                    continue
            self._inside.append(visit := (self._new, 0) if new else self._coming.popleft())
            self._undecided.append(visit)
            self._new += new
            self.entered.append(visit[1])
            if told := self.pairs or self.packs:
                self.borders.append(told.border(*visit))
            ends, index, begun = set(accumulate(self.borders[-1])) if self.packs else set(), 0, None
            source, end, now = entry if new else back, False, now if new else max(now, dropped)
            opens, recalled = 0, self.pairs.recalled(*visit) if self.pairs else 0
            while not end:
                token = yield source.get()
                while recalled:
                    first = max(now, token.first)
                    if self.by_turn and not opens:
                        opens = yield from self.by_turn.open(visit[1], first + 1)
                        first = max(first, opens - 1)
                    _, now = yield out.put(first + 1, first + token.beats, token.beats, False)
                    recalled -= 1
                first = max(now, token.first)
                if self.by_turn and not opens:
                    opens = yield from self.by_turn.open(visit[1], first + 1)
                    first = max(first, opens - 1)
                last, index = token.taken(first), index + 1
                if self.packs and token.end:
                    last = max(last, (yield from self.packs.tell(new, first if begun is None else begun, True)))
                pace = last - first
                first, last = yield out.put(first + 1, last + 1, token.beats, token.end)
                source.popped(first - 1, last - 1, pace)
                now, end, begun = last, token.end, first - 1 if begun is None else begun
                if index in ends and not end:
                    yield from self.packs.tell(new, begun, False)
            if self.pairs:
                yield from self.pairs.tell(new, now)
