# SPDX-License-Identifier: Apache-2.0
"""Data sets from files, from the (stubbed) hub and from the generator; each kind of bad input is one clear error."""

import gzip
import json

import pytest
from pydantic import ValidationError

from bitloom.qat.answers import Answer
from bitloom.qat.data import KNOWN, DataConfig, DataError, load

TABLE = 'idx\tsentence1\tlabel\n0\ta "quoted start\tnegative\n1\tgood\u2028one\tpositive\n'


def write(folder, files):
    """Files by path; .gz ones are compressed."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        raw = text.encode() if isinstance(text, str) else text
        path.write_bytes(gzip.compress(raw, mtime=0) if name.endswith(".gz") else raw)
    return folder


def read(folder, **settings):
    return load(DataConfig(**{"name": "sst2", **settings}), folder)


@pytest.mark.parametrize("where", ["sst2/{}.tsv.gz", "{}.tsv.gz", "sst2/{}.tsv", "{}.tsv"])
def test_tsv_in_each_place(tmp_path, where):
    """No quoting; only a line feed ends a row."""
    data = read(write(tmp_path, {where.format("train"): TABLE, where.format("dev"): TABLE}))
    assert data.train.texts == ['a "quoted start', "good\u2028one"]
    assert (data.train.labels, data.label_names, data.num_labels) == ([0, 1], ["negative", "positive"], 2)
    assert data.train.pairs is None


def test_jsonl_span(tmp_path):
    row = {"id": "a", "question": "who?", "context": "it was ann", "answers": {"text": ["ann"], "answer_start": [7]}}
    data = read(write(tmp_path, {f"squad/{s}.jsonl.gz": json.dumps(row) + "\n" for s in ("train", "dev")}), name="squad")
    assert (data.dev.texts, data.dev.pairs, data.dev.labels) == (["who?"], ["it was ann"], [Answer(["ann"], [7])])
    assert (data.task, data.metric, data.num_labels) == ("span", "span_f1", 2)


def test_regression_and_unknown_sets(tmp_path):
    rows = "sentence1\tsentence2\tlabel\na\tb\t3.5\nc\td\t0\n"
    data = read(write(tmp_path, {"train.tsv": rows, "dev.tsv": rows}), name="mine", task="regression")
    assert (data.dev.labels, data.dev.pairs, data.metric, data.num_labels) == ([3.5, 0.0], ["b", "d"], "pearson", 1)
    classes = read(tmp_path, name="mine", labels=["0", "3.5"])
    assert classes.label_names == ["0", "3.5"]
    columns = read(tmp_path, name="mine", text=["sentence2"], label="sentence1", labels=["a", "c"])
    assert (columns.dev.texts, columns.dev.pairs, columns.dev.labels) == (["b", "d"], None, [0, 1])


def test_limits_draw_the_same_examples_for_the_same_seed(tmp_path):
    """Of a file that is sorted by label, too."""
    rows = "sentence1\tlabel\n" + "".join(f"text {i}\t{('negative', 'positive')[i // 50]}\n" for i in range(100))
    write(tmp_path, {"train.tsv": rows, "dev.tsv": rows})
    some = read(tmp_path, max_train_examples=10, max_dev_examples=5)
    assert some.train == read(tmp_path, max_train_examples=10).train
    assert some.train != read(tmp_path, max_train_examples=10, seed=1).train
    assert len(some.train) == 10
    assert len({*some.dev.labels}) == 2 and some.dev.texts != [f"text {i}" for i in range(5)]
    assert some.dev == read(tmp_path, max_dev_examples=5).dev


def test_labels_that_are_numbers_are_read_by_their_text(tmp_path):
    lines = "".join(json.dumps({"sentence1": "a", "label": label}) + "\n" for label in (1, 0, [2]))
    data = read(write(tmp_path, {f"{s}.jsonl": lines for s in ("train", "dev")}), name="other")
    assert (data.label_names, data.train.labels) == (["0", "1", "[2]"], [1, 0, 2])


def test_generated_corpus_needs_no_folder():
    data = load(DataConfig(max_train_examples=20, max_dev_examples=10))
    assert (len(data.train), len(data.dev), data.label_names) == (20, 10, ["negative", "positive"])


@pytest.mark.parametrize(
    ("files", "settings", "message"),
    [
        ({}, {}, r"got no split 'train', must hold train.tsv.gz or train.jsonl.gz .*found no data file"),
        ({"sst2/train.tsv": TABLE}, {}, r"sst2: got no split 'dev', must .*found train.tsv: add the file"),
        ({"train.tsv": "", "dev.tsv": TABLE}, {}, r"train.tsv: got an empty file, must hold at least one example"),
        ({"train.tsv": "sentence1\tlabel\n", "dev.tsv": TABLE}, {}, r"train.tsv: got an empty file"),
        ({"train.tsv": TABLE + "x\ty\n"}, {}, r"train.tsv:4: got 2 fields, must be 3 \(idx, sentence1, label\)"),
        ({"train.tsv": TABLE + "2\tfine\tneutral\n", "dev.tsv": TABLE}, {},
         r"train.tsv:4: got label 'neutral', must be one of negative, positive"),
        ({"train.tsv": TABLE, "dev.tsv": TABLE}, {"text": ["body"]}, r"train.tsv:2: got columns .*, must have 'body'"),
        ({"train.tsv": TABLE, "dev.tsv": TABLE}, {"name": "other", "task": "regression"},
         r"train.tsv:2: got label 'negative', must be a number"),
        ({"train.tsv": "sentence1\tlabel\na\tx\n", "dev.tsv": TABLE}, {"name": "other"},
         r"got the one label \['x'\]"),
        ({"train.tsv.gz": TABLE, "dev.tsv": b"idx\tsentence1\tlabel\n0\t\xff\tpositive\n"}, {},
         r"dev.tsv:2: got byte 0xff, must be UTF-8"),
        ({"train.jsonl": '{"sentence1": "a", "label": "negative"}\n{"sentence1": \n'}, {}, r"train.jsonl:2: got no JSON"),
        ({"train.jsonl": "[1]\n"}, {}, r"train.jsonl:1: got list, must be one JSON object a line"),
        ({"train.jsonl": '{"sentence1": "a", "label": "negative"}\n{"label": "negative"}\n', "dev.tsv": TABLE}, {},
         r"train.jsonl:2: got columns label, must have 'sentence1'"),
        ({"train.jsonl": '{"sentence1": 5, "label": "negative"}\n', "dev.tsv": TABLE}, {},
         r"train.jsonl:1: got '5' of type int in 'sentence1', must be a text"),
        ({"train.tsv": "sentence1\tlabel\na\tnan\n", "dev.tsv": TABLE}, {"name": "other", "task": "regression"},
         r"train.tsv:2: got label 'nan', must be a number"),
        ({"train.tsv": "label\tsentence1\tlabel\nx\ta\ty\n"}, {}, r"train.tsv:1: got column 'label' 2 times, must be once; rename the others"),
        ({"train.jsonl": '{"sentence1": "a\\ud83d", "label": "positive"}\n'}, {},
         r"train.jsonl:1: got \\ud83d, half of a character, must be whole"),
        ({f"{s}.jsonl": '{"question": "q", "context": "it was ann", "answers": {"text": ["ann"], "answer_start": [6]}}\n' for s in ("train", "dev")},
         {"name": "squad"}, r"train.jsonl:1: got answer 'ann' at 6, where the text has ' an', must stand there; it stands at 7: correct answer_start"),
        ({f"{s}.jsonl": '{"question": "q", "context": "c", "answers": {"text": []}}\n' for s in ("train", "dev")},
         {"name": "squad"}, r"train.jsonl:1: got answers .*, must be {text: \[...\], answer_start: \[...\]}"),
    ],
)  # fmt: skip
def test_bad_files(tmp_path, files, settings, message):
    with pytest.raises(DataError, match=message):
        read(write(tmp_path, files), **settings)


def test_broken_gzip_and_missing_folder(tmp_path):
    (tmp_path / "train.tsv.gz").write_bytes(gzip.compress(TABLE.encode())[:-12])
    with pytest.raises(DataError, match=r"train.tsv.gz: got a broken gzip file .*copy the file again"):
        read(tmp_path)
    with pytest.raises(DataError, match=r"data: got folder '.*nothing', must be an existing folder; correct --data"):
        read(tmp_path / "nothing")


def test_hub_rows_become_the_same_dataset(tmp_path, monkeypatch):
    """The hub's columns and class numbers are translated; what `datasets` raises is a DataError."""
    import datasets

    label = datasets.ClassLabel(names=["negative", "positive"])
    features = datasets.Features({"sentence": datasets.Value("string"), "label": label, "idx": datasets.Value("int32")})
    asked = []

    def load_dataset(*source, split):
        asked.append((source, split))
        rows = {"sentence": ['a "quoted start', "good\u2028one"], "label": [0, 1], "idx": [0, 1]}
        return datasets.Dataset.from_dict(rows, features=features)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    write(tmp_path, {"train.tsv": TABLE, "dev.tsv": TABLE})
    assert load(DataConfig(name="sst2")) == read(tmp_path)
    assert asked == [(("nyu-mll/glue", "sst2"), "train"), (("nyu-mll/glue", "sst2"), "validation")]
    with pytest.raises(DataError, match=r"got columns sentence, label, idx in 'nyu-mll/glue/sst2', must have 'body'"):
        load(DataConfig(name="sst2", text=["body"]))

    def unreachable(*source, split):
        raise ConnectionError("no network")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(DataError, match=r"from the Hugging Face hub \(no network\).*give a local folder with --data"):
        load(DataConfig(name="mrpc"))


