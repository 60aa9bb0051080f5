# SPDX-License-Identifier: Apache-2.0
"""Labels of a checkpoint and of a data set are matched by name, whatever their order."""

import json
import string

import pytest
import torch
from random_models import random_float
from safetensors.torch import load_file

from bitloom.hw.errors import BitloomError
from bitloom.qat.baseline import load_float
from bitloom.qat.config import DistillConfig, QuantConfig, TrainConfig
from bitloom.qat.data import DataConfig
from bitloom.qat.labels import order_by_name
from bitloom.qat.networks import ModelConfig
from bitloom.qat.train import train

SMALL = ModelConfig(layers=1, hidden=16, heads=2, intermediate=32, max_tokens=16)


def layer(labels):
    made = torch.nn.Linear(2, labels)
    with torch.no_grad():
        made.weight[:, 0] = made.bias[:] = torch.arange(labels)
    return made


@pytest.mark.parametrize(
    ("theirs", "ours", "order", "told"),
    [
        (["neg", "pos"], ["neg", "pos"], [0, 1], None),
        (["NEG", "Pos "], ["neg", "pos"], [0, 1], None),
        (["pos", "neg"], ["neg", "pos"], [1, 0], "pos, neg, are put into the data set's order, neg, pos"),
        (["c", "a", "b"], ["a", "b", "c"], [1, 2, 0], "into the data set's order"),
        (["LABEL_0", "LABEL_1"], ["neg", "pos"], [0, 1], "have no names: logits 0 to 1 are taken as neg, pos"),
        (["0", "1", "2"], ["a", "b", "c"], [0, 1, 2], "have no names"),
        (["neg", "pos"], ["1", "0"], [1, 0], "the data set's labels are numbers: 0 is neg, 1 is pos"),
    ],
)
def test_rows_are_put_into_the_data_sets_order(theirs, ours, order, told):
    logits = layer(len(ours))
    notes = order_by_name(logits, theirs, ours, "ck")
    assert logits.bias.tolist() == logits.weight[:, 0].tolist() == order
    assert (notes == []) if told is None else (len(notes) == 1 and told in notes[0])


@pytest.mark.parametrize(("theirs", "ours"), [(["neg", "pos"], ["bad", "good"]), (["neg", "pos"], ["1", "2"]), (["a", "b", "c"], ["a", "a", "b"])])
def test_other_names_are_refused(theirs, ours):
    with pytest.raises(
        BitloomError, match=rf"ck: got labels {', '.join(theirs)}, must be the data set's \({', '.join(ours)}\), in any order; correct id2label"
    ):
        order_by_name(layer(len(ours)), theirs, ours, "ck")


@pytest.fixture
def permuted(tmp_path):
    """A checkpoint whose head and names are the other way round, and its first model."""
    model = random_float(SMALL)
    model.config.id2label, model.config.label2id = {0: "positive", 1: "negative"}, {"positive": 0, "negative": 1}
    model.save_pretrained(tmp_path)
    return tmp_path, model


def test_a_checkpoint_in_another_order(permuted):
    folder, model = permuted
    ids = torch.arange(5, 12)[None]
    loaded = load_float(folder, head="sequence", labels=2, names=["negative", "positive"])
    with torch.no_grad():
        assert torch.equal(loaded(ids).logits, model.eval()(ids).logits.flip(-1))
    assert "are put into the data set's order" in loaded.notes[0] and loaded.fresh == []
    config = folder / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"id2label": {"0": "good", "1": "bad"}, "label2id": {"good": 0, "bad": 1}}))
    with pytest.raises(BitloomError, match="got labels good, bad, must be the data set's"):
        load_float(folder, head="sequence", labels=2, names=["negative", "positive"])


def test_a_teacher_in_another_order_teaches_the_same(permuted, tmp_path):
    folder, model = permuted
    vocabulary = "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *string.ascii_lowercase, "the", "a", "film"])
    data, learned = DataConfig(max_train_examples=16, max_dev_examples=4, vocab=200), {}
    for turn, labels in enumerate((["positive", "negative"], ["negative", "positive"])):
        if turn:
            model.classifier.weight.data, model.classifier.bias.data = (p.data.flip(0) for p in (model.classifier.weight, model.classifier.bias))
        model.config.id2label, model.config.label2id = dict(enumerate(labels)), {label: i for i, label in enumerate(labels)}
        model.save_pretrained(folder)
        (folder / "vocab.txt").write_text(vocabulary + "\n")
        distill = DistillConfig(teacher=str(folder), alpha=1.0)
        training = TrainConfig(float_epochs=0, qat_epochs=1, max_steps=1, qat_learning_rate=1e-2, warmup_ratio=0, calibration_batches=1, distill=distill)
        train(SMALL, QuantConfig(), training, data, None, tmp_path / str(turn))
        learned[turn] = load_file(tmp_path / str(turn) / "qat" / "model.safetensors")["network.logits.weight"]
    assert torch.equal(learned[0], learned[1])


def test_a_teacher_without_a_head_is_refused(permuted, tmp_path):
    folder, model = permuted
    model.bert.save_pretrained(folder)
    training = TrainConfig(float_epochs=0, qat_epochs=1, max_steps=1, calibration_batches=1, distill=DistillConfig(teacher=str(folder)))
    data = DataConfig(max_train_examples=16, max_dev_examples=4, vocab=200)
    with pytest.raises(BitloomError, match="distill.teacher: got .* without a head for 2 labels, must have been trained on this task"):
        train(SMALL, QuantConfig(), training, data, None, tmp_path / "out")
