# SPDX-License-Identifier: Apache-2.0
"""keep_tokens: RTL against golden, bits and cycles; golden against a loop that knows nothing of sorting."""

import numpy as np
import pytest
from operator_bench import check_units, golden, make_case
from sweep import STALLS

from bitloom.hw.graph import Tensor
from bitloom.hw.instance import Fold
from bitloom.hw.tokens import Tokens, left

# C, lanes, bits, heads, side, queries, bits of p, keep, sentence lengths; keys, where they are not all
SHAPES = [
    (8, 1, 8, 2, 1, 1, 8, 128, [5, 1, 1, 2, 9, 1, 3]),
    (16, 4, 8, 2, 2, 1, 8, 64, [9, 2, 1, 12, 5, 5]),
    (16, 4, 8, 4, 2, 1, 4, 200, [3, 3, 11, 1, 1, 1, 7]),
    (8, 8, 8, 2, 2, 4, 8, 128, [1, 2, 3, 4, 5, 9, 12, 1, 1]),
    (12, 2, 10, 3, 3, 2, 6, 256, [4, 1, 7, 2]),
    (4, 4, 3, 1, 1, 1, 2, 100, [6, 1, 1, 1, 1, 6]),
    (48, 4, 8, 2, 1, 1, 8, 1, [7, 3, 1, 12]),
    (4, 4, 8, 6, 6, 5, 8, 50, [12, 12, 12, 11, 6]),
    (32, 1, 8, 2, 2, 1, 8, 250, [1, 12, 12, 1, 12]),
    (8, 2, 8, 2, 1, 1, 8, 128, [5, 1, 1, 2, 12, 3, 9, 1], "window 1"),
    (16, 4, 8, 4, 2, 1, 4, 100, [12, 2, 7, 3, 1, 12], "window 3"),
    (8, 8, 8, 2, 2, 1, 8, 60, [11, 12, 1, 12, 4], "window 10"),
]


def case(seed, channels, lanes, bits, heads, side, queries, p_bits, keep, lengths, keys="T", few=0):
    """few: only so many probabilities occur, so that many tokens receive as much as others."""
    rng = np.random.default_rng(seed)
    x = Tensor(name="x", shape=("T", channels), bits=bits, signed=True)
    p = Tensor(name="p", shape=("T", heads, keys), bits=p_bits, signed=False)
    y = Tensor(name="y", shape=(f"T {keep}", channels), bits=bits, signed=True)
    codes = rng.integers(x.low, x.high + 1, (sum(lengths), channels))
    most = rng.integers(0, p.high + 1, few) if few else np.arange(p.high + 1)
    rows = [(rng.choice(most, (n, heads, n)) * p.keys.seen(n)).ravel() for n in lengths]
    fold = Fold(side=side, queries=queries, lanes_in=lanes, lanes_out=lanes)
    return make_case("keep_tokens", [x, p], y, [codes, np.concatenate(rows)], lengths, fold=fold, attrs={"keep": keep}, max_tokens=12)


def kept_by_hand(received, keep):
    """Tokens that stay: one by one the largest of what is left."""
    count = -(-len(received) * keep // 256)
    stay = [0]
    while len(stay) < count:
        others = [j for j in range(len(received)) if j not in stay]
        stay.append(max(others, key=lambda j: (received[j], -j)))
    return sorted(stay)


@pytest.mark.parametrize("few", [0, 2])
def test_golden_keeps_what_received_most(few):
    for seed, shape in enumerate(SHAPES):
        c, at, row, want = case(seed, *shape, few=few), 0, 0, []
        for n in c.lengths.tolist():
            p = c.data[1][row : row + n * shape[3] * n].reshape(n, shape[3], n)
            want += [c.data[0][at + j] for j in kept_by_hand(p.sum((0, 1)).tolist(), shape[7])]
            at, row = at + n, row + n * shape[3] * n
        assert np.array_equal(golden(c), want)


def test_lengths():
    for keep in (1, 50, 128, 255, 256):
        for n in range(1, 70):
            assert left(n, keep) == -(-n * keep // 256) and 1 <= left(n, keep) <= n
    assert Tokens.parse("T 128 64").of(np.array([1, 9, 64])).tolist() == [1, 2, 8] and str(Tokens.parse("T").behind(3)) == "T 3"
    for text in ("", "T 0", "T 257", "T  5", "T 5 ", "S", "T -1", 2):
        with pytest.raises(ValueError, match="got tokens"):
            Tokens.parse(text)


@pytest.mark.parametrize("few", [0, 2])
@pytest.mark.parametrize(("stall_in", "stall_out"), STALLS)
def test_rtl_equals_golden(stall_in, stall_out, few):
    assert check_units([case(seed, *shape, few=few) for seed, shape in enumerate(SHAPES)], stall_in=stall_in, stall_out=stall_out) > 700
