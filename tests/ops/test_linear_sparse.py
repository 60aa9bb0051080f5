# SPDX-License-Identifier: Apache-2.0
"""linear with zero weights: tiles that are left out, RTL against golden, bits and cycles."""

from dataclasses import replace

import numpy as np
import pytest
from matrix_data import corners
from operator_bench import Case, check_units, intervals, make_case
from sweep import STALLS, corners_or_all

from bitloom.hw.graph import Tensor, signed_bits
from bitloom.hw.instance import Fold, Layout
from bitloom.hw.ops import OPS, linear
from bitloom.hw.ops.common import largest
from bitloom.hw.parts import pick, schedule, weights

LENGTHS = (1, 4, 1, 1, 3, 2, 5)
# K, C, PE, SIMD, lanes in, lanes out, input bits, signed, weight bits; share of tiles that are zero; folds without any
TILES = [
    ((16, 8, 2, 4, 2, 1, 8, True, 4), 0.0, ()),
    ((16, 8, 2, 4, 2, 1, 8, True, 4), 0.5, ()),
    ((32, 12, 4, 4, 4, 4, 8, False, 4), 0.8, (0,)),
    ((24, 12, 3, 2, 2, 1, 8, True, 3), 0.5, (1, 3)),
    ((32, 8, 4, 2, 1, 1, 4, False, 8), 0.8, (1,)),  # the beats of a fold's outputs bind in some folds
    ((16, 16, 4, 4, 4, 2, 8, True, 5), 1.0, ()),  # nothing left: two words a fold, for its beats
    ((16, 6, 1, 2, 2, 1, 16, True, 2), 1.0, ()),
    ((20, 6, 2, 5, 1, 2, 8, True, 6), 0.5, ()),  # the input beats bind
    ((40, 10, 2, 8, 8, 2, 8, True, 4), 0.8, (4,)),  # the last fold has none
    ((12, 4, 4, 12, 2, 4, 8, True, 4), 0.5, (0,)),  # one step a fold
    ((6, 6, 1, 1, 1, 1, 8, False, 4), 0.8, ()),
]


