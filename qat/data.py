# SPDX-License-Identifier: Apache-2.0
"""Data sets: the generated corpus, folders of .tsv/.jsonl files, or named Hugging Face sets, all as one `Dataset`."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from bitloom.hw.settings import ConfigError, Number, Strict
from bitloom.qat import answers, corpus
from bitloom.qat.config import MAX_SEED, MAX_VOCAB
from bitloom.qat.files import MAX_ROWS, DataError, Row, find_split, read_rows
from bitloom.qat.hub import read_hub

Task = Literal["classification", "regression", "span", "token_classification"]
Metric = Literal["accuracy", "f1", "matthews", "pearson", "spearman", "span_f1", "exact_match"]
METRICS: dict[Task, tuple[Metric, ...]] = {  # of each task; the first is what it gets if none is named
    "classification": ("accuracy", "f1", "matthews"),
    "regression": ("pearson", "spearman"),
    "span": ("span_f1", "exact_match"),
    "token_classification": ("accuracy", "f1"),
}
MAX_LABELS = 1000  # far above public sets: more are texts, numbers or the wrong column
LABEL = {"span": "answers", "token_classification": "tags"}  # column of the labels where it is not `label`


@dataclass(frozen=True, kw_only=True)
class Known:
    """What is known of a named data set; a `DataConfig` may replace each part."""

    text: tuple[str, ...] = ("sentence1",)
    labels: tuple[str, ...] | None = None
    task: Task = "classification"
    metric: Metric = "accuracy"
    dev: str = "dev"
    hub: tuple[str, ...] = ()  # arguments of `datasets.load_dataset`
    hub_text: tuple[str, ...] = ("sentence",)  # the columns' names there
    hub_dev: str = "validation"
    first_share: float = 0.5  # of a pair's tokens, those of the first sentence: what plans count


PAIR = ("sentence1", "sentence2")
ASKED = ("question", "context")
GLUE = "nyu-mll/glue"
KNOWN = {
    "reviews": Known(labels=corpus.LABELS),
    "sst2": Known(labels=("negative", "positive"), hub=(GLUE, "sst2")),
    "mrpc": Known(text=PAIR, first_share=0.52, labels=("not_equivalent", "equivalent"), metric="f1", hub=(GLUE, "mrpc"), hub_text=PAIR),
    "qnli": Known(
        text=PAIR, first_share=0.29, labels=("entailment", "not_entailment"), hub=(GLUE, "qnli"),
        hub_text=("question", "sentence"),
    ),
    "mnli": Known(
        text=PAIR, first_share=0.66, labels=("entailment", "neutral", "contradiction"), dev="dev_matched", hub=(GLUE, "mnli"),
        hub_text=("premise", "hypothesis"), hub_dev="validation_matched",
    ),
    "stsb": Known(text=PAIR, task="regression", metric="pearson", hub=(GLUE, "stsb"), hub_text=PAIR),
    "squad": Known(text=ASKED, first_share=0.09, task="span", metric="span_f1", hub=("rajpurkar/squad",), hub_text=ASKED),
}  # fmt: skip


class DataConfig(Strict):
    """Which data set, and how to read it. What is left out follows from the name (see `KNOWN`) or from the file.

    A regression's labels are numbers, a classification's are words, a span's are answers in the second text; a token
    classification's are one label a word, and its text is a list of words.
    """

    name: str = "reviews"  # a folder inside the data folder, or a known set
    text: list[str] | None = Field(None, min_length=1, max_length=2)  # columns of the first and the second text
    label: str = "label"  # column
    labels: list[str] | None = Field(None, min_length=2, max_length=MAX_LABELS)  # in the order of the logits
    task: Task | None = None
    metric: Metric | None = None
    train: str = "train"  # split = file name without its ending
    dev: str | None = None
    vocab: int | str | None = None  # a size: made from the training texts; a vocab.txt, tokenizer.json or hub name;
    # None: the model checkpoint's own, else a size of 4096
    max_train_examples: int | None = Field(None, ge=1, le=MAX_ROWS)  # drawn at random by `seed`
    max_dev_examples: int | None = Field(None, ge=1, le=MAX_ROWS)  # likewise
    seed: int = Field(0, ge=0, le=MAX_SEED)
    first_share: Number | None = Field(None, gt=0, lt=1)  # of a pair's tokens, those of the first sentence, as plans count them; None: that of the data

    @model_validator(mode="after")
    def _vocabulary_of_some_size(self) -> DataConfig:
        if isinstance(self.vocab, int) and not 1 <= self.vocab <= MAX_VOCAB:
            raise ConfigError(f"vocab: got {self.vocab}, must be 1 .. {MAX_VOCAB}; change it")
        return self

    @model_validator(mode="after")
    def _metric_of_the_task(self) -> DataConfig:
        known = self.known()
        if known.metric not in (fits := METRICS[known.task]):
            raise ConfigError(f"metric: got '{known.metric}', must be {' or '.join(fits)} for a {known.task} task; change metric, or task")
        return self

    def known(self) -> Known:
        """What is known of the set, with this configuration's own settings in place."""
        base = KNOWN.get(self.name, Known())
        given = {"text": self.text, "labels": self.labels, "task": self.task, "metric": self.metric, "dev": self.dev, "first_share": self.first_share}
        if self.task and not self.metric and self.task != base.task:
            given["metric"] = METRICS[self.task][0]
        return replace(base, **{k: tuple(v) if isinstance(v, list) else v for k, v in given.items() if v is not None})


