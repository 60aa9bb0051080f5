# SPDX-License-Identifier: Apache-2.0
"""Scores of a task from logits, by torchmetrics: float, quantized and golden model are judged by the same lines.

torchmetrics takes seconds to import, so that only what scores pays for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from bitloom.qat.answers import Answer
from bitloom.qat.data import METRICS, Metric

NAMES = tuple(dict.fromkeys(name for names in METRICS.values() for name in names))  # all that `score` may give
Scores = dict[str, float | None]


def score(metric: Metric, predictions: Sequence[Any], labels: Sequence[Any], *, classes: int | None = None, macro: bool = False) -> Scores:
    """The metric (first key) and its companions, all 0 .. 1 (correlations -1 .. 1); None where it is not defined.

    predictions, labels  classes (accuracy, f1, matthews), numbers (pearson, spearman), or answer texts against `Answer`s (span_f1, exact_match)
    classes  how many there are; as many as occur if not given
    macro    F1 is the mean over the classes even where there are two; else it is then that of class 1 (GLUE's rule for MRPC)

    F1 of class 1 is not defined without a row of class 1, a correlation (Matthews' too) where one side is constant.
    """
    if len(predictions) != len(labels) or not len(labels):
        raise ValueError(f"score: got {len(predictions)} predictions, must be {len(labels)}, one a label, and not 0")
    if metric in METRICS["span"]:
        return _first(metric, _spans(predictions, labels))
    if metric in METRICS["regression"]:
        return _first(metric, _correlations(predictions, labels))
    return _first(metric, _classes(metric, predictions, labels, classes, macro))


def _classes(metric: Metric, predictions: Sequence[int], labels: Sequence[int], classes: int | None, macro: bool) -> Scores:
    """Accuracy, and F1 or Matthews' coefficient where asked for."""
    from torchmetrics.functional import classification as of

    got, want = (torch.as_tensor(np.asarray(x), dtype=torch.int64) for x in (predictions, labels))
    classes = classes or max(2, int(max(got.max(), want.max())) + 1)
    values: Scores = {"accuracy": float(of.multiclass_accuracy(got, want, classes, average="micro"))}
    if metric == "f1" and (macro or classes > 2):  # the mean over the classes that occur on either side
        values["f1"] = float(of.multiclass_f1_score(got, want, classes, average="macro"))
    elif metric == "f1":
        values["f1"] = float(of.binary_f1_score(got, want)) if (want == 1).any() else None
    elif metric == "matthews":
        defined = len(got.unique()) > 1 and len(want.unique()) > 1
        coefficient = of.binary_matthews_corrcoef(got, want) if classes == 2 else of.multiclass_matthews_corrcoef(got, want, classes)
        values["matthews"] = float(coefficient) if defined else None
    return values


def score_logits(metric: Metric, logits: np.ndarray, labels: Sequence[Any]) -> Scores:
    """`score` of a sentence head's logits, [S, classes] or [S, 1]; a common scale of the logits does not matter."""
    logits = np.asarray(logits)
    if metric in METRICS["regression"]:
        return score(metric, logits[:, 0], labels)
    return score(metric, logits.argmax(1), labels, classes=logits.shape[1])


def score_words(metric: Metric, logits: np.ndarray, labels: Sequence[int]) -> Scores:
    """`score` of the logits of words, [words, classes]; F1 is the mean over the classes."""
    return score(metric, np.asarray(logits).argmax(1), labels, classes=logits.shape[1], macro=True)


def _first(metric: Metric, values: Scores) -> Scores:
    """The metric in front; seven digits, as many as torchmetrics' float32 holds."""
    rounded = {name: value if value is None else round(value, 7) for name, value in values.items()}
    return {metric: rounded[metric], **rounded}


def _correlations(predictions: Sequence[float], labels: Sequence[float]) -> Scores:
    """Pearson's and Spearman's."""
    from torchmetrics.functional.regression import pearson_corrcoef, spearman_corrcoef

    x, y = (torch.as_tensor(np.asarray(v, np.float64)) for v in (predictions, labels))
    if (x == x[0]).all() or (y == y[0]).all():
        return {"pearson": None, "spearman": None}
    return {"pearson": float(pearson_corrcoef(x, y)), "spearman": float(spearman_corrcoef(x, y))}


def _spans(predictions: Sequence[str], labels: Sequence[Answer]) -> Scores:
    """SQuAD's F1 and exact match: the best over the accepted answers, on normalized words (Rajpurkar et al. 2016)."""
    from torchmetrics.functional.text import squad

    got = [{"prediction_text": text, "id": str(i)} for i, text in enumerate(predictions)]
    want = [{"answers": {"text": answer.texts, "answer_start": answer.starts}, "id": str(i)} for i, answer in enumerate(labels)]
    values = squad(got, want)
    return {"span_f1": float(values["f1"]) / 100, "exact_match": float(values["exact_match"]) / 100}