def test_config_is_strict():
    with pytest.raises(ValidationError, match="did you mean 'vocab'"):
        DataConfig(vocabulary=5)
    with pytest.raises(ValidationError):
        DataConfig(max_train_examples=0)
    assert all(DataConfig(name=name).known().metric for name in KNOWN)


def hub(monkeypatch, features, rows):
    import datasets

    made = datasets.Dataset.from_dict(rows, features=datasets.Features(features))
    monkeypatch.setattr(datasets, "load_dataset", lambda *source, split: made)


def test_hub_labels_of_words(monkeypatch):
    import datasets

    kinds = {"tokens": datasets.List(datasets.Value("string")), "ner_tags": datasets.List(datasets.ClassLabel(names=["O", "PER"]))}
    hub(monkeypatch, kinds, {"tokens": [["Bob", "ran"]], "ner_tags": [[1, 0]]})
    data = load(DataConfig(name="conll", task="token_classification", label="ner_tags"))
    assert (data.train.texts, data.train.labels, data.label_names) == ([["Bob", "ran"]], [[1, 0]], ["O", "PER"])


def test_hub_rows_without_a_label_are_refused(monkeypatch):
    """-1 marks the hidden labels of a test split; as an index it would be the last class."""
    import datasets

    kinds = {"sentence": datasets.Value("string"), "label": datasets.ClassLabel(names=["negative", "positive"])}
    hub(monkeypatch, kinds, {"sentence": ["a", "b"], "label": [0, -1]})
    with pytest.raises(
        DataError,
        match=r"nyu-mll/glue/sst2 train\[1\]: got label -1, must be 0 .. 1 \(-1 marks a row without a gold label\); leave such rows out, or name another split",
    ):
        load(DataConfig(name="sst2"))


