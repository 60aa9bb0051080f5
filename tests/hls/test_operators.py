# SPDX-License-Identifier: Apache-2.0
"""Every operator's HLS header alone against its golden function: all bits, foldings and lengths in one program each."""

import numpy as np
import pytest
from csim_bench import check_headers
from csim_cases import MAKERS, cases, fitted, values
from operator_bench import Case
from ops import test_linear

from bitloom.hw.ops import OPS, pattern

ENCODERS = ("add", "linear", "requant", "table", "scores", "context", "softmax", "layernorm", "first_token")
DRAWN = 20  # random shapes of each operator in the slow sweep


def test_every_operator_is_tested():
    assert set(MAKERS) == {stem for stem, op in OPS.items() if op.hls and not op.gate}


def corners(op: str) -> list[Case]:
    """Of linear's cases those of the RTL's plain tests, of the others' every second one."""
    made = cases(op)
    return [made[place] for place in test_linear.CORNERS] if op == "linear" else made[::2]


def test_the_headers_in_one_program():
    """The first and the last case of each."""
    made = [case for op in MAKERS for case in cases(op)[:: len(cases(op)) - 1]]
    assert check_headers(made) == values(made) > 3500


@pytest.mark.slow
@pytest.mark.parametrize("op", ENCODERS)
def test_header_equals_golden(op):
    made = corners(op)
    assert check_headers(made) == values(made) > 500


@pytest.mark.slow
@pytest.mark.parametrize("op", MAKERS)
def test_all_cases_with_the_sanitizers(op):
    made = cases(op)
    assert check_headers(made, sanitize=True) == values(made) > 20


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
        assert any(n.min() == 1 for n in lengths) and all(
            n.max() == case.graph.max_tokens for n, case in zip(lengths, made[op], strict=True) if op != "softmax"
        )


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


def draw_token_window(rng):
    kernel, lanes = int(rng.integers(2, 8)), int(rng.integers(1, 5))
    dilation = int(rng.integers(1, 1 + 15 // (kernel // 2)))
    stride = int(rng.integers(1, 6)) if kernel // 2 * dilation < 14 else 1
    return lanes * int(rng.integers(1, 6)), kernel, dilation, lanes, _bits(rng, 1, 16), bool(rng.integers(2)), _lengths(rng, 16), stride


def draw_window_max(rng):
    kernel, lanes = int(rng.integers(2, 9)), int(rng.integers(1, 5))
    return lanes * int(rng.integers(1, 6)), kernel, int(rng.integers(1, kernel + 1)), lanes, _bits(rng, 1, 16), bool(rng.integers(2)), _lengths(rng, 16)


def draw_window_mean(rng):
    return *draw_window_max(rng), _bits(rng, 2, 16), int(rng.integers(-3, 3))


def draw_upsample(rng):
    shape = draw_add(rng)
    return shape[0], int(rng.integers(2, 9)), *shape[1:], _lengths(rng, 16)


def draw_token_max(rng):
    lanes = int(rng.integers(1, 5))
    return lanes * int(rng.integers(1, 6)), lanes, _bits(rng, 2, 16), bool(rng.integers(2)), _lengths(rng, 20)


def draw_token_mean(rng):
    shape = draw_token_max(rng)
    return *shape, _bits(rng, 2, 16), int(rng.integers(-3, 3)), int(rng.integers(max(shape[-1]), 65))


def draw_concat(rng):
    lanes, tokens = int(rng.integers(1, 5)), bool(rng.integers(2))
    a, b = (lanes * int(rng.integers(1, 6)) for _ in "ab")
    return "T" if tokens else 1, a, b, lanes, _bits(rng, 1, 16), bool(rng.integers(2)), _lengths(rng, 12)


def draw_lstm(rng):
    lanes_in, lanes_out = int(rng.integers(1, 4)), int(rng.integers(1, 4))
    simd = lanes_in * lanes_out * int(rng.integers(1, 3))
    inputs, hidden = (simd * int(rng.integers(1, 3)) for _ in "xh")
    act = _bits(rng, 2, 8)
    return (inputs, hidden, 4 * _divisor(rng, hidden, lanes_out), simd, lanes_in, lanes_out, 1, _bits(rng, 2, 16), bool(rng.integers(2)), _bits(rng, 1, 8),
            _bits(rng, 2, 2 * act), _bits(rng, 4, 10), act, _bits(rng, 8, 16), _bits(rng, 4, 10), bool(rng.integers(2)), bool(rng.integers(2)))  # fmt: skip


def draw_border(rng):
    lanes, lengths = int(rng.integers(1, 5)), _lengths(rng, 16)
    return lanes * int(rng.integers(1, 6)), lanes, _bits(rng, 2, 16), [(n, int(rng.integers(0, n + 1))) for n in lengths * 40]


def draw_pattern(rng):
    lanes = int(rng.integers(1, 5))
    names = rng.choice(list(pattern.PATTERNS), lanes * int(rng.integers(1, 3)))
    return " ".join(names), int(rng.integers(1, 5)), lanes, _bits(rng, 2, 16)


def draw_keep_tokens(rng):
    lanes, side = int(rng.integers(1, 5)), int(rng.integers(1, 4))
    heads = side * int(rng.integers(1, 3))
    return lanes * int(rng.integers(1, 6)), lanes, _bits(rng, 2, 16), heads, side, 1, _bits(rng, 2, 8), int(rng.integers(1, 257)), _lengths(rng, 12)


DRAW = {"linear": draw_linear, "requant": draw_requant, "add": draw_add, "table": draw_table, "scores": draw_heads, "context": draw_heads,
        "softmax": draw_softmax, "layernorm": draw_layernorm, "first_token": draw_first_token, "token_window": draw_token_window,
        "token_max": draw_token_max, "token_mean": draw_token_mean, "concat": draw_concat, "lstm": draw_lstm,
        "border": draw_border, "pattern": draw_pattern, "keep_tokens": draw_keep_tokens,
        "window_max": draw_window_max, "window_mean": draw_window_mean, "upsample": draw_upsample}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("op", MAKERS)
def test_random_shapes(op):
    rng = np.random.default_rng(2000)
    made = [fitted(MAKERS[op](seed, *DRAW[op](rng))) for seed in range(DRAWN)]
    assert check_headers(made, sanitize=True) == values(made) > 200