def sparse_case(seed: int, shape: tuple, share: float, empty: tuple[int, ...], rows="T", book: np.ndarray | None = None, **layouts) -> Case:
    """Random weights of which a share of the tiles is zero; the others may have zeros too."""
    inputs, channels, pe, simd, lanes_in, lanes_out, bits, signed, weight_bits = shape
    rng = np.random.default_rng(seed)
    low, high = linear.weight_range(weight_bits)
    fold = Fold(pe=pe, simd=simd, lanes_in=lanes_in, lanes_out=lanes_out, **layouts)
    width, height = fold.into(inputs).width, fold.out_of(channels).width
    pe, simd = pe * fold.repeat, simd * fold.grain
    zero = np.zeros(width // simd * (height // pe), dtype=bool)
    zero[rng.permutation(zero.size)[: round(share * zero.size)]] = True
    zero = zero.reshape(height // pe, width // simd)
    zero[list(empty)] = True
    weight = rng.integers(low, high + 1, (channels, inputs))
    gone = np.repeat(np.repeat(zero, pe, axis=0), simd, axis=1)
    weight[fold.out_of(channels).take(fold.into(inputs).take(gone), axis=0)] = 0
    case = layer(rng, shape, weight, fold, rows, book)
    return replace(case, fold=linear.left_out(case.graph, case.node, fold))


def layer(rng, shape: tuple, weight: np.ndarray, fold: Fold, rows="T", book: np.ndarray | None = None) -> Case:
    """With random biases and inputs; book: values that the weights take instead, 0 among them."""
    inputs, channels, *_, bits, signed, weight_bits = shape
    attrs, coded = {"weight_bits": weight_bits}, {}
    if book is not None:
        weight = np.where(weight != 0, rng.choice(book[book != 0], weight.shape), 0)
        attrs, coded = attrs | {"index_bits": len(book).bit_length() - 1}, {"codebook": book[None]}
    bias = rng.integers(-500, 500, channels)
    x = Tensor(name="x", shape=(rows, inputs), bits=bits, signed=signed)
    y = Tensor(name="y", shape=(rows, channels), bits=signed_bits(linear.bound(weight, bias, largest(x))), signed=True)
    codes = corners(rng, x, sum(LENGTHS) if rows == "T" else len(LENGTHS))
    params = {"weight": weight, "bias": bias} | coded
    return make_case("linear", [x], y, [codes], LENGTHS, attrs=attrs, params=params, fold=fold)


# The same shapes; weights of each group that are kept, and its inputs; share of what is then a tile that is zero besides, none: all words are there
PICKED = [
    ((16, 8, 2, 4, 2, 1, 8, True, 4), (2, 4), None),
    ((16, 6, 3, 2, 2, 1, 8, False, 3), (1, 4), None),
    ((16, 8, 4, 4, 4, 4, 8, True, 8), (4, 8), None),
    ((24, 5, 5, 3, 4, 5, 6, True, 2), (3, 4), None),
    ((32, 4, 1, 1, 1, 1, 8, True, 4), (1, 16), None),
    ((20, 6, 2, 5, 5, 2, 16, True, 5), (1, 2), None),
    ((16, 8, 2, 2, 2, 1, 8, True, 4), (2, 4), 0.5),
    ((32, 12, 4, 2, 4, 4, 8, True, 6), (1, 8), 0.8),
    ((16, 4, 2, 4, 2, 2, 8, False, 4), (2, 4), 1.0),
]


def picked_case(seed: int, shape: tuple, pattern: tuple[int, int], share: float | None, book: np.ndarray | None = None, **layouts) -> Case:
    """Random weights of which some of each group are not zero, or fewer."""
    inputs, channels, pe, simd, lanes_in, lanes_out, bits, signed, weight_bits = shape
    keep, group = pattern
    rng = np.random.default_rng(seed)
    low, high = linear.weight_range(weight_bits)
    fold = Fold(pe=pe, simd=simd, lanes_in=lanes_in, lanes_out=lanes_out, keep=keep, group=group, **layouts)
    width, height = fold.into(inputs).width, fold.out_of(channels).width
    place = rng.permuted(np.tile(np.arange(group) < keep, (height, width // group, 1)), axis=2).reshape(height, width)
    zero = rng.permutation(height // pe * (width // fold.inputs)) < round((share or 0) * (height // pe) * (width // fold.inputs))
    zero = np.repeat(np.repeat(zero.reshape(height // pe, -1), pe, axis=0), fold.inputs, axis=1)
    weight = np.where(place & ~zero, rng.integers(low, high + 1, (height, width)), 0)
    weight = fold.out_of(channels).take(fold.into(inputs).take(weight), axis=0)
    case = layer(rng, shape, weight, fold, book=book)
    return case if share is None else replace(case, fold=linear.left_out(case.graph, case.node, fold))


BOOK = np.array([-90, 0, 17, 101])
LAYOUTS = {"layout_in": Layout(channels=23, blocks=1, space=24), "layout_out": Layout(channels=37, blocks=1, space=40)}
CASES = [
    *(sparse_case(seed, *case) for seed, case in enumerate(TILES)),
    sparse_case(50, TILES[1][0], 0.5, (2,), rows=1),
    sparse_case(51, (23, 37, 5, 4, 2, 5, 8, True, 3), 0.5, (1,), **LAYOUTS),
    sparse_case(53, (32, 8, 2, 4, 2, 1, 8, True, 4), 0.5, (1,), grain=4, repeat=2),
    sparse_case(54, (16, 12, 1, 2, 1, 1, 8, False, 3), 0.5, (), grain=2, repeat=3),
    sparse_case(55, (16, 8, 2, 2, 2, 1, 8, True, 4), 0.8, (), grain=8, repeat=1),  # one word a fold
    sparse_case(56, (12, 16, 4, 2, 2, 1, 4, True, 5), 0.8, (1,), grain=2, repeat=2),  # four beats a fold: two words
    sparse_case(52, (16, 8, 2, 4, 2, 1, 8, True, 8), 0.5, (2,), book=BOOK),
]
PICKED_CASES = [
    *(picked_case(100 + seed, *case) for seed, case in enumerate(PICKED)),
    picked_case(151, (16, 8, 2, 4, 2, 1, 8, True, 8), (2, 4), None, book=BOOK),
    picked_case(150, (23, 37, 10, 4, 2, 5, 8, True, 3), (2, 4), None, **LAYOUTS),
]
# All tiles there, some, none; beats that bind on either side; one row, filled streams, grains and repeats, a codebook; then groups of each kind
CORNERS = (0, 3, 4, 6, 7, 10, 11, 12, 14, 15, 17, *(len(CASES) + place for place in (1, 4, 6, 8, 9)))


@pytest.mark.parametrize("cases", corners_or_all([*CASES, *PICKED_CASES], CORNERS))
@pytest.mark.parametrize(("stall_in", "stall_out"), STALLS)
def test_rtl_equals_golden(stall_in, stall_out, cases):
    assert check_units(cases, stall_in=stall_in, stall_out=stall_out) > 2000


def test_a_token_takes_the_cycles_of_the_tiles_that_are_left():
    """By hand from the weights: of each fold its tiles that are not zero, at least the beats of its outputs and one."""
    for case in CASES:
        fold, weight = case.fold, case.fold.out_of(case.output.channels).place(case.graph.param(case.node, "weight"), axis=0)
        weight = fold.into(case.graph.tensor("x").channels).place(weight)
        slots, rows, columns = [], fold.pe * fold.repeat, fold.simd * fold.grain
        for top in range(0, len(weight), rows):
            tiles = [weight[top : top + rows, left : left + columns] for left in range(0, weight.shape[1], columns)]
            slots += fold.repeat * [fold.grain * max(sum(bool(tile.any()) for tile in tiles), -(-max(fold.pe // fold.lanes_out, 1) // fold.grain))]
        assert fold.words == (sum(slots),)
        per_token = max(weight.shape[1] // fold.lanes_in, sum(slots))
        assert linear.interval(case.graph, case.node, fold, 1) == per_token
        if case.output.kind == "token":
            assert set(intervals(case)[1:]) == {per_token}, fold
        params = OPS["linear"].rtl(case.graph, case.node, fold).params
        assert len(params["WEIGHT_FILE"].words) == params["WORDS"] == sum(slots)
        assert len(params["SCHEDULE_FILE"].words) == params["ENTRIES"] == sum(slots) // fold.grain // fold.repeat


def test_weights_in_groups_take_their_share_of_cycles_and_memory():
    for case, ((inputs, channels, pe, simd, lanes_in, lanes_out, *_, bits), (keep, group), share) in zip(PICKED_CASES, PICKED, strict=False):
        words = channels // pe * (inputs * keep // group // simd)
        params = OPS["linear"].rtl(case.graph, case.node, case.fold).params
        if share is None:
            assert len(params["WEIGHT_FILE"].words) == words and max(params["WEIGHT_FILE"].words) < 1 << pe * simd * (bits + group.bit_length() - 1)
            words = channels // pe * max(inputs * keep // group // simd, pe // lanes_out)
        else:
            (words,) = case.fold.words
        assert set(intervals(case)[1:]) == {max(inputs // lanes_in, words)}


def test_patterns_by_hand():
    full = np.array([[1, 0, 0, 0, 0, 1, 0, 0], [0, 0, 0, 1, 0, 0, 0, 0]], dtype=bool)
    assert pick.patterns([full]) == [(1, 2), (1, 4)]  # two of eight are no better
    assert pick.patterns([np.zeros((2, 8), dtype=bool)]) == [(1, 2), (1, 4), (1, 8)]
    assert pick.patterns([full, ~full]) == [(7, 8)] and pick.patterns([full[:, :6]]) == [(1, 2)]
    assert pick.places(full, 2, 4).astype(int).tolist() == [[1, 1, 0, 0, 1, 1, 0, 0], [1, 0, 0, 1, 1, 1, 0, 0]]
    weight = np.array([[0, -3, 0, 5]])
    assert pick.elements(weight, weight != 0, 2, 4, 4).tolist() == [[1 << 4 | 13, 3 << 4 | 5]]


def test_the_sweep_has_what_it_says():
    """Folds without tiles, of which the biases come; folds that wait for their beats; a layer without any weight."""
    slots = {tuple(weights.kept(c.graph, c.node, c.fold)[0].sum(axis=1).tolist()) for c in CASES}
    assert any(len(set(own)) > 1 for own in slots) and any(not c.graph.param(c.node, "weight").any() for c in CASES)


def test_the_schedule_by_hand():
    full = np.array([[0, 1, 0, 1], [0, 0, 0, 0], [1, 0, 0, 0]], dtype=bool)
    stay = schedule.kept(full, 2)
    assert stay.astype(int).tolist() == [[0, 1, 0, 1], [1, 1, 0, 0], [1, 1, 0, 0]]
    assert schedule.entries(stay).ravel().tolist() == [1, 4 + 3, 0, 4 + 1, 0, 8 + 4 + 1] and schedule.word_bits(4) == 4
    assert schedule.entries(schedule.kept(full, 1)).ravel().tolist() == [1, 4 + 3, 4 + 0, 8 + 4 + 0]
