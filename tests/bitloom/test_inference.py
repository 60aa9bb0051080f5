# SPDX-License-Identifier: Apache-2.0
"""The answer of a per-token head, and what predict asks for."""

from types import SimpleNamespace

import numpy as np
import pytest

from bitloom import inference
from bitloom.qat.tokenizer import TextTokenizer

SPAN = SimpleNamespace(meta={"task": "span", "labels": []})


@pytest.fixture(scope="module")
def tokenizer():
    return TextTokenizer.train(["who met bob ann met bob"] * 4, 60)


def label(tokenizer, question, text, start, end):
    """start, end: {token: logit}; all others are 0."""
    window = tokenizer.window(question, text)
    logits = np.zeros((len(window.ids), 2))
    for column, values in enumerate((start, end)):
        for token, value in values.items():
            logits[token, column] = value
    return inference._answer(window, text, logits)


def test_an_answer_is_forward_and_from_the_text(tokenizer):
    """[CLS] who [SEP] ann met bob [SEP]: the highest logits lie outside the text, or end before they start."""
    assert label(tokenizer, "who", "Ann  met Bob", {0: 9, 1: 9, 4: 5}, {6: 9, 2: 9, 5: 5}) == "met Bob"
    assert label(tokenizer, "who", "ann met bob", {5: 5, 3: 2}, {3: 4}) == "ann"


def test_a_text_without_words_has_no_answer(tokenizer):
    assert label(tokenizer, "who", "", {}, {}) == ""


def test_a_question_needs_a_text(tmp_path, monkeypatch):
    monkeypatch.setattr(inference, "require_current", lambda *_: None)
    monkeypatch.setattr(inference.graph_file, "load", lambda folder: SPAN)
    run = SimpleNamespace(stage=lambda name: tmp_path, recipe=None, record=lambda name: {})
    with pytest.raises(inference.PredictError) as error:
        inference.predict(run, "who?")
    assert str(error.value) == "predict: got a question alone, must have a text that answers it; add --pair 'the text'"


def test_words_are_shown_with_their_labels():
    graph = SimpleNamespace(meta={"labels": ["LOC", "O"]})
    logits = np.array([[0, 9], [0, 1], [9, 0], [3, 2], [0, 9]])
    assert inference._tagged(graph, ["in", "Paris", "\x01"], [1, 3, None], logits) == "in/O Paris/LOC \x01/-"


def test_a_model_of_words_takes_no_pair(tmp_path, monkeypatch):
    monkeypatch.setattr(inference, "require_current", lambda *_: None)
    monkeypatch.setattr(inference.graph_file, "load", lambda folder: SimpleNamespace(meta={"task": "token_classification", "labels": []}))
    run = SimpleNamespace(stage=lambda name: tmp_path, recipe=None, record=lambda name: {})
    with pytest.raises(inference.PredictError, match="got --pair for a model that labels the words of one text, must be without; leave it out"):
        inference.predict(run, "Bob", "Ann")


@pytest.mark.parametrize("texts", [("",), (" \t",), ("\x01\u200b",), ("who met bob", ""), ("", "who")])
def test_a_text_without_a_word_is_refused(texts, tokenizer, tmp_path, monkeypatch):
    """A model gives a label for it, which would say nothing."""
    graph = SimpleNamespace(meta={"task": "classification", "labels": ["a", "b"], "pairs": len(texts) > 1}, entry="e", params={"e.word": range(1000)})
    monkeypatch.setattr(inference, "require_current", lambda *_: None)
    monkeypatch.setattr(inference.graph_file, "load", lambda folder: graph)
    monkeypatch.setattr(inference, "load_tokenizer", lambda folder: tokenizer)
    run = SimpleNamespace(stage=lambda name: tmp_path, recipe=None, record=lambda name: {})
    with pytest.raises(inference.PredictError, match="predict: got '.*', in which there is no word, must have one"):
        inference.predict(run, *texts)
