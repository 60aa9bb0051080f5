# SPDX-License-Identifier: Apache-2.0
"""Labels that are missing, in one split only or all alike, and scores that cannot be: told, never a wrong number."""

import json

import pytest

from bitloom.qat.config import QuantConfig, TrainConfig
from bitloom.qat.data import DataConfig, DataError, load
from bitloom.qat.files import DataWarning
from bitloom.qat.networks import ModelConfig
from bitloom.qat.splits import remarks, undefined
from bitloom.qat.train import train

TEXTS = ("a good film", "a bad film", "a film", "the film")


def write(folder, **labels):
    """SPLIT.jsonl of rows with these labels; a row without one where it is Ellipsis."""
    for split, values in labels.items():
        rows = [{"sentence1": TEXTS[i % 4]} | ({} if value is ... else {"label": value}) for i, value in enumerate(values)]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def read(folder, **settings):
    return load(DataConfig(name="mine", **settings), folder)


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("", "got label '', must be a gold label; leave out rows without one"),
        ("  ", "got label '', must be a gold label"),
        (-1, "got label '-1', must be a gold label; leave out rows without one, or name all labels in data.labels if it is one"),
        ("-", "got label '-', must be a gold label"),
        (None, "got null in 'label', must have a value; leave the row out"),
        (..., "got columns sentence1, must have 'label'"),
    ],
)
@pytest.mark.parametrize("settings", [{}, {"labels": ["0", "1"]}])
def test_rows_without_a_gold_label_are_refused(tmp_path, label, message, settings):
    write(tmp_path, train=[0, 1, label], dev=[0, 1])
    with pytest.raises(DataError) as caught:
        read(tmp_path, **settings)
    if settings and label not in (None, ...):
        message = f"got label '{str(label).strip()}', must be one of 0, 1"
    assert f"train.jsonl:3: {message}" in str(caught.value)


def test_minus_one_is_a_label_where_the_list_has_it(tmp_path):
    assert read(write(tmp_path, train=[-1, 0, 1], dev=[1, -1]), labels=["-1", "0", "1"]).train.labels == [0, 1, 2]
    assert read(tmp_path, task="regression").train.labels == [-1.0, 0.0, 1.0]


def test_more_labels_than_any_classification_has(tmp_path):
    write(tmp_path, train=range(1001), dev=[0, 1])
    with pytest.raises(DataError, match=r"train.jsonl:1: got 1,001 different labels in 'label', must be at most 1000; set data.label to another column"):
        read(tmp_path)


def test_labels_that_are_measured_are_no_classes(tmp_path):
    write(tmp_path, train=[1.5, 2], dev=[2])
    with pytest.raises(DataError, match=r"train.jsonl:1: got numbers as labels \(1.5, 2, ...\), must be classes; set data.task: regression"):
        read(tmp_path)
    assert read(tmp_path, task="regression").train.labels == [1.5, 2.0]
    assert read(tmp_path, labels=["1.5", "2"]).train.labels == [0, 1]
    write(tmp_path, train=[0.0, 1.0], dev=[0.0])
    assert read(tmp_path).label_names == ["0.0", "1.0"]


def test_the_order_of_a_hub_sets_labels_is_its_own(monkeypatch):
    import datasets

    features = datasets.Features({"sentence": datasets.Value("string"), "label": datasets.ClassLabel(names=["world", "arts", "sport"])})
    made = datasets.Dataset.from_dict({"sentence": ["a", "b"], "label": [0, 1]}, features=features)
    monkeypatch.setattr(datasets, "load_dataset", lambda *source, split: made)
    data = load(DataConfig(name="news"))
    assert (data.label_names, data.train.labels) == (["world", "arts", "sport"], [0, 1])
    assert remarks(data) == ["data: no row has the label 'sport': its logit is never right"]
    assert load(DataConfig(name="news", labels=["sport", "arts", "world"])).train.labels == [2, 1]


ABC = {"labels": ["a", "b", "c"]}


@pytest.mark.parametrize(
    ("splits", "settings", "told"),
    [
        ({"train": "aabb", "dev": "ab"}, {}, []),
        ({"train": "aabb", "dev": "abcc"}, ABC, ["data: no training row has the label 'c', and 2 development rows do: it cannot be learned"]),
        ({"train": "abc", "dev": "ab"}, {}, ["data: no development row has the label 'c': no score tells how well it is learned"]),
        ({"train": "ab", "dev": "bbb"}, {}, ["data: all 3 development rows have the label 'b': scores on them say little"]),
        ({"train": [1, 2], "dev": [3, 3]}, {"task": "regression"}, ["data: all 2 development rows have the number 3: pearson is not defined on them"]),
        ({"train": [1, 2], "dev": [3, 4]}, {"task": "regression"}, []),
        ({"train": [*map(str, range(9))], "dev": "01"}, {},
         ["data: no development row has the label '2', '3', '4', '5', '6' and 2 more: no score tells how well it is learned"]),
    ],
)  # fmt: skip
def test_what_the_splits_say_of_each_other(tmp_path, splits, settings, told):
    assert remarks(read(write(tmp_path, **splits), **settings)) == told


def test_a_class_of_the_development_split_alone_needs_to_be_named(tmp_path):
    with pytest.raises(DataError, match=r"dev.jsonl:2: got label 'c', must be one of a, b; correct the row or set data.labels"):
        read(write(tmp_path, train="ab", dev="ac"))


def test_labels_of_words_are_counted_too(tmp_path):
    for split, tags in (("train", ["O", "PER"]), ("dev", ["O", "O"])):
        (tmp_path / f"{split}.jsonl").write_text(json.dumps({"tokens": ["a", "b"], "tags": tags}) + "\n")
    assert remarks(read(tmp_path, task="token_classification")) == ["data: all 2 development rows have the label 'O': scores on them say little"]


@pytest.mark.filterwarnings("ignore::bitloom.qat.tokenizer.TruncationWarning")
def test_a_score_that_is_not_defined_is_none_and_its_reason_a_note(tmp_path):
    write(tmp_path, train=["a", "b"] * 8, dev=["a", "a"])
    model = ModelConfig(layers=1, hidden=4, heads=1, intermediate=4, max_tokens=8)
    training = TrainConfig(float_epochs=0, qat_epochs=0, calibration_batches=1)
    with pytest.warns(DataWarning, match="all 2 development rows have the label 'a'"):
        metrics = train(model, QuantConfig(), training, DataConfig(name="mine", metric="matthews", vocab=60), tmp_path, tmp_path / "out")
    assert metrics["float"] is metrics["qat"] is None
    assert metrics["notes"] == [f"matthews of the {name} model is not defined: all development rows have the same label" for name in ("float", "quantized")]


def test_reasons(tmp_path):
    write(tmp_path, train="ab", dev="aab")
    assert undefined(read(tmp_path, metric="matthews"), "float").endswith("its answer to all development rows is the same")
    write(tmp_path, dev="aa")
    assert undefined(read(tmp_path, metric="f1"), "float").endswith("no development row has the label 'b'")
