# SPDX-License-Identifier: Apache-2.0
"""softmax: RTL against golden, bits and cycles."""

from dataclasses import replace

import numpy as np
import pytest
from matrix_data import borders_of
from operator_bench import check_data, check_units, golden, intervals, make_case
from sweep import STALLS, corners_or_all

from bitloom.hw.graph import Tensor
from bitloom.hw.instance import Fold
from bitloom.hw.ops import softmax
from bitloom.hw.plan.streams import each_border

# max_tokens, heads, score bits, score scale, probability bits
SHAPES = [
    (64, 2, 8, 2**-4, 8),
    (16, 1, 8, 2**-5, 8),
    (48, 2, 10, 2**-6, 8),
    (1, 3, 4, 2**-1, 4),
    (2, 1, 2, 1.0, 2),
    (7, 1, 6, 2**-3, 5),
    (100, 1, 9, 2**-5, 12),
    (512, 1, 8, 2**-4, 8),
    (33, 3, 3, 2**-1, 6),
]


def scores(rng, bits, scale, rows, tokens):
    """Random rows of 0.2 to 1.5 nats spread, then all least, all greatest, one hot, ties, ascending, descending."""
    low, high = -(1 << bits - 1), (1 << bits - 1) - 1
    spread = rng.uniform(0.2, 1.5, (rows, 1)) / scale
    x = np.clip(np.floor(rng.normal(0, spread, (rows, tokens))), low, high).astype(np.int64)
    corners = np.full((6, tokens), low)
    corners[1] = high
    corners[2, tokens // 2] = high
    corners[3, ::2] = high
    corners[4] = np.sort(x[0])
    corners[5] = np.sort(x[0])[::-1]
    count = min(rows, 6)
    x[:count] = corners[:count]
    return x.ravel()


def case(seed, max_tokens, heads, bits, scale, p_bits, lengths, keys="T"):
    rng = np.random.default_rng(seed)
    x = Tensor(name="x", shape=("T", heads, keys), bits=bits, signed=True, scale=scale)
    y = Tensor(name="y", shape=x.shape, bits=p_bits, signed=False, scale=2.0**-p_bits)
    data = np.concatenate([scores(rng, bits, scale, n * heads, n) for n in lengths])
    borders = borders_of(rng, lengths, keys)
    b = [] if borders is None else [Tensor(name="b", shape=(1, 1), bits=max_tokens.bit_length(), signed=False)]
    return make_case(
        "softmax",
        [x, *b],
        y,
        [data, *(borders[:, None] for _ in b)],
        lengths,
        fold=Fold(),
        max_tokens=max_tokens,
        attrs=softmax.constants(p_bits, max_tokens) | {"heads": heads},
        params={"exp_table": softmax.exp_table(x, p_bits)},
        borders=borders,
    )


def cases(keys=("T",)):
    """Sentences of mixed lengths back to back, with 1 and the longest; at 512 tokens fewer, for its T*T codes. keys: in turn."""
    result = []
    for seed, (top, *rest) in enumerate(SHAPES):
        mixed = sorted({1, min(2, top), top, max(1, top // 2), max(1, top // 3), min(top, 9)})
        lengths = np.random.default_rng(seed).permutation(mixed + [1, 1, min(top, 5)]) if top < 512 else [40, 1, 200, 3]
        result.append(case(seed, top, *rest, lengths, keys[seed % len(keys)]))
    return result


@pytest.mark.parametrize(("stall_in", "stall_out"), STALLS)
def test_rtl_equals_golden(stall_in, stall_out):
    assert check_units(cases(), stall_in=stall_in, stall_out=stall_out) > 50_000


@pytest.mark.parametrize(("stall_in", "stall_out"), [(0, 0), (0.5, 0.5)])
def test_ranges_of_keys(stall_in, stall_out):
    """Rows of different lengths within a sentence."""
    assert check_units(cases(("causal", "window 1", "segment", "window 20")), stall_in=stall_in, stall_out=stall_out) > 10_000


def test_the_softmax_is_over_the_keys_that_are_seen():
    for c in cases(("causal", "window 3", "segment")):
        y, start, heads, keys = golden(c), 0, c.node.attrs["heads"], c.output.keys
        for n, border in zip(c.lengths.tolist(), each_border(c.lengths, c.borders), strict=True):
            low, high = keys.bounds(n, border)
            for row in range(n * heads):
                seen = slice(start + low[row // heads], start + high[row // heads])
                alone = softmax.softmax(
                    c.data[0][None, seen], c.graph.param(c.node, "exp_table"), *map(c.node.attrs.get, ("recip_bits", "shift")), c.output.bits
                )
                assert y[seen].tolist() == alone[0].tolist()
                assert not y[start : seen.start].any() and not y[seen.stop : start + n].any()
                start += n


BESIDE = ((0, 2, [64, 1, 30]), (3, 3, [1, 1, 1]), (8, 3, [33, 2, 1, 5]))  # shape, side, lengths


@pytest.mark.parametrize("shapes", corners_or_all(BESIDE, (0, 1)))
@pytest.mark.parametrize(("stall_in", "stall_out"), [(0.0, 0.0), (0.5, 0.5)])
def test_rows_side_by_side(stall_in, stall_out, shapes):
    cases = [replace(one, fold=Fold(side=side)) for one, side in ((case(i, *SHAPES[i], lengths), side) for i, side, lengths in shapes)]
    assert check_units(cases, stall_in=stall_in, stall_out=stall_out) > 1000


@pytest.mark.slow
def test_longest_row():
    """512 tokens, one sentence: every address of every bank."""
    assert check_units([case(7, 512, 1, 8, 2**-4, 8, [512])]) == 512 * 512


def test_data_shows_rounding(monkeypatch):
    check_data([c for c in cases() if c.graph.max_tokens > 2], monkeypatch, saturated=0.6)


def test_a_row_takes_its_length_or_a_division():
    """In steady state, whatever the length: the passes of different rows overlap without a bubble."""
    for tokens in (1, 5, 14, 15, 16, 17, 18, 40):
        steady = intervals(case(0, 64, 4, 8, 2**-4, 8, [tokens] * (1 + 12 // tokens)))[8:]
        divide = (64).bit_length() - 1 + 8 + 2  # t + b_p + 1 quotient bits, and one cycle to begin
        assert set(steady.tolist()) == {max(tokens, divide)}


def test_rows_sum_to_one():
    """The golden function against the definition: each row sums to 1 within half an LSB an element."""
    for c in cases():
        y, start = golden(c), 0
        for n in c.lengths:
            for _ in range(n * c.node.attrs["heads"]):
                row = y[start : start + n]
                assert abs(int(row.sum()) - (1 << c.output.bits)) <= n / 2 + 1
                start += n


def test_one_token_is_certain():
    """A row of one token saturates to the largest probability."""
    c = case(0, 4, 2, 8, 2**-4, 8, [1, 1, 1])
    assert golden(c).tolist() == [255] * 6
