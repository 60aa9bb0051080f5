# SPDX-License-Identifier: Apache-2.0
"""Every operator's HLS header alone against its golden function: all bits, foldings and lengths in one program each."""

from dataclasses import replace

import numpy as np
import pytest
from csim_bench import check_headers
from operator_bench import Case, golden
from ops import test_add, test_context, test_first_token, test_layernorm, test_linear, test_requant, test_scores, test_softmax, test_table

from hls.project import PARALLEL
from hw.ops import OPS

DRAWN = 20  # random shapes of each operator in the slow sweep

# Besides the shapes that the RTL is tested with; the columns are those of tests/ops/test_<operator>.py.
ADD = [(6, 3, 16, 16, 16, True, True, 3, 2, 2), (4, 2, 3, 2, 2, True, True, 1, 1, 1)]
LINEAR = [(8, 4, 2, 4, 2, 2, 1, True, 3), (6, 6, 3, 2, 1, 1, 16, False, 8)]
REQUANT = [(4, 2, 14, 12, False, (100, 500), 10), (0, 1, 12, 2, True, 1, 9), (2, 2, 4, 2, True, (3, 7), 3), (3, 1, 8, 16, True, 9, 9)]
TABLE = [(8, 4, 1, True, 1, True, None), (8, 1, 3, True, 5, True, None), (8, 4, 4, False, 4, True, None), (6, 2, 6, True, 6, True, "gelu"),
         (4, 1, 7, False, 9, False, None), (4, 2, 9, True, 8, False, "relu"), (4, 4, 10, False, 16, True, None)]  # fmt: skip
SCORES = [(4, 4, 6, 1, 1, 2, 16), (2, 8, 7, 8, 8, 3, 4)]
CONTEXT = [(4, 4, 6, 4, 4, 12, 16), (3, 6, 1, 2, 1, 3, 4)]
SOFTMAX = [(9, 4, 7, 2**-4, 3, [9, 1, 4]), (12, 2, 8, 2**-4, 9, [1, 12, 12]), (5, 1, 10, 2**-7, 11, [5, 2]), (33, 1, 4, 2**-1, 10, [33, 2]),
           (512, 1, 5, 2**-2, 7, [512, 1])]  # fmt: skip
LAYERNORM = [(3, 1, 12, 12, 1e-12, [9, 1]), (2, 2, 8, 8, 1e-12, [9, 1]), (384, 4, 14, 3, 1e-12, [7, 1])]


def fitted(case: Case) -> Case:
    """max_tokens as long as the longest sentence: the loops' bounds are reached. Of attention it is in the constants already."""
    if case.node.op in ("scores", "softmax", "context"):
        return case
    return replace(case, graph=replace(case.graph, max_tokens=int(case.lengths.max())))


def layernorm_case(seed, *shape):
    """With the eight corner tokens of the RTL's test, for hidden sizes below 3 without the one that needs a third channel."""
    if shape[0] > 2:
        return test_layernorm.case(seed, *shape)
    case = test_layernorm.case(seed, 4, 1, *shape[2:])
    wide = case.graph
    x, y = (replace(wide.tensor(n), shape=("T", 2)) for n in ("x", "y"))
    node = replace(case.node, attrs=case.node.attrs | test_layernorm.layernorm.constants(x, shape[4]))
    params = {key: value[:2] for key, value in wide.params.items()}
    return replace(case, graph=replace(wide, nodes=(node,), tensors={"x": x, "y": y}, params=params).check(), data=(case.data[0][:, :2],),
                   fold=replace(case.fold, lanes_in=shape[1], lanes_out=shape[1]))


MAKERS = {
    "add": test_add.case,
    "linear": lambda seed, *shape: test_linear.make(seed, shape),
    "requant": lambda seed, *shape: test_requant.make(seed, shape),
    "table": test_table.case,
    "scores": lambda seed, *shape: test_scores.make(seed, shape),
    "context": lambda seed, *shape: test_context.make(seed, shape),
    "softmax": test_softmax.case,
    "layernorm": layernorm_case,
    "first_token": test_first_token.case,
}
OF_THE_RTL = {
    "add": test_add.cases,
    "linear": lambda: test_linear.CASES,
    "requant": lambda: test_requant.CASES + test_requant.EDGES,
    "table": lambda: [test_table.case(seed, *shape) for seed, shape in enumerate(test_table.SHAPES)],
    "scores": lambda: test_scores.CASES,
    "context": lambda: test_context.CASES,
    "softmax": test_softmax.cases,
    "layernorm": test_layernorm.cases,
    "first_token": lambda: [test_first_token.case(seed, *shape) for seed, shape in enumerate(test_first_token.SHAPES)],
}
MORE = {"add": ADD, "linear": LINEAR, "requant": REQUANT, "table": TABLE, "scores": SCORES, "context": CONTEXT, "softmax": SOFTMAX, "layernorm": LAYERNORM}


def cases(op: str) -> list[Case]:
    made = [*OF_THE_RTL[op](), *(MAKERS[op](100 + seed, *shape) for seed, shape in enumerate(MORE.get(op, [])))]
    return [fitted(case) for case in made]


def values(made: list[Case]) -> int:
    """All of them, twice where an operator works on arrays too."""
    return sum(golden(case).size * (2 if case.node.op in PARALLEL else 1) for case in made)


