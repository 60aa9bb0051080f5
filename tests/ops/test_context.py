# SPDX-License-Identifier: Apache-2.0
"""context: RTL against golden, bits and cycles."""

import numpy as np
import pytest
from matrix_data import borders_of, corners
from operator_bench import Case, check_units, filled, intervals
from sweep import STALLS, corners_or_all

from bitloom.hw.graph import Graph, GraphError, Node, Tensor, signed_bits
from bitloom.hw.instance import Fold, Layout
from bitloom.hw.ops import context
from bitloom.hw.ops.common import largest
from bitloom.hw.plan.streams import each_border

# heads, elements per head, longest sentence, PE, lanes, probability bits, value bits
SHAPES = [
    (2, 4, 5, 2, 1, 8, 8),
    (1, 3, 4, 1, 1, 4, 6),
    (3, 4, 6, 4, 2, 8, 8),
    (2, 6, 7, 3, 3, 8, 3),
    (1, 8, 8, 8, 1, 8, 8),  # short rows wait for the output beats
    (4, 2, 3, 1, 1, 2, 2),
    (2, 16, 5, 8, 2, 12, 8),
    (1, 1, 4, 1, 1, 8, 8),
    (2, 12, 9, 6, 2, 5, 7),
    (2, 20, 2, 20, 20, 8, 16),
    (2, 4, 1, 4, 2, 8, 8),
]


def lengths_to(longest):
    """Single tokens, the longest sentence after itself, after a single token and before one."""
    return tuple(max(1, n) for n in (1, longest, 1, 1, longest - 1, longest, longest, 1, 2 % (longest + 1), longest))


def rows(rng, lengths, heads, bits, keys, borders):
    """Probabilities as softmax rounds them: random rows, with rows of one certain token and of equal ones between; 0 where a key is not seen."""
    parts = []
    for tokens, border in zip(lengths, each_border(lengths, borders), strict=True):
        p = rng.dirichlet(np.full(tokens, 0.5), tokens * heads)
        p[::3] = np.eye(tokens)[rng.integers(tokens, size=len(p[::3]))]
        p[1::5] = 1 / tokens
        p = p.reshape(tokens, heads, tokens) * keys.seen(tokens, border)
        parts.append(np.minimum(np.floor(p * (1 << bits) + 0.5), (1 << bits) - 1).ravel())
    return np.concatenate(parts).astype(np.int64)


def make(seed, shape, lengths=None, producer="softmax", keys="T"):
    heads, width, longest, pe, lanes, p_bits, v_bits = shape
    rng = np.random.default_rng(seed)
    lengths = lengths or lengths_to(longest)
    p = Tensor(name="p", shape=("T", heads, keys), bits=p_bits, signed=False)
    v = Tensor(name="v", shape=("T", heads * width), bits=v_bits, signed=True)
    y = Tensor(name="y", shape=("T", heads * width), bits=signed_bits(context.bound(p_bits, largest(v), longest)), signed=True)
    node = Node(name="y", op="context", inputs=("p", "v"), attrs={"heads": heads})
    source = Node(name="p", op=producer, inputs=("s",))  # only its operator is looked at
    graph = Graph(
        name="test of context",
        nodes=(node, source),
        tensors={"p": p, "v": v, "y": y},
        params={},
        inputs=("p", "v"),
        outputs=("y",),
        max_tokens=longest,
    )
    context.check(graph, node)
    borders = borders_of(rng, lengths, keys)
    return Case(
        graph=graph,
        fold=Fold(pe=pe, lanes_in=lanes, lanes_out=lanes),
        lengths=np.array(lengths),
        data=(rows(rng, lengths, heads, p_bits, p.keys, borders), corners(rng, v, sum(lengths))),
        borders=borders,
    )


CROWD = (12, *[1] * 40, 12, 12, *[2] * 20, 11, 1, 12)  # more short sentences behind a long one than the ring takes, then its places run out
CASES = [*(make(seed, shape) for seed, shape in enumerate(SHAPES)), make(20, (2, 4, 12, 2, 1, 8, 8), CROWD)]
KEYS = ("causal", "window 0", "window 1", "window 2", "window 4", "window 8", "window 100")
PAIRS = [*(make(60 + seed, shape, keys="segment") for seed, shape in enumerate(SHAPES)), make(80, (2, 4, 12, 2, 1, 8, 8), CROWD, keys="segment")]
PACKS = [*(make(90 + seed, shape, keys="pack") for seed, shape in enumerate(SHAPES)), make(110, (2, 4, 12, 2, 1, 8, 8), CROWD, keys="pack")]
RANGES = [
    *(make(30 + seed, shape, keys=KEYS[seed % len(KEYS)]) for seed, shape in enumerate(SHAPES)),
    *(make(50 + seed, (2, 4, 12, 2, 1, 8, 8), CROWD, keys=keys) for seed, keys in enumerate(("causal", "window 3"))),
]


@pytest.mark.parametrize("cases", corners_or_all(CASES, (0, 1, 3, 4, 5, 6, 7, 10, 11)))
@pytest.mark.parametrize(("stall_in", "stall_out"), STALLS)
def test_rtl_equals_golden(stall_in, stall_out, cases):
    assert check_units(cases, stall_in=stall_in, stall_out=stall_out) > 2000


