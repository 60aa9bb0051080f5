# SPDX-License-Identifier: Apache-2.0
"""The generated corpus: the same on any machine, a rule that counting words does not find, held-out combinations."""

import hashlib
import re

import pytest
import torch

from bitloom.qat.corpus import INTENSIFIERS, LABELS, NEGATIVE, NEGATORS, POSITIVE, SIZES, SUBJECTS, VERBS, generate

OPINIONS = "|".join(POSITIVE + NEGATIVE)
MODIFIERS = "|".join(sorted(INTENSIFIERS + NEGATORS, key=len, reverse=True))  # "not very" before "not"


def pairs(texts):
    """(modifier, opinion) and (subject, opinion) that stand together in one clause or fragment."""
    together = set()
    clause = re.compile(rf"the (\w+) (?:{'|'.join(VERBS)}) (?:({MODIFIERS}) )?({OPINIONS})\b")
    fragment = re.compile(rf"(?:({MODIFIERS}) )?\b({OPINIONS}) (\w+) (?:throughout|overall)")
    for text in texts:
        for subject, modifier, opinion in clause.findall(text):
            together |= {(subject, opinion), (modifier, opinion)}
        for modifier, opinion, subject in fragment.findall(text):
            together |= {(subject, opinion), (modifier, opinion)}
    return {pair for pair in together if pair[0]}


def bags(texts, words):
    """Occurrences of each word, [texts, words]."""
    index = {word: i for i, word in enumerate(words)}
    counts = torch.zeros(len(texts), len(words))
    for row, text in zip(counts, texts, strict=True):
        for word in text.split():
            row[index[word]] += 1
    return counts


def test_same_text_for_same_seed():
    """A change of the corpus is a change of every published figure: it must be meant."""
    texts, labels = generate("train", 2000)
    assert generate("train", 300) == (texts[:300], labels[:300])
    assert generate("train", 300, seed=1)[0] != texts[:300]
    assert hashlib.sha256("\n".join(texts + labels).encode()).hexdigest()[:16] == "35119b44dbe777bd"


def test_lengths_labels_and_no_review_in_both_splits():
    train, dev = generate("train"), generate("dev")
    assert (len(train[0]), len(dev[0])) == (SIZES["train"], SIZES["dev"])
    lengths = [len(re.findall(r"\w+", text)) for text in train[0] + dev[0]]
    assert min(lengths) == 3
    assert 30 <= max(lengths) <= 45
    assert not set(train[0]) & set(dev[0])
    for _, labels in (train, dev):
        assert set(labels) == set(LABELS)
        assert 0.45 < labels.count("positive") / len(labels) < 0.55


def test_held_out_split_combines_anew_what_training_knows_apart():
    train, dev = generate("train")[0], generate("dev")[0]
    seen, held_out = pairs(train), pairs(dev)
    assert len(held_out) > 200
    assert not seen & held_out
    assert {word for text in dev for word in text.split()} <= {word for text in train for word in text.split()}
    assert {word for pair in held_out for word in pair} <= {word for pair in seen for word in pair}
    assert {subject for subject, _ in seen} >= set(SUBJECTS)


@pytest.mark.parametrize(
    ("text", "label"),
    [
        # the rule, on reviews found in the corpus by their shape
        (rf"^the \w+ \w+ (?:not|never|hardly) (?:{'|'.join(NEGATIVE)}) \.$", "positive"),
        (rf"^the \w+ \w+ (?:not|never|hardly) (?:{'|'.join(POSITIVE)}) \.$", "negative"),
        (rf"^the \w+ \w+ (?:{'|'.join(POSITIVE)}) (?:, )?but the \w+ \w+ (?:{'|'.join(NEGATIVE)}) \.$", "negative"),
        (rf"^although the \w+ \w+ (?:{'|'.join(POSITIVE)}) , the \w+ \w+ (?:{'|'.join(NEGATIVE)}) \.$", "negative"),
        (rf"^the \w+ \w+ (?:{'|'.join(POSITIVE)}) , although the \w+ \w+ (?:{'|'.join(NEGATIVE)}) \.$", "positive"),
    ],
)
def test_rule(text, label):
    found = [got for review, got in zip(*generate("train"), strict=True) if re.match(text, review)]
    assert len(found) >= 5
    assert set(found) == {label}


def test_bag_of_words_does_not_solve_it():
    """Logistic regression on word counts: near 67 % of the held-out split."""
    train, dev = generate("train", 8000), generate("dev")
    words = sorted({word for text in train[0] + dev[0] for word in text.split()})
    x, x_dev = bags(train[0], words), bags(dev[0], words)
    y, y_dev = (torch.tensor([float(label == "positive") for label in labels]) for labels in (train[1], dev[1]))
    torch.manual_seed(0)
    model = torch.nn.Linear(len(words), 1)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(model(x)[:, 0], y) + 1e-4 * model.weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    accuracy = ((model(x_dev)[:, 0] > 0) == y_dev.bool()).float().mean().item()
    assert 0.5 < accuracy < 0.75, accuracy


def test_unknown_split():
    with pytest.raises(ValueError, match="got split 'test', must be one of train, dev"):
        generate("test")
