# SPDX-License-Identifier: Apache-2.0
"""tiles: weights from external memory, two tiles of them on the chip (hw/rtl/tiles.sv)."""

from __future__ import annotations

from collections import deque

from bitloom.hw.cost.memories import Memory


def shape(width: int, steps: int, data_bits: int) -> tuple[int, int, int]:
    """Of a tile of `steps` words: beats of a word, words in one beat (one of the two is 1), and rows, which are read at once."""
    columns, words = -(-width // data_bits), max(1, data_bits // width)
    return columns, words, -(-steps // words)


def beats(width: int, steps: int, data_bits: int) -> int:
    """Beats of a tile."""
    columns, _, rows = shape(width, steps, data_bits)
    return rows * columns


def memories(width: int, steps: int, data_bits: int, style: str = "") -> list[Memory]:
    """style: of Memory."""
    columns, _, rows = shape(width, steps, data_bits)
    return [Memory("tile", data_bits, 2 * rows, style=style)] * columns


class Tiles:
    """Their timing, for the operators' generators.

    memory   reserve(cycle, address, beats): the cycle in which the last beat is there of a request that is made in that cycle; None: at once
    address  of the first tile; the others of the same turn are behind it, of `count` beats of data_bits each
    """

    def __init__(self, memory, address: int, count: int, data_bits: int):
        self._memory, self._address, self._beats, self._bytes = memory, address, count, count * data_bits // 8
        self._free = deque([0, 0])  # cycles from which the two places can be asked for
        self._asked = -1

    def next(self, tile: int, begun: int) -> int:
        """The next tile, of that number in its turn, can be read from that cycle on; `begun`: its block is known from that cycle on."""
        self._asked = max(self._free.popleft(), self._asked + 1, begun)
        return (self._asked if self._memory is None else self._memory.reserve(self._asked, self._address + tile * self._bytes, self._beats)) + 1

    def drop(self, cycle: int) -> None:
        """The oldest tile is read for the last time in that cycle."""
        self._free.append(cycle + 1)
