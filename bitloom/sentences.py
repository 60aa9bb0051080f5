# SPDX-License-Identifier: Apache-2.0
"""Development sentences as the hardware takes them: token ids, unpadded, chosen to cover the lengths that occur."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bitloom.hw.graph import Graph
from bitloom.qat import data
from bitloom.qat.tokenizer import TextTokenizer, TruncationWarning
from bitloom.recipe import Recipe

if TYPE_CHECKING:
    from bitloom.qat.features import Features

ALONE_LENGTHS = 3  # lengths at which a sentence's latency is measured with nothing else in the pipeline


@dataclass(frozen=True, kw_only=True)
class Sentences:
    """Token ids, segment numbers and label of each sentence (for spans: of each window of a context; labels None).

    For token classification a label is one number a token, as in `Features`.
    """

    ids: list[list[int]]
    segments: list[list[int]]
    labels: list[Any]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def lengths(self) -> list[int]:
        return [len(sentence) for sentence in self.ids]

    def take(self, indices: Sequence[int]) -> Sentences:
        """The sentences at `indices`, in that order."""
        return Sentences(**{key: [values[i] for i in indices] for key, values in vars(self).items()})

    def spread(self, count: int, seed: int) -> Sentences:
        """`count` sentences (or all) from the shortest to the longest in even steps, in random order."""
        order = list(range(len(self)))
        rng = random.Random(seed)
        rng.shuffle(order)  # which of the equally long ones
        order.sort(key=lambda i: len(self.ids[i]))
        count = min(count, len(order))
        chosen = [order[round(i * (len(order) - 1) / max(count - 1, 1))] for i in range(count)]
        rng.shuffle(chosen)
        return self.take(chosen)

    def one_first(self, max_tokens: int) -> Sentences:
        """The longest of the pairs' first sentences with the second ones of all pairs, cut to max_tokens. Raises ValueError: there is no pair."""
        first = max((ids[: segments.index(1)] for ids, segments in zip(self.ids, self.segments, strict=True) if 1 in segments), key=len)
        pairs = zip(self.ids, self.segments, strict=True)
        seconds = [ids[segments.index(1) :][: max_tokens - len(first)] for ids, segments in pairs if 1 in segments]
        segments = [[0] * len(first) + [1] * len(second) for second in seconds]
        return Sentences(ids=[first + second for second in seconds], segments=segments, labels=self.labels[: len(seconds)])

    def first_share(self) -> float | None:
        """Of all tokens of pairs, those of first sentences, to a hundredth; None: there is no pair."""
        pairs = [segments for segments in self.segments if 1 in segments]
        return round(sum(segments.index(1) for segments in pairs) / sum(map(len, pairs)), 2) if pairs else None

    def of_length(self, tokens: int, count: int, border: int | None = None) -> Sentences:
        """`count` sentences of exactly that many tokens, cut out of all sentences' tokens one after the other.

        The cycles depend on the lengths alone, and real sentences of just the maximum length are rare. Of pairs they depend on where the second sentence begins
        too: at `border`, for which plans count them (Graph.border); None: each is two halves.
        """
        ids, segments = ([*islice(cycle(chain.from_iterable(rows)), tokens * count)] for rows in (self.ids, self.segments))
        cut = [slice(i * tokens, (i + 1) * tokens) for i in range(count)]
        first = -(-tokens // 2) if border is None else border
        told = [[0] * first + [1] * (tokens - first)] * count if 1 in segments else [segments[c] for c in cut]
        return Sentences(ids=[ids[c] for c in cut], segments=told, labels=[None] * count)

    def alone(self, most: int, border: Callable[[int], int] = lambda tokens: -(-tokens // 2)) -> list[Sentences]:
        """Single sentences of some lengths below `most`, even steps apart. border: of pairs, as of `of_length`."""
        lengths = sorted({max(1, most * i // (ALONE_LENGTHS + 1)) for i in range(1, ALONE_LENGTHS + 1)})
        return [self.of_length(tokens, 1, border(tokens)) for tokens in lengths]


def load_tokenizer(export: Path) -> TextTokenizer:
    """The tokenizer of a run's export."""
    return TextTokenizer.load(export / "tokenizer")


class Dev(NamedTuple):
    """The data set; its development split as the model was trained on it; and the same as sentences for the hardware."""

    dataset: data.Dataset
    features: Features
    sentences: Sentences


def load_dev(recipe: Recipe, data_dir: Path | None, export: Path) -> Dev:
    """Read the development split with the tokenizer in `export`; sentences longer than the model takes are cut, as in training."""
    from bitloom.qat.features import Features  # imports torch, which predict does without

    dataset = data.load(recipe.data, data_dir)
    with warnings.catch_warnings(action="ignore", category=TruncationWarning):  # training has told it
        features = Features(dataset, dataset.dev, load_tokenizer(export), recipe.model.max_tokens)
    items = [features[i] for i in range(len(features))]
    sentences = Sentences(
        ids=[i["input_ids"] for i in items],
        segments=[i["token_type_ids"] for i in items],
        labels=[i.get("labels") for i in items],
    )
    return Dev(dataset, features, sentences)


def score_all(features: Features, graph: Graph, lengths: Sequence[int], codes: np.ndarray) -> float | None:
    """The task's metric on the whole split, from the codes of the graph's output for all of its sentences."""
    logits = codes * graph.tensor(graph.outputs[0]).scale
    if features.windows is not None:  # [sum T, 2] -> start and end, [windows, longest]
        padded = np.full((2, len(lengths), max(lengths)), -np.inf)
        inside = np.arange(max(lengths)) < np.array(lengths)[:, None]
        padded[:, inside] = logits.T
        logits = (padded[0], padded[1])
    elif features.of_words:
        logits = np.split(logits, np.cumsum(lengths)[:-1])
    return next(iter(features.score(logits).values()))


def score_some(dataset: data.Dataset, graph: Graph, sentences: Sentences, codes: np.ndarray) -> float | None:
    """The same on some sentences; None for spans, whose answers need all windows of a context."""
    from bitloom.qat.features import of_words  # imports torch
    from bitloom.qat.metrics import score_logits, score_words

    if dataset.task == "span":
        return None
    logits = codes * graph.tensor(graph.outputs[0]).scale
    if dataset.task == "token_classification":
        words = of_words(np.split(logits, np.cumsum(sentences.lengths)[:-1]), sentences.labels)
        return next(iter(score_words(dataset.metric, *words).values()))
    return next(iter(score_logits(dataset.metric, logits, sentences.labels).values()))
