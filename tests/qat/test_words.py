# SPDX-License-Identifier: Apache-2.0
"""Token classification: words and their labels from files, on tokens, in batches, and back to scores of words."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from bitloom.qat.data import DataConfig, DataError, load
from bitloom.qat.features import IGNORED, Collator, Features
from bitloom.qat.tokenizer import TextTokenizer, TruncationWarning
from bitloom.sentences import Sentences, score_all, score_some

ROWS = [(["Bob", "saw", "Paris"], ["PER", "O", "LOC"]), (["unheard", "Ann"], ["O", "PER"])]
SETTINGS = {"name": "ner", "task": "token_classification"}


def lines(rows):
    return "".join(json.dumps({"tokens": words, "tags": tags}) + "\n" for words, tags in rows)


def read(folder, rows=ROWS, **settings):
    for split in ("train", "dev"):
        (folder / f"{split}.jsonl").write_text(lines(rows))
    return load(DataConfig(**SETTINGS | settings), folder)


@pytest.fixture
def dataset(tmp_path):
    return read(tmp_path)


@pytest.fixture(scope="module")
def tokenizer():
    """Words of one token (bob, saw, paris, ann) and one of several (unheard)."""
    return TextTokenizer.train(["bob saw paris ann"] * 9 + ["unheard"], 60)


def test_rows_of_both_kinds_of_file_are_the_same(tmp_path, dataset):
    assert (dataset.train.texts, dataset.train.labels) == ([w for w, _ in ROWS], [[2, 1, 0], [1, 2]])
    assert (dataset.label_names, dataset.num_labels, dataset.metric, dataset.train.pairs) == (["LOC", "O", "PER"], 3, "accuracy", None)
    assert dataset.train.all_texts() == ["Bob saw Paris", "unheard Ann"]
    (tmp_path / "tsv").mkdir()
    for split in ("train", "dev"):
        text = "".join(f"{' '.join(words)}\t{' '.join(tags)}\n" for words, tags in ROWS)
        (tmp_path / "tsv" / f"{split}.tsv").write_text("tokens\ttags\n" + text)
    assert load(DataConfig(**SETTINGS), tmp_path / "tsv") == dataset
    given = read(tmp_path, labels=["O", "PER", "LOC"], metric="f1")
    assert (given.train.labels[0], given.metric) == ([1, 0, 2], "f1")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ((["a", "b"], ["O"]), r"train.jsonl:1: got 2 words in 'tokens' and 1 labels in 'tags', must be one label a word; correct the row"),
        (([], []), r"train.jsonl:1: got '\[\]' in 'tags', must be a list of words without blanks, not empty"),
        ((["a b"], ["O"]), r"got \"\['a b'\]\" in 'tokens', must be a list of words without blanks"),
        ((["a"], [1]), r"got '\[1\]' in 'tags', must be a list of words"),
        ((["a"], ["X"]), r"got label 'X', must be one of O, P"),
    ],
)
def test_bad_rows(tmp_path, row, message):
    with pytest.raises(DataError, match=message):
        read(tmp_path, [row, (["a", "b"], ["O", "P"])], **({"labels": ["O", "P"]} if row[1] == ["X"] else {}))


def test_the_label_is_on_a_words_first_token(dataset, tokenizer):
    features = Features(dataset, dataset.train, tokenizer, 24)
    assert features[0]["labels"] == [IGNORED, 2, 1, 0, IGNORED]
    pieces = len(features[1]["input_ids"]) - 3
    assert pieces > 2
    assert features[1]["labels"] == [IGNORED, 1, *[IGNORED] * (pieces - 1), 2, IGNORED]
    batch = Collator(tokenizer.pad_id)([features[0], features[1]])
    assert batch["labels"][0].tolist() == [IGNORED, 2, 1, 0] + [IGNORED] * (batch["input_ids"].shape[1] - 4)


def test_words_are_encoded_as_in_a_text(tokenizer):
    words = ["bob", "unheard", "paris"]
    assert tokenizer.encode_words([words]).ids == tokenizer.encode([" ".join(words)]).ids
    assert tokenizer.encode_words([["bob", "\x00", "ann"]]).first == [[1, None, 2]]  # nothing is left of a control character


def test_words_that_are_cut_off_are_said_and_do_not_count(dataset, tokenizer):
    with pytest.warns(TruncationWarning, match="1 of 2 texts are longer than 5 tokens and were cut, with 1 word; raise"):
        features = Features(dataset, dataset.train, tokenizer, 5)
    wrong = np.zeros((2, 5, 3))
    wrong[0, [1, 2, 3], [2, 1, 0]] = 1
    wrong[1, 1, 1] = 1  # `unheard`; `Ann` is cut off
    assert features.score(wrong) == {"accuracy": 1.0}


def logits(features, right):
    """Ragged logits; `right` of the words, from the first, get their own label, the others the next one."""
    out, seen = [], 0
    for item in features.items:
        row = np.zeros((len(item["input_ids"]), 3))
        for token, label in enumerate(item["labels"]):
            if label != IGNORED:
                row[token, label if seen < right else (label + 1) % 3] = 2
                seen += 1
        out.append(row)
    return out


def test_scores_count_words_ragged_or_padded(dataset, tokenizer):
    features = Features(dataset, dataset.train, tokenizer, 24)
    ragged = logits(features, 3)
    longest = max(features.lengths) + 2
    padded = np.full((2, longest, 3), IGNORED)
    for target, row in zip(padded, ragged, strict=True):
        target[: len(row)] = row
    assert features.score(ragged) == features.score(padded) == {"accuracy": pytest.approx(3 / 5)}
    features.metric = "f1"  # LOC: 1 of 1 and one false; O: one of two; PER: 1 of 2, and one false
    assert features.score(ragged)["f1"] == pytest.approx(np.mean([2 / 3, 2 / 3, 2 / 4]))


def test_the_golden_models_codes_are_scored_alike(dataset, tokenizer):
    features = Features(dataset, dataset.train, tokenizer, 24)
    codes = np.concatenate(logits(features, 4)).astype(int)
    graph = SimpleNamespace(outputs=["logits"], tensor=lambda name: SimpleNamespace(scale=0.5))
    assert score_all(features, graph, features.lengths, codes) == pytest.approx(4 / 5)
    keys = {"ids": "input_ids", "segments": "token_type_ids", "labels": "labels"}
    sentences = Sentences(**{key: [item[name] for item in features.items] for key, name in keys.items()})
    assert score_some(dataset, graph, sentences, codes) == pytest.approx(4 / 5)
