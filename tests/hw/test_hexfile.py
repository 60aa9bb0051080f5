# SPDX-License-Identifier: Apache-2.0
"""Memory files: packing against a naive one, and when it is done."""

import numpy as np
import pytest

from bitloom.hw.errors import BitloomError
from bitloom.hw.hexfile import Hex


def naive(rows: np.ndarray, bits: int) -> list[int]:
    return [sum((int(v) & (1 << bits) - 1) << (i * bits) for i, v in enumerate(row)) for row in rows]


@pytest.mark.parametrize(("bits", "elements"), [(1, 1), (1, 9), (3, 5), (4, 1), (8, 16), (11, 3), (24, 2), (48, 7)])
def test_words_and_text(bits, elements):
    rng = np.random.default_rng(bits)
    rows = rng.integers(-(1 << bits - 1), 1 << bits, (20, elements))
    rows[0], rows[1] = -(1 << bits - 1), (1 << bits) - 1
    want, memory = naive(rows, bits), Hex.pack(rows, bits)
    assert memory.words == tuple(want)
    digits = -(-bits * elements // 4)
    assert memory.text() == "".join(f"{word:0{digits}x}\n" for word in want)


def test_nothing_is_packed_before_it_is_read():
    read = []
    memory = Hex.pack(lambda: read.append(1) or np.array([[1, 2], [-1, 0]]), 2)
    assert not read and memory.text() == "9\n3\n" and read


@pytest.mark.parametrize(("values", "text"), [(np.zeros((0, 3)), "got 0 words, must be at least 1"), (np.array([[4]]), r"got values 4 \.\. 4, must fit in 2")])
def test_refusals(values, text):
    with pytest.raises(BitloomError, match=text):
        Hex.pack(values, 2).text()
