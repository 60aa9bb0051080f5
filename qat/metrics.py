# SPDX-License-Identifier: Apache-2.0
"""Scores of a task from logits, in NumPy alone: float, quantized and golden model are judged by the same lines."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from bitloom.qat.data import Answer, Metric

NAMES = ("accuracy", "f1", "pearson", "spearman", "span_f1", "exact_match")  # all that `score` may give
ANSWER_TOKENS = 30  # longest answer considered
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def score(metric: Metric, predictions: Sequence[Any], labels: Sequence[Any]) -> dict[str, float]:
    """The metric (first key) and its companions, all 0 .. 1 (correlations -1 .. 1).

    predictions, labels  classes (accuracy, f1), numbers (pearson), or answer texts against `Answer`s (span_f1)
    """
    if len(predictions) != len(labels) or not len(labels):
        raise ValueError(f"score: got {len(predictions)} predictions, must be {len(labels)}, one a label, and not 0")
    return {"accuracy": _accuracy, "f1": _f1, "pearson": _correlations, "span_f1": _spans}[metric](predictions, labels)


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


def score_logits(metric: Metric, logits: np.ndarray, labels: Sequence[Any]) -> dict[str, float]:
    """`score` of a sentence head's logits, [S, classes] or [S, 1]; a common scale of the logits does not matter."""
    logits = np.asarray(logits)
    return score(metric, logits[:, 0] if logits.shape[1] == 1 else logits.argmax(1), labels)


def _accuracy(predictions: Sequence[int], labels: Sequence[int]) -> dict[str, float]:
    return {"accuracy": float((np.asarray(predictions) == np.asarray(labels)).mean())}


def _f1(predictions: Sequence[int], labels: Sequence[int]) -> dict[str, float]:
    """F1 of class 1 (GLUE's rule for MRPC)."""
    got, want = np.asarray(predictions) == 1, np.asarray(labels) == 1
    total = got.sum() + want.sum()
    return {"f1": float(2 * (got & want).sum() / total) if total else 0.0, **_accuracy(predictions, labels)}


def _correlations(predictions: Sequence[float], labels: Sequence[float]) -> dict[str, float]:
    """Pearson's and Spearman's; 0 where one side is constant."""
    x, y = np.asarray(predictions, float), np.asarray(labels, float)
    return {"pearson": _pearson(x, y), "spearman": _pearson(_ranks(x), _ranks(y))}


def _pearson(x: np.ndarray, y: np.ndarray) -> float:
    x, y = x - x.mean(), y - y.mean()
    norm = np.sqrt((x * x).sum() * (y * y).sum())
    return float((x * y).sum() / norm) if norm else 0.0


def _ranks(x: np.ndarray) -> np.ndarray:
    """Ranks from 0; equal values share the mean of theirs."""
    _, inverse, counts = np.unique(x, return_inverse=True, return_counts=True)
    ends = counts.cumsum()
    return ((ends - counts + ends - 1) / 2)[inverse]


def _spans(predictions: Sequence[str], labels: Sequence[Answer]) -> dict[str, float]:
    """SQuAD's F1 and exact match: the best over the accepted answers, on normalized words (Rajpurkar et al. 2016)."""
    f1 = [max(_overlap(got, text) for text in answer.texts) for got, answer in zip(predictions, labels, strict=True)]
    exact = [any(_words(got) == _words(text) for text in answer.texts) for got, answer in zip(predictions, labels, strict=True)]
    return {"span_f1": float(np.mean(f1)), "exact_match": float(np.mean(exact))}


def _words(text: str) -> list[str]:
    return _ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split()


def _overlap(got: str, want: str) -> float:
    a, b = _words(got), _words(want)
    common = sum((Counter(a) & Counter(b)).values())
    return 2 * common / (len(a) + len(b)) if common else float(a == b)
