# SPDX-License-Identifier: Apache-2.0
"""Answers of a span head from its logits, in NumPy alone: `predict` needs them without torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bitloom.qat.data import Examples
from bitloom.qat.tokenizer import Window

ANSWER_TOKENS = 30  # longest answer considered


def best_span(start: np.ndarray, end: np.ndarray, tokens: Sequence[int]) -> tuple[float, int, int]:
    """(sum of logits, first, last token) of the best answer among `tokens`: first <= last, at most ANSWER_TOKENS long.

    start, end  logits of all tokens, [T]
    """
    tokens = np.asarray(tokens)
    sums = start[tokens][:, None].astype(np.float64) + end[tokens][None, :]
    order = np.subtract.outer(tokens, tokens)  # first - last
    sums[(order > 0) | (order <= -ANSWER_TOKENS)] = -np.inf
    i, j = np.unravel_index(sums.argmax(), sums.shape)
    return float(sums[i, j]), int(tokens[i]), int(tokens[j])


def best_answers(windows: Sequence[Window], examples: Examples, start: np.ndarray, end: np.ndarray) -> list[str]:
    """The text between the start and end tokens of the highest sum of logits, over all windows of each example.

    start, end  logits, each [windows, >= longest window]
    """
    best = [(-np.inf, "")] * len(examples)
    for window, s, e in zip(windows, start, end, strict=True):
        tokens = np.array([i for i, span in enumerate(window.offsets) if span])
        if not len(tokens):
            continue
        value, i, j = best_span(s, e, tokens)
        if value > best[window.example][0]:
            first, last = window.offsets[i][0], window.offsets[j][1]
            best[window.example] = (value, examples.pairs[window.example][first:last].strip())  # SentencePiece's words hold their blank
    return [text for _, text in best]