@dataclass(frozen=True)
class Examples:
    """One split. labels: class index, number, `Answer` or class indices of the words, as the task says.

    texts  one a row; for token classification its words
    pairs  second texts; None where a text stands alone
    """

    texts: list[str] | list[list[str]]
    pairs: list[str] | None
    labels: list[Any]

    def __len__(self) -> int:
        return len(self.texts)

    def all_texts(self) -> list[str]:
        """First and second texts, to make a vocabulary from."""
        return [text if isinstance(text, str) else " ".join(text) for text in (*self.texts, *(self.pairs or ()))]

    def take(self, indices: Sequence[int]) -> Examples:
        """The examples at `indices`, in that order."""
        pairs = self.pairs and [self.pairs[i] for i in indices]
        return Examples([self.texts[i] for i in indices], pairs, [self.labels[i] for i in indices])


@dataclass(frozen=True)
class Dataset:
    """Training and development split of a task."""

    name: str
    task: Task
    metric: Metric
    label_names: list[str]  # in the order of the logits; () for regression and spans
    train: Examples
    dev: Examples

    @property
    def num_labels(self) -> int:
        """Logits a sentence, or a token: for spans start and end, for token classification one a label."""
        return {"regression": 1, "span": 2}.get(self.task, len(self.label_names))


def load(cfg: DataConfig, data_dir: Path | str | None = None) -> Dataset:
    """Read both splits of a data set.

    data_dir  folder with NAME/SPLIT.tsv.gz or SPLIT.tsv.gz (also .tsv, .jsonl, .jsonl.gz); None: the generated corpus
              for "reviews", else the Hugging Face data set of that name
    raises    DataError: a missing file or split, a malformed row, an unknown label, no examples
    """
    known = cfg.known()
    classes = None
    if data_dir is None and cfg.name == "reviews":
        sizes = {"train": cfg.max_train_examples, "dev": cfg.max_dev_examples}
        rows = [_generated(split, size, cfg.seed) for split, size in sizes.items()]
    elif data_dir is None:
        (train, classes), (dev, _) = (_from_hub(cfg, known, split) for split in (cfg.train, cfg.dev or known.hub_dev))
        rows = [train, dev]
    else:
        rows = [read_rows(find_split(Path(data_dir), cfg.name, split)) for split in (cfg.train, known.dev)]
    label = LABEL.get(known.task, cfg.label) if cfg.label == "label" else cfg.label
    words, named = known.task == "token_classification", known.task in ("classification", "token_classification")
    names = list(known.labels or classes or _label_names(rows[0], label, words)) if named else []
    text = known.text if cfg.text or cfg.name in KNOWN else ("tokens",) if words else _text_columns(rows[0])
    train, dev = (_examples(split, text, label, known.task, names) for split in rows)
    train, dev = _some(train, cfg.max_train_examples, cfg.seed), _some(dev, cfg.max_dev_examples, cfg.seed)
    return Dataset(cfg.name, known.task, known.metric, names, train, dev)


def _some(examples: Examples, most: int | None, seed: int) -> Examples:
    """At most that many, drawn at random: a file may be sorted by label. Their order stays."""
    if most is None or most >= len(examples):
        return examples
    return examples.take(sorted(random.Random(seed).sample(range(len(examples)), most)))


def _generated(split: str, count: int | None, seed: int) -> list[Row]:
    texts, labels = corpus.generate(split, count, seed)
    return [Row(f"corpus {split}", {"sentence1": t, "label": label}) for t, label in zip(texts, labels, strict=True)]


def _from_hub(cfg: DataConfig, known: Known, split: str) -> tuple[list[Row], list[str] | None]:
    words = known.task == "token_classification"
    columns = dict(zip(("tokens",) if words else known.text, cfg.text or (("tokens",) if words else known.hub_text), strict=True))
    if known.task == "span":
        return read_hub(known.hub or (cfg.name,), split, {**columns, "answers": "answers"}, None)
    return read_hub(known.hub or (cfg.name,), split, columns, "tags" if words and cfg.label == "label" else cfg.label)


