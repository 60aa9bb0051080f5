# SPDX-License-Identifier: Apache-2.0
"""Operators' cases for their HLS headers: those of the RTL's tests, and more widths."""

from __future__ import annotations

from dataclasses import replace

from operator_bench import Case, carried, golden
from ops import (
    test_add,
    test_border,
    test_concat,
    test_context,
    test_first_token,
    test_keep_tokens,
    test_layernorm,
    test_linear,
    test_lstm,
    test_pattern,
    test_requant,
    test_scores,
    test_softmax,
    test_table,
    test_token_max,
    test_token_mean,
    test_token_window,
    test_upsample,
    test_window_max,
    test_window_mean,
)

from bitloom.hls.dataflow import PARALLEL
from bitloom.hw import graph_file

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
    return replace(
        case,
        graph=graph_file.check(replace(wide, nodes=(node,), tensors={"x": x, "y": y}, params=params)),
        data=(case.data[0][:, :2],),
        fold=replace(case.fold, lanes_in=shape[1], lanes_out=shape[1]),
    )


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
    "token_window": test_token_window.case,
    "token_max": test_token_max.case,
    "token_mean": test_token_mean.case,
    "concat": test_concat.case,
    "lstm": lambda seed, *shape: test_lstm.make(seed, shape),
    "border": test_border.case,
    "pattern": test_pattern.case,
    "keep_tokens": test_keep_tokens.case,
    "window_max": test_window_max.case,
    "window_mean": test_window_mean.case,
    "upsample": test_upsample.case,
}
OF_THE_RTL = {
    "add": test_add.cases,
    "linear": lambda: test_linear.CASES,
    "requant": lambda: test_requant.CASES + test_requant.EDGES,
    "table": lambda: [test_table.case(seed, *shape) for seed, shape in enumerate(test_table.SHAPES)],
    "scores": lambda: test_scores.RANGES[:4] + test_scores.PAIRS[:4] + test_scores.CASES,
    "context": lambda: test_context.RANGES[:4] + test_context.PAIRS[:4] + test_context.CASES,
    "softmax": lambda: test_softmax.cases() + test_softmax.cases(("causal", "window 1", "window 5"))[:3],
    "layernorm": test_layernorm.cases,
    "first_token": lambda: [test_first_token.case(seed, *shape) for seed, shape in enumerate(test_first_token.SHAPES)],
    "token_window": test_token_window.cases,
    "window_max": test_window_max.cases,
    "window_mean": test_window_mean.cases,
    "upsample": test_upsample.cases,
    "token_max": test_token_max.cases,
    "token_mean": test_token_mean.cases,
    "concat": test_concat.cases,
    "lstm": lambda: test_lstm.CASES[: len(test_lstm.SHAPES)] + test_lstm.filled_cases(),
    "border": lambda: [test_border.case(seed, *shape) for seed, shape in enumerate(test_border.SHAPES)],
    "pattern": lambda: [test_pattern.case(seed, *shape) for seed, shape in enumerate(test_pattern.SHAPES)] + test_pattern.filled_cases(),
    "keep_tokens": lambda: [test_keep_tokens.case(seed, *shape, few=few) for seed, shape in enumerate(KEPT) for few in (0, 2)],
}
KEPT = [(*shape[:5], 1, *shape[6:]) for shape in test_keep_tokens.SHAPES]  # a token at a time
MORE = {"add": ADD, "linear": LINEAR, "requant": REQUANT, "table": TABLE, "scores": SCORES, "context": CONTEXT, "softmax": SOFTMAX, "layernorm": LAYERNORM}


def cases(op: str) -> list[Case]:
    """All cases of an operator."""
    made = [*OF_THE_RTL[op](), *(MAKERS[op](100 + seed, *shape) for seed, shape in enumerate(MORE.get(op, [])))]
    return [fitted(case) for case in made]


def values(made: list[Case]) -> int:
    """All of them, twice where an operator works on arrays too."""
    return sum(carried(case.output, golden(case), case.lengths, case.borders) * (2 if case.node.op in PARALLEL else 1) for case in made)
