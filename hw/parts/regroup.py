# SPDX-License-Identifier: Apache-2.0
"""regroup: parts of several tokens side by side to tokens one after the other (hw/rtl/regroup.sv)."""

from __future__ import annotations

from collections import deque

from bitloom.hw.cost.memories import Memory, index_bits


class Regroup:
    """Its timing, for the operators' generators: two groups, one is written while the other leaves. beats: of a token."""

    def __init__(self, beats: int):
        self.beats = beats
        self._free = deque([0, 0])  # cycle from which each half can be written, oldest first
        self._read = -1  # of the last beat that was read

    def pass_on(self, out, first: int, last: int, tokens: int, end: bool):
        """A group whose beats would come in first .. last (`yield from`): the cycle in which the last one comes.

        tokens  of the group; end: it ends a sentence
        """
        last += max(0, self._free.popleft() - first)
        begin = max(last, self._read) + 1
        for index in range(tokens):
            _, moved = yield out.put(begin + 2, begin + 2 + self.beats - 1, self.beats, end and index == tokens - 1)
            begin = moved - 2 + 1
        self._read = begin - 1
        self._free.append(begin)
        return last


def memory(beats: int, bits: int) -> Memory:
    """Two groups of so many beats."""
    return Memory("groups", bits, 2 * beats)


def count_bits(tokens: int, beats: int) -> int:
    """Of its counters. beats: of a token."""
    return 2 * (index_bits(tokens * beats) + index_bits(beats) + index_bits(tokens)) + 2 * tokens
