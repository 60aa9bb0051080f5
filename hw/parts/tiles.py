# SPDX-License-Identifier: Apache-2.0
"""tiles: weights from external memory, two tiles of them on the chip (hw/rtl/tiles.sv)."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np

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


def entries(sizes: Sequence[int], width: int, data_bits: int) -> np.ndarray:
    """The table of tiles of different numbers of words (`sizes`, of all turns), one behind the other: int64 [tiles, 2], {beats, offset in beats}."""
    counts = np.array([beats(width, int(steps), data_bits) for steps in sizes])
    return np.stack([counts, np.cumsum(counts) - counts], axis=1)


class Tiles:
    """Their timing, for the operators' generators.

    memory   reserve(cycle, address, beats): the cycle in which the last beat is there of a request that is made in that cycle; None: at once
    address  of the first tile
    places   of each turn: (beats, offset in beats) of its tiles
    listed   they are in a table, from which they are asked for a cycle later
    """

    def __init__(self, memory, address: int, places: Sequence[np.ndarray], data_bits: int, listed: bool):
        self._memory, self._address, self._places, self._bytes, self._listed = memory, address, places, data_bits // 8, listed
        self._free = deque([0, 0])  # cycles from which the two places can be asked for
        self._asked = -1 - listed

    def next(self, turn: int, tile: int, begun: int) -> int:
        """The tile of that number in that turn, the next one, can be read from that cycle on; `begun`: its block is known from that cycle on."""
        late = self._listed and len(self._places) > 1  # the block's turn says which entry it is
        self._asked = max(self._free.popleft(), self._asked + 1 + self._listed, begun + late)
        beats, offset = (int(value) for value in self._places[turn][tile])
        return (self._asked if self._memory is None else self._memory.reserve(self._asked, self._address + offset * self._bytes, beats)) + 1

    def drop(self, cycle: int) -> None:
        """The oldest tile is read for the last time in that cycle."""
        self._free.append(cycle + 1)
