# SPDX-License-Identifier: Apache-2.0
"""places: sentences of a recurrent operator that are loaded, worked on in turn and given out in order (hw/rtl/places.sv)."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from bitloom.hw.cost.memories import index_bits


@dataclass
class Sentence:
    """What a place holds.

    tokens  cycles from which each of those that have not begun can be chosen
    count   of all that came; whole: from which cycle on its last one is there
    ready   from which cycle on its next step can be chosen, but for the token
    """

    place: int
    tokens: deque[int] = field(default_factory=deque)
    count: int = 0
    whole: int | None = None
    ready: int = 0

    def can(self, backward: bool) -> int | None:
        """From which cycle on its next step can be chosen; None: not yet known."""
        if not self.tokens or backward and self.whole is None:
            return None
        return max(self.ready, self.whole if backward else self.tokens[0])


class _Load:
    """The sentences that come, each into the next place as soon as it is free."""

    def __init__(self, taken, count: int):
        self._taken, self._place, self._count = taken, 0, count
        self._next = 0  # cycle from which the next beat can be taken
        self.free = deque([0] * count)  # cycles from which places can be loaded, the next one first
        self.inside: deque[Sentence] = deque()  # oldest first
        self._coming: Sentence | None = None

    @property
    def begins(self) -> int | None:
        """The cycle from which the next token's first beat can be taken; None: no place is known to become free."""
        if self._coming is not None:
            return self._next
        return max(self._next, self.free[0]) if self.free else None

    def take(self):
        """Take the next token (`yield from`)."""
        token = yield self._taken.get()
        first = max(token.first, self.begins)
        if self._coming is None:
            self.free.popleft()
            self._coming = Sentence(self._place)
            self.inside.append(self._coming)
            self._place = (self._place + 1) % self._count
        alone = token.taken(first)
        last = yield self._taken.leave(token, alone)
        self._taken.popped(first, last, alone - first)
        self._next = last + 1
        self._coming.tokens.append(last + 1)
        self._coming.count += 1
        if token.end:
            self._coming.whole, self._coming = last + 1, None


def timing(taken, out, *, count: int, step: int, wait: int, written: int, beats: int, backward: bool, every: bool):
    """Generator of the timing network (hw/plan/timing.py).

    count    places; step: cycles of a step; wait, written: cycles from a step's last one to the first that the same sentence's next step may have, and to
             the one in which its last result is written
    beats    that leave of a token; every: of each of them, else of a sentence's last one
    """
    load, now, chosen, read = _Load(taken, count), 0, count - 1, -1
    while True:
        known = [(cycle, s) for s in load.inside if (cycle := s.can(backward)) is not None]
        choice = max(now, min((cycle for cycle, _ in known), default=now))  # of the next step, unless a token comes before
        begins = load.begins
        if begins is not None and (not known or begins < choice and (yield taken.by(choice - 1))):
            yield from load.take()
            continue
        sentence = min((s for cycle, s in known if cycle <= choice), key=lambda s: (s.place - chosen - 1) % count)
        chosen, now = sentence.place, choice + step  # the last cycle of the step
        sentence.tokens.popleft()
        sentence.ready = now + wait - 1
        if sentence.whole is None or sentence.tokens:
            continue
        sentence.ready = now + written + 1  # when it begins to leave
        while load.inside and (oldest := load.inside[0]).whole is not None and not oldest.tokens:
            read = max(read, oldest.ready - 1)
            tokens = oldest.count if every else 1
            for token in range(tokens):
                _, moved = yield out.put(read + 2, read + 1 + beats, beats, token == tokens - 1)
                read = moved - 1
            load.free.append(read + 1)
            load.inside.popleft()


def count_bits(count: int, tokens: int) -> int:
    """Of its counters and flags."""
    return count * (tokens.bit_length() + 4) + 3 * index_bits(count)
