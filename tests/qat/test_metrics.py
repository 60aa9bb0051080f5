# SPDX-License-Identifier: Apache-2.0
"""Scores against SciPy, and against values worked out by hand from the tasks' published rules."""

import subprocess
import sys

import numpy as np
import pytest
import scipy.stats

from bitloom.qat.answers import Answer
from bitloom.qat.data import METRICS, DataConfig, Examples
from bitloom.qat.metrics import score, score_logits, score_words
from bitloom.qat.spans import best_answers
from bitloom.qat.tokenizer import Window


def test_correlations_agree_with_scipy():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 6, 50).astype(float)  # many ties
    y = x + rng.normal(size=50)
    got = score("pearson", x, y)
    assert list(got) == ["pearson", "spearman"]
    assert got["pearson"] == pytest.approx(scipy.stats.pearsonr(x, y).statistic)
    assert got["spearman"] == pytest.approx(scipy.stats.spearmanr(x, y).statistic)
    assert list(score("spearman", x, y)) == ["spearman", "pearson"]


def test_accuracy_and_f1():
    """3 hits among 4 said and 5 true: F1 = 2*3 / (4+5)."""
    got, want = [1, 1, 1, 1, 0, 0, 0], [1, 1, 1, 0, 1, 1, 0]
    assert score("f1", got, want) == {"f1": pytest.approx(6 / 9), "accuracy": pytest.approx(4 / 7)}
    assert score("accuracy", [2, 1], [2, 0]) == {"accuracy": 0.5}


def test_f1_over_three_classes_is_the_mean_over_the_classes():
    """Class 0: 2*1/(2+2), class 1: 2*2/(2+2), class 2: 0 of one said and one true."""
    got, want = [0, 1, 1, 2, 0], [0, 1, 1, 0, 2]
    assert score("f1", got, want)["f1"] == pytest.approx((0.5 + 1 + 0) / 3)
    assert score("f1", [0, 1], [0, 0], classes=3)["f1"] == pytest.approx((2 / 3 + 0) / 2)  # class 2 does not occur
    assert score_words("f1", np.array([[1, 0], [0, 1], [0, 1]]), [0, 0, 1])["f1"] == pytest.approx(2 / 3)  # of two classes too


def test_matthews_of_two_and_of_more_classes():
    """TP 2, TN 1, FP 1, FN 1: (2*1 - 1*1) / sqrt(3 * 3 * 2 * 2)."""
    got, want = [1, 1, 0, 1, 0], [1, 1, 0, 0, 1]
    assert score("matthews", got, want) == {"matthews": pytest.approx(1 / 6), "accuracy": pytest.approx(0.6)}
    assert score("matthews", [0, 1, 2], [0, 1, 2])["matthews"] == pytest.approx(1)
    assert score("matthews", [0, 1, 2, 0], [1, 2, 0, 1])["matthews"] < 0


@pytest.mark.parametrize(
    ("metric", "got", "want"),
    [
        ("pearson", [1.0, 1.0], [1.0, 2.0]),
        ("spearman", [1.0, 2.0], [3.0, 3.0]),
        ("matthews", [0, 0, 0], [0, 1, 1]),
        ("matthews", [0, 1, 0], [1, 1, 1]),
        ("f1", [0, 1], [0, 0]),
    ],
)
def test_what_is_not_defined_is_none_and_not_zero(metric, got, want):
    assert score(metric, got, want)[metric] is None


@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        ({"task": "regression", "metric": "accuracy"}, "got 'accuracy', must be pearson or spearman for a regression task"),
        ({"metric": "pearson"}, "got 'pearson', must be accuracy or f1 or matthews for a classification task"),
        ({"name": "squad", "metric": "f1"}, "got 'f1', must be span_f1 or exact_match for a span task"),
    ],
)
def test_a_metric_of_another_task_is_refused(settings, rule):
    with pytest.raises(ValueError, match=rule):
        DataConfig(**settings)


def test_every_task_scores_each_of_its_metrics_first():
    rows = {"classification": ([1, 0, 1], [1, 0, 0]), "regression": ([1.0, 2.0], [0.5, 2.0]), "span": (["a"], [Answer(["a"], [0])])}
    for task, (got, want) in rows.items():
        for metric in METRICS[task]:
            assert next(iter(score(metric, got, want))) == metric


def test_predict_does_without_torch():
    """It takes seconds to import."""
    code = "import sys, bitloom.inference; print(sorted({'torch', 'torchmetrics', 'transformers'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_logits_of_any_scale():
    logits = np.array([[3, -1], [0, 5]])
    assert score_logits("accuracy", logits, [0, 0]) == score_logits("accuracy", 7 * logits, [0, 0]) == {"accuracy": 0.5}
    assert score_logits("pearson", np.array([[1], [2], [4]]), [0.5, 1.0, 2.0])["pearson"] == pytest.approx(1)


def test_spans_as_squad_counts_them():
    """Articles, case and punctuation do not count; the best accepted answer does."""
    answers = [Answer(["The Cat!", "dog"], [0, 0]), Answer(["red big house"], [0]), Answer(["x"], [0])]
    got = score("span_f1", ["a cat", "big house", "y"], answers)
    assert got["exact_match"] == pytest.approx(1 / 3)
    assert got["span_f1"] == pytest.approx((1 + 2 * (1 * 2 / 3) / (1 + 2 / 3) + 0) / 3)


def test_best_answer_over_windows():
    """The end does not come before the start, question tokens are no answer, and the surest window decides."""
    context = "ann met bob"
    offsets = [None, (0, 3), (4, 7), (8, 11)]
    windows = [Window(0, [0] * 4, [0] * 4, offsets), Window(0, [0] * 4, [0] * 4, offsets)]
    examples = Examples(["who?"], [context], [Answer(["bob"], [8])])
    start = np.array([[9.0, 0, 0, 3], [9.0, 1, 2, 0]])
    end = np.array([[9.0, 5, 0, 1], [9.0, 0, 0, 5]])
    assert best_answers(windows[:1], examples, start[:1], end[:1]) == ["ann"]  # 0 + 5, not the backward 3 + 5
    assert best_answers(windows, examples, start, end) == ["met bob"]  # 2 + 5 of the second window


def test_nothing_to_score():
    with pytest.raises(ValueError, match="got 0 predictions, must be 0, one a label, and not 0"):
        score("accuracy", [], [])