def test_no_cycle_is_lost_between_rows_tokens_and_sentences():
    """The modelled cycles, which the RTL keeps exactly, are T*DIM/PE a row once the first values are there."""
    for seed, shape in enumerate(SHAPES):
        heads, width, longest, pe, lanes, *_ = shape
        if longest * lanes < pe:
            continue  # the values come, and the sums leave, too slowly
        case = make(seed, shape, lengths=(longest,) * 5)
        assert set(intervals(case)) == {longest * heads * width // pe}, shape
        assert longest * longest * heads * width // pe == context.interval(case.graph, case.node, case.fold, longest)


@pytest.mark.parametrize("cases", corners_or_all(RANGES, (0, 1, 3, 5, 11, 12)))
@pytest.mark.parametrize(("stall_in", "stall_out"), [(0.0, 0.0), (0.5, 0.5)])
def test_ranges_of_keys(stall_in, stall_out, cases):
    assert check_units(cases, stall_in=stall_in, stall_out=stall_out) > 2000


@pytest.mark.parametrize("cases", corners_or_all(PAIRS, (0, 3, 4, 6, 8, 10, 11)))
@pytest.mark.parametrize(("stall_in", "stall_out"), STALLS)
def test_sentences_of_a_pair(stall_in, stall_out, cases):
    """Where the second sentence's values begin, the first token's rows say."""
    assert check_units(cases, stall_in=stall_in, stall_out=stall_out) > 2000


@pytest.mark.parametrize("cases", corners_or_all(PACKS, (0, 3, 4, 6, 8, 10, 11)))
@pytest.mark.parametrize(("stall_in", "stall_out"), STALLS)
def test_sentences_of_a_pack(stall_in, stall_out, cases):
    """How long each is, its first token's rows say."""
    assert check_units(cases, stall_in=stall_in, stall_out=stall_out) > 1500


def test_a_key_that_is_not_seen_costs_no_cycle():
    """The modelled cycles are those of the keys that are seen, and so is `interval`; a fold is never shorter than its beats out."""
    for keys, spans in (("T", [9] * 9), ("causal", [1, 2, 3, 4, 5, 6, 7, 8, 9]), ("window 2", [3, 4, 5, 5, 5, 5, 5, 4, 3]), ("window 0", [1] * 9)):
        for pe, lanes in ((1, 1), (6, 2)):
            case = make(0, (2, 12, 9, pe, lanes, 8, 8), lengths=(9,) * 5, keys=keys)
            cycles = [24 // pe * max(span, pe // lanes) for span in spans]
            assert sum(intervals(case)[-9:]) == sum(cycles) == context.interval(case.graph, case.node, case.fold, 9), keys
            assert context.macs(case.graph, case.node, 9) == 24 * sum(spans)


def test_golden_by_hand():
    p = np.array([[[1, 2], [3, 0]], [[0, 1], [2, 2]]])
    assert context.context(p, np.array([[1, -1], [10, 5]]), 2, 100).tolist() == [[21, -3], [10, 8]]


def test_rows_that_no_softmax_bounds_are_refused():
    with pytest.raises(GraphError, match="p comes from table, must be a softmax"):
        make(0, SHAPES[0], producer="table")


# Shape, queries, heads side by side
QUERIES = ((0, 2, 1), (0, 3, 2), (2, 4, 1), (3, 2, 2), (4, 8, 1), (8, 2, 2), (10, 2, 1), (11, 5, 2), (11, 16, 1), (5, 4, 1))


def beside(case, queries, side):
    layout = Layout(channels=case.output.channels, blocks=case.node.attrs["heads"], side=side)
    layout = None if layout.plain else layout
    return filled(case, queries=queries, side=side, layout_in=layout, layout_out=layout)


@pytest.mark.parametrize("queries", corners_or_all(QUERIES, (1, 3, 6, 7, 9)))
@pytest.mark.parametrize(("stall_in", "stall_out"), STALLS)
def test_queries_side_by_side(stall_in, stall_out, queries):
    assert check_units([beside(CASES[index], *how) for index, *how in queries], stall_in=stall_in, stall_out=stall_out) > 1000


def heads_beside() -> list:
    """Each of all keys, then of a range of them."""
    cases = []
    for index, space, side, pe, lanes in ((0, 4, 2, 2, 1), (2, 4, 3, 4, 2), (5, 2, 2, 1, 1), (5, 2, 4, 2, 4), (6, 16, 2, 8, 16), (8, 14, 2, 7, 2)):
        heads, width, *_ = SHAPES[index]
        layout = Layout(channels=heads * width, blocks=heads, space=space, side=side)
        fold = {"layout_in": layout, "layout_out": layout, "side": side, "pe": pe, "lanes_in": lanes, "lanes_out": lanes}
        cases += [filled(case[index], **fold) for case in (CASES, RANGES)]
    return cases


@pytest.mark.parametrize("cases", corners_or_all(heads_beside(), (0, 1, 6, 10)))
@pytest.mark.parametrize(("stall_in", "stall_out"), [(0.0, 0.0), (0.5, 0.5)])
def test_heads_side_by_side(stall_in, stall_out, cases):
    assert check_units(cases, stall_in=stall_in, stall_out=stall_out) > 1000


FILLED = ((0, 6, 3, 1), (1, 4, 4, 2), (3, 8, 4, 2), (8, 15, 5, 5), (9, 21, 7, 7))  # shape, space of a head, PE, lanes


@pytest.mark.parametrize("ways", corners_or_all(FILLED, (0, 1, 2, 3)))
@pytest.mark.parametrize(("stall_in", "stall_out"), [(0.0, 0.0), (0.5, 0.5)])
def test_filled_heads_carry_the_same(stall_in, stall_out, ways):
    cases = []
    for index, space, pe, lanes in ways:
        heads, width, *_ = SHAPES[index]
        layout = Layout(channels=heads * width, blocks=heads, space=space)
        cases.append(filled(CASES[index], layout_in=layout, layout_out=layout, pe=pe, lanes_in=lanes, lanes_out=lanes))
    assert check_units(cases, stall_in=stall_in, stall_out=stall_out) > 1000