def test_every_operator_is_tested():
    assert set(MAKERS) == set(OPS) - {"embed"}


@pytest.mark.parametrize("op", MAKERS)
def test_header_equals_golden(op):
    made = cases(op)
    assert check_headers(made) == values(made) > 500


def test_the_widths_are_swept():
    """Between them the cases have what the graph allows."""
    made = {op: cases(op) for op in MAKERS}
    assert {case.node.attrs["weight_bits"] for case in made["linear"]} == set(range(1, 9))
    assert {case.graph.tensor("x").bits for case in made["table"]} == set(range(1, 11))
    assert {case.graph.tensor("x").bits for case in made["softmax"]} == set(range(2, 11))
    assert {case.output.bits for case in made["softmax"]} >= set(range(2, 13))
    assert {case.node.attrs["heads"] for op in ("scores", "context", "softmax") for case in made[op]} == {1, 2, 3, 4}
    assert {case.graph.tensor("x").channels for case in made["layernorm"]} >= {2, 384}
    for op, names in (("linear", "x"), ("table", "xy"), ("requant", "y"), ("add", "ab")):
        assert {case.graph.tensor(name).signed for case in made[op] for name in names} == {True, False}, op
    for op in MAKERS:
        lengths = [case.lengths for case in made[op]]
        assert any(n.min() == 1 for n in lengths) and all(n.max() == case.graph.max_tokens for n, case in zip(lengths, made[op], strict=True) if op != "softmax")


def _divisor(rng, number: int, multiple_of: int = 1) -> int:
    return int(rng.choice([d for d in range(multiple_of, number + 1, multiple_of) if number % d == 0]))


def _bits(rng, low: int, high: int) -> int:
    return int(rng.integers(low, high + 1))


def _lengths(rng, most: int) -> list[int]:
    return [1, most, *rng.integers(1, most + 1, 2).tolist()]


def draw_linear(rng):
    inputs, channels, lanes_in, lanes_out = int(rng.integers(1, 7)), int(rng.integers(1, 7)), int(rng.integers(1, 4)), int(rng.integers(1, 4))
    inputs, channels = inputs * lanes_in, channels * lanes_out
    return (inputs, channels, _divisor(rng, channels, lanes_out), _divisor(rng, inputs, lanes_in), lanes_in, lanes_out,
            _bits(rng, 1, 16), bool(rng.integers(2)), _bits(rng, 1, 8))  # fmt: skip


def draw_requant(rng):
    lanes, shift = int(rng.integers(1, 5)), int(rng.integers(0, 30))
    low = int(rng.integers(1, 1 << 15))
    mult = (low, int(rng.integers(low, 1 << 16))) if rng.integers(2) else low
    rows = not isinstance(mult, tuple) and rng.integers(2)
    return (0 if rows else lanes * int(rng.integers(1, 5)), 1 if rows else lanes, _bits(rng, 4, 40), _bits(rng, 1, 16), bool(rng.integers(2)), mult, shift)


def draw_add(rng):
    lanes = int(rng.integers(1, 5))
    return (lanes * int(rng.integers(1, 5)), lanes, *(_bits(rng, 2, 16) for _ in "aby"), bool(rng.integers(2)), bool(rng.integers(2)),
            int(rng.integers(1, 1 << _bits(rng, 1, 24))), int(rng.integers(1, 1 << _bits(rng, 1, 24))), _bits(rng, 0, 31))  # fmt: skip


def draw_table(rng):
    lanes = int(rng.integers(1, 5))
    return lanes * int(rng.integers(1, 5)), lanes, _bits(rng, 1, 10), bool(rng.integers(2)), _bits(rng, 1, 16), bool(rng.integers(2)), None


def draw_heads(rng):
    """Of scores and of context."""
    lanes = int(rng.integers(1, 4))
    width = lanes * int(rng.integers(1, 5))
    return _bits(rng, 1, 4), width, int(rng.integers(1, 13)), _divisor(rng, width, lanes), lanes, _bits(rng, 2, 12), _bits(rng, 2, 16)


def draw_softmax(rng):
    most, bits = int(rng.integers(1, 65)), _bits(rng, 2, 10)
    return most, _bits(rng, 1, 4), bits, 2.0 ** int(rng.integers(1 - bits, 4 - bits)), _bits(rng, 2, 12), _lengths(rng, most)


def draw_layernorm(rng):
    lanes = int(rng.integers(1, 5))
    return lanes * int(rng.integers(3, 100)), lanes, _bits(rng, 2, 16), _bits(rng, 2, 16), float(rng.choice([1e-12, 1e-5, 1e-3])), [8, *_lengths(rng, 8)]


def draw_first_token(rng):
    lanes = int(rng.integers(1, 6))
    return lanes * int(rng.integers(1, 9)), lanes, _bits(rng, 1, 16), _lengths(rng, 9)


DRAW = {"linear": draw_linear, "requant": draw_requant, "add": draw_add, "table": draw_table, "scores": draw_heads, "context": draw_heads,
        "softmax": draw_softmax, "layernorm": draw_layernorm, "first_token": draw_first_token}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("op", MAKERS)
def test_random_shapes(op):
    rng = np.random.default_rng(2000)
    made = [fitted(MAKERS[op](seed, *DRAW[op](rng))) for seed in range(DRAWN)]
    assert check_headers(made) == values(made) > 500
