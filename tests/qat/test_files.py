# SPDX-License-Identifier: Apache-2.0
"""Data files that are not what they say: found at the line, as the file streams by, with little memory."""

import gzip
import json
import tracemalloc

import pytest

from bitloom.qat import files
from bitloom.qat.data import DataConfig, load
from bitloom.qat.files import DataError, read_rows

TABLE = "sentence1\tlabel\n"


def refused(path, content: str | bytes) -> str:
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(data, 1) if path.suffix == ".gz" else data)
    with pytest.raises(DataError) as caught:
        read_rows(path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.tsv.gz", b"\n" * 30_000_000, "a.tsv.gz:1: got '', must be the names of two columns or more"),
        ("a.tsv.gz", b"label\n" + b"\n" * 30_000_000, "a.tsv.gz:1: got 'label', must be the names of two columns or more"),
        ("a.tsv.gz", TABLE.encode() + b"\n" * 30_000_000, "a.tsv.gz:2: got 1 fields, must be 2 (sentence1, label)"),
        ("a.jsonl.gz", b"\n" * 30_000_000, "a.jsonl.gz:1: got no JSON"),
        ("a.tsv", TABLE + "x" * 10_000_000 + "\ty\n", "a.tsv:2: got a line of more than 1,048,576 bytes, must be at most that long"),
        ("a.tsv.gz", b"x" * 30_000_000, "a.tsv.gz:1: got a line of more than 1,048,576 bytes"),
        ("a.tsv", "\t".join(f"column{i}" for i in range(2000)) + "\n", "a.tsv:1: got 2,000 columns, must be at most 1000"),
        ("a.tsv", "\t" * 500_000 + "\n", "a.tsv:1: got 500,001 columns"),
        ("a.jsonl", "[" * 2000 + "\n", "a.jsonl:1: got brackets in more than 20 levels, must be at most that many"),
        ("a.jsonl", '{"label": ' + "[" * 21 + "]" * 21 + "}\n", "a.jsonl:1: got brackets in more than 20 levels"),
        ("a.jsonl", '{"label": ' + "9" * 5000 + "}\n", "a.jsonl:1: got no JSON (Exceeds the limit (4300 digits)"),
        ("a.jsonl", '{"label": 1, "label": 2}\n', "a.jsonl:1: got no JSON ('label' twice in one object)"),
        ("a.jsonl", json.dumps({f"column{i}": i for i in range(1001)}) + "\n", "a.jsonl:1: got 1,001 columns"),
    ],
)
def test_what_breaks_a_limit_is_refused_with_its_line_and_in_little_memory(tmp_path, name, content, message):
    tracemalloc.start()
    try:
        base = tracemalloc.get_traced_memory()[0]
        assert message in refused(tmp_path / name, content)
        assert tracemalloc.get_traced_memory()[1] - base < 30_000_000 + 2 * len(content) * (name[-2:] != "gz")
    finally:
        tracemalloc.stop()


def test_rows_and_bytes_in_all_are_limited(tmp_path, monkeypatch):
    table = TABLE + "a\tb\n" * 10
    monkeypatch.setattr(files, "MAX_ROWS", 9)
    assert "a.tsv:11: got more than 9 rows, must be at most that many; leave some out" in refused(tmp_path / "a.tsv", table)
    monkeypatch.setattr(files, "MAX_BYTES", 30)
    assert "a.tsv.gz:5: got more than 30 bytes (unpacked)" in refused(tmp_path / "a.tsv.gz", table)


def test_at_the_limits_all_is_taken(tmp_path):
    """The longest line, with either line end and none, and brackets inside of texts."""
    text = "x" * (files.MAX_LINE - 2)
    for end in ("\n", "\r\n", ""):
        (tmp_path / "a.tsv").write_bytes(f"{TABLE}{text}\ty{end}".encode())
        assert read_rows(tmp_path / "a.tsv")[0].fields == {"sentence1": text, "label": "y"}
    deep = {"text": "[" * 100, "label": json.loads("[" * 18 + "]" * 18)}
    (tmp_path / "a.jsonl").write_text("\ufeff" + json.dumps(deep) + "\n", encoding="utf-8")
    assert read_rows(tmp_path / "a.jsonl")[0].fields == deep


@pytest.mark.parametrize(
    ("row", "settings", "message"),
    [
        ({"sentence1": "a", "label": 10**400}, {"task": "regression"}, "got label '1000"),
        ({"sentence1": "a", "label": [[[[1]]]]}, {"task": "regression"}, "got label '[[[[1]]]]', must be a number"),
        (
            {"question": "a", "context": "b", "answers": {"text": ["b"], "answer_start": [0.0]}},
            {"task": "span", "text": ["question", "context"]},
            "got answers",
        ),
        ({"question": "a", "context": "b", "answers": {"text": [None], "answer_start": [0]}}, {"task": "span", "text": ["question", "context"]}, "got answers"),
        ({"question": "a", "context": "b", "answers": {"text": "b", "answer_start": 0}}, {"task": "span", "text": ["question", "context"]}, "got answers"),
        (
            {"question": "a", "context": "b", "answers": {"text": ["b"], "answer_start": [0, 0]}},
            {"task": "span", "text": ["question", "context"]},
            "got answers",
        ),
    ],
)
def test_values_of_other_kinds_are_refused_with_their_line(tmp_path, row, settings, message):
    for split in ("train", "dev"):
        (tmp_path / f"{split}.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(DataError) as caught:
        load(DataConfig(name="other", **settings), tmp_path)
    assert "train.jsonl:1: " + message in str(caught.value)
