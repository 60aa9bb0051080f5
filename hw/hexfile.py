# SPDX-License-Identifier: Apache-2.0
"""Memory contents as the hex files that `$readmemh` reads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from bitloom.hw.errors import BitloomError


@dataclass(frozen=True)
class Hex:
    """A memory: `words` of `width` bits, address 0 first, each 0 .. 2**width-1."""

    words: tuple[int, ...]
    width: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "words", tuple(int(w) for w in self.words))
        if not self.words:
            raise BitloomError('hex memory: got 0 words, must be at least 1; leave the file parameter at "" instead')
        if bad := [w for w in self.words if not 0 <= w < 1 << self.width]:
            raise BitloomError(f"hex memory: got word {bad[0]}, must be 0 .. 2**{self.width}-1; pack() takes negatives")

    @classmethod
    def pack(cls, values: np.ndarray, bits: int) -> Hex:
        """One word a row; element i of a row in two's complement at bits [i*bits, (i+1)*bits).

        values  integers [words, elements], each -2**(bits-1) .. 2**bits-1
        """
        rows = np.atleast_2d(np.asarray(values))
        if rows.size and not (-(1 << bits - 1) <= int(rows.min()) and int(rows.max()) < 1 << bits):
            raise BitloomError(f"hex memory: got values {rows.min()} .. {rows.max()}, must fit in {bits} bits")
        mask = (1 << bits) - 1
        words = [sum((int(v) & mask) << (i * bits) for i, v in enumerate(row)) for row in rows]
        return cls(tuple(words), bits * rows.shape[1])

    def text(self) -> str:
        """The file: one word a line, as many digits as `width` needs."""
        digits = -(-self.width // 4)
        return "".join(f"{w:0{digits}x}\n" for w in self.words)

    def write(self, path: Path) -> None:
        Path(path).write_text(self.text())
