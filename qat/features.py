# SPDX-License-Identifier: Apache-2.0
"""From examples to batches: token ids with targets, batches of like lengths, padding to the longest of a batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import Sampler

from bitloom.qat.data import Dataset, Examples
from bitloom.qat.metrics import Scores, score, score_logits, score_words
from bitloom.qat.spans import best_answers
from bitloom.qat.tokenizer import TextTokenizer, Window

STRIDE = 32  # tokens of context that neighbouring windows of a span task share
IGNORED = -100  # label of a token that has none; PyTorch's cross entropy skips it
MEGABATCH = 50  # batches whose sentences are sorted together: like lengths, and still a new mixture each epoch


class Features(TorchDataset):
    """Model inputs of one split, and how its predictions are scored.

    Items have `input_ids`, `token_type_ids` and `labels` (or `start_positions`, `end_positions`). A span example whose
    context does not fit has several items, its windows; nothing else makes more items than examples. Labels of a token
    classification are one a token: a word's on its first token, IGNORED on all others; words that were cut off count nowhere.
    """

    def __init__(self, dataset: Dataset, examples: Examples, tokenizer: TextTokenizer, max_tokens: int):
        self.examples, self.metric, self.windows, self.of_words = examples, dataset.metric, None, dataset.task == "token_classification"
        if self.of_words:
            encoded = tokenizer.encode_words(examples.texts, max_tokens=max_tokens)
            self.items = [_words_item(i, s, at, y) for i, s, at, y in zip(*encoded, examples.labels, strict=True)]
        elif dataset.task == "span":
            stride = min(STRIDE, max_tokens // 4)
            self.windows = tokenizer.windows(examples.texts, examples.pairs, max_tokens=max_tokens, stride=stride)
            self.items = [_span_item(window, examples.labels[window.example]) for window in self.windows]
        else:
            ids, segments = tokenizer.encode(examples.texts, examples.pairs, max_tokens=max_tokens)
            self.items = [{"input_ids": i, "token_type_ids": s, "labels": y} for i, s, y in zip(ids, segments, examples.labels, strict=True)]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.items[index]

    @property
    def lengths(self) -> list[int]:
        """Tokens of each item."""
        return [len(item["input_ids"]) for item in self.items]

    def add(self, key: str, values: Sequence[Any]) -> None:
        """Give each item one more entry, e.g. a teacher's logits."""
        for item, value in zip(self.items, values, strict=True):
            item[key] = value

    def score(self, logits: Any) -> Scores:
        """The task's metric, first, and its companions.

        logits  [S, classes]; for spans (start, end), each [windows, >= longest window]; for token classification [S, >= longest, classes],
                or one [T, classes] an item
        """
        if self.of_words:
            return score_words(self.metric, *of_words(logits, [item["labels"] for item in self.items]))
        if self.windows is None:
            return score_logits(self.metric, logits, self.examples.labels)
        return score(self.metric, best_answers(self.windows, self.examples, *logits), self.examples.labels)


def of_words(logits: Sequence[np.ndarray], labels: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """The rows of the tokens that have a label, of all sentences: logits [words, classes] and labels [words].

    logits  [>= T, classes] of each sentence
    labels  T of each sentence, IGNORED where a token has none
    """
    wanted = np.concatenate([np.asarray(row) for row in labels])
    rows = np.concatenate([np.asarray(row)[: len(want)] for row, want in zip(logits, labels, strict=True)])
    return rows[wanted != IGNORED], wanted[wanted != IGNORED]


def _words_item(ids: list[int], segments: list[int], first: Sequence[int | None], labels: Sequence[int]) -> dict[str, Any]:
    targets = [IGNORED] * len(ids)
    for token, label in zip(first, labels, strict=True):
        if token is not None:
            targets[token] = label
    return {"input_ids": ids, "token_type_ids": segments, "labels": targets}


def _span_item(window: Window, answer) -> dict[str, Any]:
    """Targets are the first accepted answer's tokens; [CLS] (0, 0) where this window does not hold all of it."""
    first, last = answer.starts[0], answer.starts[0] + len(answer.texts[0])
    inside = [i for i, span in enumerate(window.offsets) if span and span[0] < last and span[1] > first]
    whole = inside and window.offsets[inside[0]][0] <= first and window.offsets[inside[-1]][1] >= last
    start, end = (inside[0], inside[-1]) if whole else (0, 0)
    return {
        "input_ids": window.ids,
        "token_type_ids": window.segments,
        "start_positions": start,
        "end_positions": end,
    }


class Collator:
    """Pads a batch to its longest item: input_ids, token_type_ids, attention_mask [B, T], and the targets."""

    def __init__(self, pad_id: int):
        self.pad_id = pad_id

    def __call__(self, items: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        longest = max(len(item["input_ids"]) for item in items)
        batch = {
            "input_ids": _padded([item["input_ids"] for item in items], longest, self.pad_id),
            "token_type_ids": _padded([item["token_type_ids"] for item in items], longest, 0),
            "attention_mask": _padded([[1] * len(item["input_ids"]) for item in items], longest, 0),
        }
        for key in items[0].keys() - batch.keys():
            values = [torch.as_tensor(item[key]) for item in items]
            pad = IGNORED if key == "labels" else 0
            batch[key] = torch.nn.utils.rnn.pad_sequence(values, batch_first=True, padding_value=pad) if values[0].ndim else torch.stack(values)
        return batch


def _padded(rows: Sequence[Sequence[int]], length: int, value: int) -> Tensor:
    out = np.full((len(rows), length), value, dtype=np.int64)
    for target, row in zip(out, rows, strict=True):
        target[: len(row)] = row
    return torch.from_numpy(out)


class LengthGrouped(Sampler[int]):
    """Random order in which neighbours have like lengths, so that little of a batch is padding.

    The order follows from (seed, epoch) alone: a resumed run and every process of a distributed one see the same.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int):
        self.lengths, self.batch_size, self.seed, self.epoch = torch.tensor(lengths), batch_size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order comes next."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(len(self), generator=generator)
        batches = []
        for part in order.split(MEGABATCH * self.batch_size):
            part = part[self.lengths[part].argsort(descending=True, stable=True)]
            batches += part.split(self.batch_size)
        short = [batches.pop()] if len(batches[-1]) < self.batch_size else []  # last: it must not shift the others
        shuffled = [batches[i] for i in torch.randperm(len(batches), generator=generator)]
        yield from torch.cat(shuffled + short).tolist()
