# SPDX-License-Identifier: Apache-2.0
"""Answers in a text: which tokens are a question's target, which tokens are a model's answer, whatever the windows."""

from types import SimpleNamespace

import numpy as np
import pytest

from bitloom.qat.answers import Answer
from bitloom.qat.data import Examples
from bitloom.qat.features import Features
from bitloom.qat.spans import ANSWER_TOKENS, best_answers, best_span
from bitloom.qat.tokenizer import Window

CONTEXT = "a redfox ran"  # `redfox` is two tokens without a blank between
OFFSETS = [None, (0, 1), (2, 5), (5, 8), (9, 12), None]


def window(offsets, example=0):
    return Window(example, [0] * len(offsets), [0] * len(offsets), offsets)


@pytest.mark.parametrize(
    ("text", "target"),
    [("red", (2, 2)), ("fox", (3, 3)), ("redfox", (2, 3)), ("ed", (2, 2)), ("fo", (3, 3)), ("redfox ran", (2, 4)), ("a", (1, 1)), (CONTEXT, (1, 4))],
)
def test_a_target_is_the_tokens_that_hold_the_answer(text, target):
    """Or (0, 0) in a window that does not hold all of it."""
    windows = [window(OFFSETS), window([None, *OFFSETS[1:3], None]), window([None, *OFFSETS[3:]]), window([None, None])]
    dataset = SimpleNamespace(metric="span_f1", task="span")
    examples = Examples(["what?"], [CONTEXT], [Answer([text, "ran"], [CONTEXT.index(text), 9])])
    items = Features(dataset, examples, SimpleNamespace(windows=lambda *_, **__: windows), 8).items
    left = {"red": (2, 2), "ed": (2, 2), "a": (1, 1)}.get(text, (0, 0))
    right = {"fox": (1, 1), "fo": (1, 1)}.get(text, (0, 0))
    assert [(item["start_positions"], item["end_positions"]) for item in items] == [target, left, right, (0, 0)]


def test_no_answer_is_longer_than_any_may_be():
    start, end = np.zeros(50), np.zeros(50)
    start[10], end[10 + ANSWER_TOKENS], end[9 + ANSWER_TOKENS] = 9, 9, 5
    assert best_span(start, end, range(3, 50)) == (14, 10, 9 + ANSWER_TOKENS)


def test_the_surest_window_decides_in_any_order_and_those_without_text_are_passed_over():
    windows = [window(OFFSETS), window([None, None]), window(OFFSETS), window([None, None], 1)]
    start, end = np.zeros((2, 4, 6))
    start[:, 1], end[0, 3], end[2, 1] = 3, 9, 5
    examples = Examples(["what?"] * 2, [CONTEXT] * 2, [Answer(["a"], [0])] * 2)
    assert best_answers(windows, examples, start, end) == ["a redfox", ""]
    assert best_answers(windows[::-1], examples, start[::-1], end[::-1]) == ["a redfox", ""]


def test_a_tokens_blank_is_no_part_of_an_answer():
    """Of SentencePiece's and RoBERTa's tokens, which begin with it."""
    examples = Examples(["what?"], [CONTEXT], [Answer(["redfox"], [2])])
    assert best_answers([window([(1, 8)])], examples, np.ones((1, 1)), np.ones((1, 1))) == ["redfox"]