def _label_names(rows: list[Row], column: str, words: bool) -> list[str]:
    _check_columns(rows, [column])
    names = sorted({_gold(row, name) for row in rows for name in (_words(row, column) if words else [row.fields[column]])})
    if len(names) > MAX_LABELS:
        raise DataError(
            f"{rows[0].where}: got {len(names):,} different labels in '{column}', must be at most {MAX_LABELS}; set data.label to another column, or data.task"
        )
    if _measured(names):
        shown = ", ".join(names[:3])
        raise DataError(f"{rows[0].where}: got numbers as labels ({shown}, ...), must be classes; set data.task: regression, or name all in data.labels")
    if len(names) < 2:
        raise DataError(f"{rows[0].where}: got the one label {names}, must be two or more; name them in data.labels")
    return names


def _text_columns(rows: list[Row]) -> tuple[str, ...]:
    return PAIR if "sentence2" in rows[0].fields else PAIR[:1]


def _check_columns(rows: list[Row], columns: Sequence[str]) -> None:
    for row in rows:  # each one: the lines of a .jsonl file need not agree
        for column in columns:
            if column in row.fields and row.fields[column] is None:
                raise DataError(f"{row.where}: got null in '{column}', must have a value; leave the row out")
            if column not in row.fields:
                shown = ", ".join(row.fields)[:200]
                raise DataError(f"{row.where}: got columns {shown}, must have '{column}'; set data.text and data.label to columns of the file")


def _examples(rows: list[Row], text: Sequence[str], label: str, task: Task, names: list[str]) -> Examples:
    _check_columns(rows, [*text, label])
    if task == "token_classification":
        if len(text) > 1:
            raise DataError(f"data.text: got {', '.join(text)}, must be one column of words for a token_classification task; name that one")
        return Examples([_words(row, text[0]) for row in rows], None, [_tags(row, text[0], label, names) for row in rows])
    parse = {"classification": _class_index, "regression": _number, "span": lambda row, value, names: answers.parse(row, value)}[task]
    texts = [[_text(row, column) for row in rows] for column in text]
    labels = [parse(row, row.fields[label], names) for row in rows]
    if task == "span":
        for row, context, answer in zip(rows, texts[-1], labels, strict=True):
            answers.check_place(row, context, answer)
    return Examples(texts[0], texts[1] if len(texts) == 2 else None, labels)


def _words(row: Row, column: str) -> list[str]:
    """A list of texts without blanks in them, or one text with blanks between the words."""
    value = row.fields[column]
    words = value.split() if isinstance(value, str) else value
    if not isinstance(words, list) or not words or not all(isinstance(word, str) and word.split() == [word] for word in words):
        raise DataError(f"{row.where}: got {str(value)[:60]!r} in '{column}', must be a list of words without blanks, not empty; correct the row")
    return words


def _tags(row: Row, text: str, label: str, names: list[str]) -> list[int]:
    words, tags = _words(row, text), _words(row, label)
    if len(words) != len(tags):
        raise DataError(f"{row.where}: got {len(words)} words in '{text}' and {len(tags)} labels in '{label}', must be one label a word; correct the row")
    return [_class_index(row, tag, names) for tag in tags]


def _text(row: Row, column: str) -> str:
    if not isinstance(value := row.fields[column], str):
        raise DataError(f"{row.where}: got {str(value)[:60]!r} of type {type(value).__name__} in '{column}', must be a text; correct the row or set data.text")
    return value


def _measured(names: list[str]) -> bool:
    """Whether all are numbers, and not all whole ones: of a regression whose task was not said."""
    try:
        return not all(float(name).is_integer() for name in names)
    except (ValueError, OverflowError):  # a word; infinity
        return False


def _gold(row: Row, value: Any) -> str:
    """A label's name, where no list says which there are. Raises DataError: what stands for a missing one in public sets."""
    if (name := _label(value)) in ("", "-", "-1"):
        raise DataError(f"{row.where}: got label '{name}', must be a gold label; leave out rows without one, or name all labels in data.labels if it is one")
    return name


def _label(value: Any) -> str:
    """A label's name: blanks around it are slips, and a .jsonl may hold numbers."""
    return str(value).strip()


def _class_index(row: Row, value: Any, names: list[str]) -> int:
    value = _label(value)
    if value not in names:
        raise DataError(f"{row.where}: got label '{value[:60]}', must be one of {', '.join(names)[:200]}; correct the row or set data.labels")
    return names.index(value)


def _number(row: Row, value: Any, names: list[str]) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):  # of an integer of 400 digits
        number = math.nan
    if not math.isfinite(number):
        raise DataError(f"{row.where}: got label '{str(value)[:60]}', must be a number for a regression; correct the row")
    return number
