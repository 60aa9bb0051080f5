# SPDX-License-Identifier: Apache-2.0
"""scores: RTL against golden, bits and cycles."""

from dataclasses import replace

import numpy as np
import pytest
from matrix_data import borders_of, corners
from operator_bench import check_units, filled, intervals, make_case
from sweep import STALLS, corners_or_all

from bitloom.hw import graph_file
from bitloom.hw.graph import GraphError, Tensor, signed_bits
from bitloom.hw.instance import Fold, Layout
from bitloom.hw.keys import Keys
from bitloom.hw.ops import scores
from bitloom.hw.ops.common import largest

# heads, elements per head, longest sentence, SIMD, lanes, query bits, key bits
SHAPES = [
    (2, 4, 5, 2, 1, 8, 8),
    (1, 3, 4, 1, 1, 4, 6),
    (3, 4, 6, 4, 2, 8, 8),
    (2, 6, 7, 3, 3, 8, 3),
    (1, 8, 8, 8, 4, 8, 8),
    (4, 2, 3, 1, 1, 2, 2),
    (2, 16, 5, 8, 2, 16, 8),
    (1, 1, 4, 1, 1, 8, 8),
    (2, 12, 9, 6, 2, 5, 7),
    (2, 20, 2, 20, 20, 8, 8),
    (2, 4, 1, 2, 2, 8, 8),
]


def lengths_to(longest):
    """Single tokens, the longest sentence after itself, after a single token and before one."""
    return tuple(max(1, n) for n in (1, longest, 1, 1, longest - 1, longest, longest, 1, 2 % (longest + 1), longest))


def make(seed, shape, lengths=None, keys="T"):
    heads, width, longest, simd, lanes, q_bits, k_bits = shape
    rng = np.random.default_rng(seed)
    lengths = lengths or lengths_to(longest)
    q = Tensor(name="q", shape=("T", heads * width), bits=q_bits, signed=True)
    k = Tensor(name="k", shape=("T", heads * width), bits=k_bits, signed=True)
    y = Tensor(name="y", shape=("T", heads, keys), bits=signed_bits(width * largest(q) * largest(k)), signed=True)
    data = [corners(rng, t, sum(lengths)) for t in (q, k)]
    borders = borders_of(rng, lengths, keys)
    b = [] if borders is None else [Tensor(name="b", shape=(1, 1), bits=longest.bit_length(), signed=False)]
    return make_case(
        "scores",
        [q, k, *b],
        y,
        [*data, *(np.hstack(borders).reshape(-1, 1) for _ in b)],
        lengths,
        attrs={"heads": heads},
        fold=Fold(simd=simd, lanes_in=lanes),
        max_tokens=longest,
        borders=borders,
    )


CROWD = (12, *[1] * 40, 12, 12, *[2] * 20, 11, 1, 12)  # more short sentences behind a long one than the ring takes, then its places run out
CASES = [*(make(seed, shape) for seed, shape in enumerate(SHAPES)), make(20, (2, 4, 12, 2, 1, 8, 8), CROWD)]
KEYS = ("causal", "window 0", "window 1", "window 2", "window 4", "window 8", "window 100")
PAIRS = [*(make(60 + seed, shape, keys="segment") for seed, shape in enumerate(SHAPES)), make(80, (2, 4, 12, 2, 1, 8, 8), CROWD, "segment")]
PACKS = [*(make(90 + seed, shape, keys="pack") for seed, shape in enumerate(SHAPES)), make(110, (2, 4, 12, 2, 1, 8, 8), CROWD, "pack")]
RANGES = [
    *(make(30 + seed, shape, keys=KEYS[seed % len(KEYS)]) for seed, shape in enumerate(SHAPES)),
    *(make(50 + seed, (2, 4, 12, 2, 1, 8, 8), CROWD, keys) for seed, keys in enumerate(("causal", "window 3"))),
]


@pytest.mark.parametrize("cases", corners_or_all(CASES, (0, 1, 3, 5, 6, 7, 10, 11)))
@pytest.mark.parametrize(("stall_in", "stall_out"), STALLS)
def test_rtl_equals_golden(stall_in, stall_out, cases):
    assert check_units(cases, stall_in=stall_in, stall_out=stall_out) > 2000


