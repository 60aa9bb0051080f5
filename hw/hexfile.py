# SPDX-License-Identifier: Apache-2.0
"""Memory contents as the hex files that `$readmemh` reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bitloom.hw.errors import BitloomError

Values = np.ndarray | Callable[[], np.ndarray]


@dataclass(frozen=True, eq=False)
class Hex:
    """A memory file that is made when it is read: what hardware costs is known from the parameters beside it.

    source  integers [words, elements], address 0 first, or a function that gives them
    bits    of an element
    """

    source: Values
    bits: int

    @classmethod
    def pack(cls, values: Values, bits: int) -> Hex:
        """One word a row; element i of a row in two's complement at bits [i*bits, (i+1)*bits).

        values  integers [words, elements], each -2**(bits-1) .. 2**bits-1, or a function that gives them.
                BitloomError is raised when they are read, where there are none or one does not fit
        """
        return cls(values, bits)

    def _rows(self) -> np.ndarray:
        """The values, checked; not kept."""
        rows = np.atleast_2d(np.asarray(self.source() if callable(self.source) else self.source))
        if not rows.size:
            raise BitloomError('hex memory: got 0 words, must be at least 1; leave the file parameter at "" instead')
        if not (-(1 << self.bits - 1) <= int(rows.min()) and int(rows.max()) < 1 << self.bits):
            raise BitloomError(f"hex memory: got values {rows.min()} .. {rows.max()}, must fit in {self.bits} bits")
        return rows

    def _packed(self) -> tuple[np.ndarray, int]:
        """Each word's bytes, its lowest first, uint8 [words, bytes]; and elements of a word."""
        rows = self._rows()
        digits = np.empty((*rows.shape, self.bits), dtype=np.uint8)
        for place in range(self.bits):
            digits[..., place] = rows >> place & 1
        return np.packbits(digits.reshape(len(rows), -1), axis=1, bitorder="little"), rows.shape[1]

    @property
    def words(self) -> tuple[int, ...]:
        """Each word as a number."""
        return tuple(int.from_bytes(row.tobytes(), "little") for row in self._packed()[0])

    def parts(self, bits: int) -> np.ndarray:
        """Each word in parts of that many bits (at most 31), its lowest first: uint32 [words, parts]."""
        packed, elements = self._packed()
        digits = np.unpackbits(packed, axis=1, bitorder="little", count=self.bits * elements)
        digits = np.pad(digits, ((0, 0), (0, -digits.shape[1] % bits))).reshape(len(digits), -1, bits)
        digits = np.pad(digits, ((0, 0), (0, 0), (0, 32 - bits)))
        return np.packbits(digits, axis=2, bitorder="little").view("<u4")[..., 0]

    def text(self) -> str:
        """The file: one word a line, in as many digits as its bits need."""
        packed, elements = self._packed()
        digits = -(-self.bits * elements // 4)
        return "".join(f"{row.tobytes()[::-1].hex()[-digits:]}\n" for row in packed)

    def write(self, path: Path) -> None:
        Path(path).write_text(self.text())


def fields(rows: Sequence[Sequence[int]], bits: Sequence[int]) -> np.ndarray:
    """A word a row, its first field highest, as 0/1 digits, bit 0 first: what Hex.pack takes with 1 bit."""
    words = np.zeros((len(rows), sum(bits)), dtype=np.int64)
    for line, row in enumerate(rows):
        place = 0
        for value, width in zip(reversed(row), reversed(bits), strict=True):
            words[line, place : place + width] = [value >> i & 1 for i in range(width)]
            place += width
    return words