def test_blanks_around_labels_and_a_byte_order_mark_are_no_part_of_them(tmp_path):
    rows = "sentence1\tlabel\na\tpositive \nb\t negative\n"
    write(tmp_path, {"train.tsv": "\ufeff" + rows, "dev.jsonl": "\ufeff" + json.dumps({"sentence1": "a", "label": "negative "}) + "\n"})
    data = read(tmp_path, name="mine")
    assert (data.label_names, data.train.labels, data.dev.labels) == (["negative", "positive"], [1, 0], [0])


@pytest.mark.parametrize(
    ("context", "start", "advice"),
    [
        ("Zoë met Ann", 9, "9 counts bytes of UTF-8, in characters it is 8: convert answer_start"),
        ("a 🎉 for Ann", 9, "9 counts units of UTF-16, in characters it is 8: convert answer_start"),
        ("a 🎉 for Ann", 11, "11 counts bytes of UTF-8, in characters it is 8: convert answer_start"),
        ("it was Ann", 6, "it stands at 7: correct answer_start"),
        ("it was Ann", -3, "it stands at 7: correct answer_start"),
        ("it was Ann", 10**12, "it stands at 7: correct answer_start"),
        ("Ann or Ann", 1, "must stand there; correct answer_start"),
        ("it was ann", 7, "where the text has 'ann', must stand there; correct answer_start"),
    ],
)
def test_offsets_that_count_something_else_are_recognised(tmp_path, context, start, advice):
    row = {"question": "who?", "context": context, "answers": {"text": ["Ann"], "answer_start": [start]}}
    write(tmp_path, {f"{split}.jsonl": json.dumps(row) + "\n" for split in ("train", "dev")})
    with pytest.raises(DataError, match=r"train.jsonl:1: got answer 'Ann' at") as caught:
        read(tmp_path, name="squad")
    assert str(caught.value).endswith(advice)


def test_a_start_before_the_text_is_no_place_from_its_end(tmp_path):
    """Where Python would find the answer."""
    row = {"question": "who?", "context": "it was Ann B", "answers": {"text": ["Ann"], "answer_start": [-5]}}
    write(tmp_path, {f"{split}.jsonl": json.dumps(row) + "\n" for split in ("train", "dev")})
    with pytest.raises(DataError, match=r"got answer 'Ann' at -5, where the text has 'it ', must stand there; it stands at 7: correct answer_start"):
        read(tmp_path, name="squad")
