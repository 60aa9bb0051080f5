# SPDX-License-Identifier: Apache-2.0
"""requant: RTL against golden, bits and cycles."""

import numpy as np
import pytest
from operator_bench import check_data, check_units, filled, make_case
from sweep import STALLS, corners_or_all

from bitloom.hw.graph import GraphError, Tensor
from bitloom.hw.instance import Fold, Layout
from bitloom.hw.ops import requant

LENGTHS = (1, 3, 6, 1, 1, 9, 4)
# channels (0: rows), lanes, accumulator bits, output bits, signed, multipliers (per channel: lowest, highest), shift
SHAPES = [
    (6, 2, 20, 8, True, (1 << 14, (1 << 16) - 1), 24),
    (5, 1, 18, 8, True, (30000, (1 << 16) - 1), 22),
    (4, 4, 12, 8, False, (1, 9), 6),
    (6, 3, 25, 16, True, (1 << 13, (1 << 16) - 1), 22),
    (8, 1, 19, 4, True, (1, 1), 12),
    (0, 1, 22, 8, True, 1, 12),
    (0, 1, 14, 10, True, 1, 4),
    (4, 2, 17, 16, True, 3, 4),
    (3, 3, 30, 8, True, 40000, 37),
    (9, 3, 10, 4, False, 1, 5),
    (1, 1, 12, 8, True, 65535, 20),
    (2, 1, 40, 16, True, 65535, 39),
    (6, 2, 19, 8, True, (30000, 65535), 26),  # above 18 bits: the rest by additions
    (4, 1, 22, 8, True, (1, 65535), 28),
    (3, 1, 23, 8, True, (30000, 65535), 30),  # by a second multiplier
    (3, 1, 26, 8, True, (1, 1), 18),  # by a second multiplier of one bit
]
UNROUNDED = [
    (6, 2, 6, 8, True, 1, 0),
    (4, 1, 10, 8, True, 1, 47),
    (4, 1, 10, 8, True, 12345, 47),
    (4, 4, 5, 3, False, (1, 7), 0),
]


def codes(rng, tensor, low, high, mult, shift, count):
    """Accumulators whose results spread evenly over low .. high, many near a tie; the first rows are the corners."""
    channels = tensor.channels
    result = rng.integers(low, high + 1, (count, channels)).astype(float)
    acc = np.floor(result * 2.0**shift / mult + rng.choice([-0.5, 0.0, 0.4], result.shape) * 2.0**shift / mult)
    acc += rng.integers(-1, 2, acc.shape)
    acc = np.clip(acc, tensor.low, tensor.high).astype(np.int64)
    acc[:3] = [[tensor.high], [tensor.low], [0]]
    acc[3, ::2], acc[3, 1::2] = tensor.low, tensor.high
    return acc


def make(seed, shape):
    channels, lanes, acc_bits, bits, signed, mult, shift = shape
    rng = np.random.default_rng(seed)
    tensor_shape = ("T", channels) if channels else ("T", 2, "T")
    acc = Tensor(name="acc", shape=tensor_shape, bits=acc_bits, signed=True)
    y = Tensor(name="y", shape=tensor_shape, bits=bits, signed=signed)
    mults = rng.integers(mult[0], mult[1] + 1, channels) if isinstance(mult, tuple) else np.array([mult])
    if isinstance(mult, tuple):
        mults[0] = mult[1]
    count = sum(LENGTHS) if channels else 2 * sum(n * n for n in LENGTHS)
    data = codes(rng, acc, y.low, y.high, mults, shift, count)
    return make_case(
        "requant",
        [acc],
        y,
        [data if channels else data.ravel()],
        LENGTHS,
        attrs={"shift": shift},
        params={"mult": mults},
        fold=Fold(lanes_in=lanes, lanes_out=lanes),
    )


CASES = [make(seed, shape) for seed, shape in enumerate(SHAPES)]
EDGES = [make(seed, shape) for seed, shape in enumerate(UNROUNDED)]


# Multipliers of each channel and one for all, signed and not, rows, wide products by additions, by a second multiplier and by one of one bit; no rounding
CORNERS = (0, 1, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15, 16, 18)


@pytest.mark.parametrize("cases", corners_or_all(CASES + EDGES, CORNERS))
@pytest.mark.parametrize(("stall_in", "stall_out"), STALLS)
def test_rtl_equals_golden(stall_in, stall_out, cases):
    assert check_units(cases, stall_in=stall_in, stall_out=stall_out) > 2000


def test_data_shows_a_dropped_rounding_term(monkeypatch):
    check_data(CASES, monkeypatch)


def test_golden_rounds_half_up_and_saturates():
    one, three, far = np.array([1]), np.array([3]), np.array([-9000, 9000])
    rounded = requant.requant(np.array([-6, -5, -3, -2, 2, 3, 5, 6]), one, 2, 8)
    assert rounded.tolist() == [-1, -1, -1, 0, 1, 1, 1, 2]
    assert requant.requant(far, three, 4, 8).tolist() == [-128, 127]
    assert requant.requant(far, three, 4, 8, signed=False).tolist() == [0, 255]


def test_a_wrong_number_of_multipliers_is_refused():
    acc = Tensor(name="acc", shape=("T", 4), bits=12, signed=True)
    with pytest.raises(GraphError, match=r"mult got shape \(3,\), must be \(1,\) or \(4,\)"):
        make_case(
            "requant",
            [acc],
            Tensor(name="y", shape=("T", 4), bits=8, signed=True),
            [np.zeros((1, 4))],
            [1],
            attrs={"shift": 1},
            params={"mult": [1, 2, 3]},
            fold=Fold(),
        )


@pytest.mark.parametrize(("stall_in", "stall_out"), [(0.0, 0.0), (0.5, 0.5)])
def test_filled_streams_carry_the_same(stall_in, stall_out):
    """Channels with multipliers of their own, one multiplier for all, none; tokens in one block and in heads."""
    ways = [(0, 1, 8, 4), (0, 3, 4, 6), (1, 1, 6, 3), (3, 2, 4, 4), (7, 1, 6, 2), (8, 1, 4, 4), (13, 1, 6, 6)]  # shape, blocks, space, lanes
    cases = []
    for index, blocks, space, lanes in ways:
        layout = Layout(channels=SHAPES[index][0], blocks=blocks, space=space)
        cases.append(filled(make(index, SHAPES[index]), layout_in=layout, layout_out=layout, lanes_in=lanes, lanes_out=lanes))
    assert check_units(cases, stall_in=stall_in, stall_out=stall_out) > 800