def test_no_cycle_is_lost_between_rows_tokens_and_sentences():
    """The modelled cycles, which the RTL keeps exactly, are T*DIM/SIMD a row once the first keys are there."""
    for seed, shape in enumerate(SHAPES):
        heads, width, longest, simd, lanes, *_ = shape
        if longest * lanes < simd:
            continue  # the keys come too slowly
        case = make(seed, shape, lengths=(longest,) * 5)
        assert set(intervals(case)) == {longest * width // simd}, shape
        assert longest * heads * longest * width // simd == scores.interval(case.graph, case.node, case.fold, longest)


@pytest.mark.parametrize("cases", corners_or_all(RANGES, (0, 1, 3, 5, 11, 12)))
@pytest.mark.parametrize(("stall_in", "stall_out"), [(0.0, 0.0), (0.5, 0.5)])
def test_ranges_of_keys(stall_in, stall_out, cases):
    assert check_units(cases, stall_in=stall_in, stall_out=stall_out) > 2000


@pytest.mark.parametrize("cases", corners_or_all(PAIRS, (0, 3, 6, 8, 10, 11)))
@pytest.mark.parametrize(("stall_in", "stall_out"), STALLS)
def test_sentences_of_a_pair(stall_in, stall_out, cases):
    assert check_units(cases, stall_in=stall_in, stall_out=stall_out) > 2000


@pytest.mark.parametrize("cases", corners_or_all(PACKS, (0, 3, 6, 8, 10, 11)))
@pytest.mark.parametrize(("stall_in", "stall_out"), STALLS)
def test_sentences_of_a_pack(stall_in, stall_out, cases):
    assert check_units(cases, stall_in=stall_in, stall_out=stall_out) > 1500


def test_a_key_that_is_not_seen_costs_no_cycle():
    """The modelled cycles are those of the keys that are seen, and so is `interval`."""
    for keys, spans in (("T", [9] * 9), ("causal", [1, 2, 3, 4, 5, 6, 7, 8, 9]), ("window 2", [3, 4, 5, 5, 5, 5, 5, 4, 3]), ("window 0", [1] * 9)):
        case = make(0, (2, 12, 9, 1, 1, 8, 8), lengths=(9,) * 5, keys=keys)
        assert intervals(case)[-18:].tolist() == [12 * span for span in spans for _ in range(2)], keys
        assert scores.interval(case.graph, case.node, case.fold, 9) == 2 * 12 * sum(spans)
        assert scores.macs(case.graph, case.node, 9) == 24 * sum(spans)
    case = make(0, (2, 12, 9, 1, 1, 8, 8), lengths=(9,) * 6, keys="segment")
    spans = [n for b in case.borders[-2:] for n in ([b] * b + [9 - b] * (9 - b))]
    assert intervals(case)[-36:].tolist() == [12 * span for span in spans for _ in range(2)]
    assert scores.macs(case.graph, case.node, 9) == 24 * (5 * 5 + 4 * 4)  # where it is not known: halves
    case = make(0, (2, 12, 9, 1, 1, 8, 8), lengths=(9,) * 6, keys="pack")
    spans = [n for own in case.borders[-2:] for n in own for _ in range(n)]
    assert intervals(case)[-36:].tolist() == [12 * span for span in spans for _ in range(2)] and len({*spans}) > 1


@pytest.mark.parametrize("keys", ["window", "window -1", "window 1.5", "window 03", "segments", "", 5])
def test_keys_that_are_no_range_are_refused(keys):
    with pytest.raises(
        GraphError, match=r"y got shape \('T', 2, .*\), must be \('T', 2, KEYS\), KEYS 'T' \(all\), 'causal', 'segment' or 'window W' with an integer W >= 0"
    ):
        make(0, SHAPES[0], keys=keys)


def test_a_border_belongs_to_its_keys():
    pair, other = make(0, SHAPES[0], keys="segment"), make(0, SHAPES[0])
    tensors = pair.graph.tensors | {"y": other.graph.tensor("y")}
    for graph, text in (
        (replace(pair.graph, tensors=tensors), "got 3 inputs, must be 2 for keys 'T'"),
        (replace(other.graph, tensors=pair.graph.tensors), r"got 2 inputs, must be 3, the last one a border \(1, 1\) for keys 'segment'"),
    ):
        with pytest.raises(GraphError, match=text):
            graph_file.check(graph)


def test_golden_by_hand():
    q, k = np.array([[1, 2, 3, 4], [5, 6, 7, 8]]), np.array([[1, 0, -1, 1], [2, 1, 0, -1]])
    assert scores.scores(q, k, 2, 100).tolist() == [[[1, 4], [1, -4]], [[5, 16], [1, -8]]]
    assert scores.scores(q, k, 2, 100, Keys.parse("causal").seen(2)).tolist() == [[[1, 0], [1, 0]], [[5, 16], [1, -8]]]


def test_unsigned_keys_are_refused():
    q, k = (Tensor(name=n, shape=("T", 4), bits=8, signed=n == "q") for n in "qk")
    with pytest.raises(GraphError, match="k got unsigned, must be signed"):
        make_case(
            "scores",
            [q, k],
            Tensor(name="y", shape=("T", 2, "T"), bits=30, signed=True),
            [np.zeros((1, 4))] * 2,
            [1],
            attrs={"heads": 2},
            fold=Fold(),
        )


def heads_beside() -> list:
    """Each of all keys, then of a range of them."""
    cases = []
    for index, space, side, simd, lanes in ((0, 4, 2, 2, 1), (2, 4, 3, 4, 2), (5, 2, 2, 1, 1), (5, 2, 4, 2, 4), (6, 16, 2, 8, 16), (8, 14, 2, 7, 2)):
        heads, width, *_ = SHAPES[index]
        layout = Layout(channels=heads * width, blocks=heads, space=space, side=side)
        cases += [filled(case[index], layout_in=layout, side=side, simd=simd, lanes_in=lanes) for case in (CASES, RANGES)]
    return cases


@pytest.mark.parametrize("cases", corners_or_all(heads_beside(), (0, 1, 6, 10)))
@pytest.mark.parametrize(("stall_in", "stall_out"), [(0.0, 0.0), (0.5, 0.5)])
def test_heads_side_by_side(stall_in, stall_out, cases):
    assert check_units(cases, stall_in=stall_in, stall_out=stall_out) > 1000
    for case in heads_beside()[::2]:
        assert scores.interval(case.graph, case.node, case.fold, 9) == 9 * max(
            9 * case.fold.layout_in.width // case.fold.products, case.fold.layout_in.width // case.fold.lanes_in
        )


# Shape, queries, heads side by side
QUERIES = ((0, 2, 1), (0, 3, 2), (2, 4, 1), (3, 2, 2), (4, 8, 1), (8, 2, 2), (10, 2, 1), (11, 5, 2), (11, 16, 1), (5, 4, 1))


def beside(case, queries, side):
    layout = Layout(channels=case.graph.tensor("k").channels, blocks=case.node.attrs["heads"], side=side)
    return filled(case, queries=queries, side=side, layout_in=None if layout.plain else layout)


@pytest.mark.parametrize("queries", corners_or_all(QUERIES, (1, 3, 6, 7, 9)))
@pytest.mark.parametrize(("stall_in", "stall_out"), STALLS)
def test_queries_side_by_side(stall_in, stall_out, queries):
    assert check_units([beside(CASES[index], *how) for index, *how in queries], stall_in=stall_in, stall_out=stall_out) > 1000


def test_queries_side_by_side_take_as_many_cycles_as_one():
    """A sentence takes its keys' cycles once for each group of queries, where they come fast enough; the last group has fewer."""
    for tokens, queries, groups in ((12, 4, 3), (12, 5, 3), (11, 2, 6), (12, 1, 12)):
        case = beside(make(20, (2, 4, 12, 2, 4, 8, 8), lengths=(tokens,) * 4), queries, 2)
        ends = np.cumsum(intervals(case))[groups - 1 :: groups]
        assert set(np.diff(ends)) == {groups * tokens * 2} == {scores.interval(case.graph, case.node, case.fold, tokens)}


FILLED = ((0, 6, 3, 1), (1, 4, 4, 2), (3, 8, 4, 2), (8, 15, 5, 5), (9, 21, 7, 7))  # shape, space of a head, SIMD, lanes


@pytest.mark.parametrize("ways", corners_or_all(FILLED, (0, 1, 3)))
@pytest.mark.parametrize(("stall_in", "stall_out"), [(0.0, 0.0), (0.5, 0.5)])
def test_filled_heads_carry_the_same(stall_in, stall_out, ways):
    cases = []
    for index, space, simd, lanes in ways:
        heads, width, *_ = SHAPES[index]
        layout = Layout(channels=heads * width, blocks=heads, space=space)
        cases.append(filled(CASES[index], layout_in=layout, simd=simd, lanes_in=lanes))
    assert check_units(cases, stall_in=stall_in, stall_out=stall_out) > 1000
