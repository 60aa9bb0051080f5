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
    """Their timing, for the operators' generators: a process that asks for tiles, beside the one that computes with them.

    memory   that its reader fetches from (hw/plan/predict.py: Client); None: each tile is there at once
    address  of the first tile
    places   of each turn: (beats, offset in beats) of its tiles
    listed   they are in a table, from which they are asked for a cycle later
    blocks   told of each block: the cycle from which on it is known, its turn
    dropped, come  of each tile, in order: from when on its place can be asked for again, from when on it can be read
    """

    def __init__(self, taken, address: int, places: Sequence[np.ndarray], data_bits: int, listed: bool):
        self._memory, self._address, self._places, self._bytes, self._listed = taken.memory, address, places, data_bits // 8, listed
        self.blocks, self.dropped = taken.told(), taken.told()
        self.come = taken.told() if self._memory is None else self._memory.come

    def ask(self):
        """The process."""
        free, asked = deque([0, 0]), -1 - self._listed
        late = self._listed and len(self._places) > 1  # the block's turn says which entry it is
        while True:
            known, turn = yield self.blocks.get()
            for beats, offset in self._places[turn].tolist():
                if not free:
                    free.extend((yield self.dropped.get()))
                asked = max(free.popleft(), asked + 1 + self._listed, known + late)
                if self._memory is None:
                    self.come.tell(asked + 1)
                else:
                    self._memory.ask(asked, self._address + offset * self._bytes, beats)
