# SPDX-License-Identifier: Apache-2.0
"""Development sentences as the hardware takes them: token ids, unpadded, chosen to cover the lengths that occur."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path

import numpy as np

from bitloom.recipe import Recipe
from hw.graph import Graph
from qat import data
from qat.tokenizer import WordPiece

ALONE_LENGTHS = 3  # lengths at which a sentence's latency is measured with nothing else in the pipeline


@dataclass(frozen=True, kw_only=True)
class Sentences:
    """ids, segments: a list of token ids (segment numbers) per sentence; examples: the texts and labels they come from."""

    ids: list[list[int]]
    segments: list[list[int]]
    examples: data.Examples

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def lengths(self) -> list[int]:
        return [len(sentence) for sentence in self.ids]

    def take(self, indices: Sequence[int]) -> Sentences:
        """The sentences at `indices`, in that order."""
        return replace(self, ids=[self.ids[i] for i in indices], segments=[self.segments[i] for i in indices],
                       examples=self.examples.take(indices))

    def spread(self, count: int, seed: int) -> Sentences:
        """`count` sentences (all, if there are fewer) from the shortest to the longest in even steps, in random order."""
        order = list(range(len(self)))
        rng = random.Random(seed)
        rng.shuffle(order)  # which of the equally long ones
        order.sort(key=lambda i: len(self.ids[i]))
        count = min(count, len(order))
        chosen = [order[round(i * (len(order) - 1) / max(count - 1, 1))] for i in range(count)]
        rng.shuffle(chosen)
        return self.take(chosen)

    def of_length(self, tokens: int, count: int) -> Sentences:
        """`count` sentences of exactly that many tokens, cut out of all sentences' tokens one after the other.

        The cycles depend on the lengths alone, and real sentences of just the maximum length are rare.
        """
        ids, segments = ([*islice(chain.from_iterable(chain.from_iterable([rows] * (tokens * count))), tokens * count)]
                         for rows in (self.ids, self.segments))
        cut = [slice(i * tokens, (i + 1) * tokens) for i in range(count)]
        return replace(self, ids=[ids[c] for c in cut], segments=[segments[c] for c in cut], examples=self.examples.take([0] * count))

    def alone(self, most: int) -> list[Sentences]:
        """Single sentences of some lengths below `most`, even steps apart."""
        lengths = sorted({max(1, most * i // (ALONE_LENGTHS + 1)) for i in range(1, ALONE_LENGTHS + 1)})
        return [self.of_length(tokens, 1) for tokens in lengths]


def load_tokenizer(export: Path) -> WordPiece:
    """The tokenizer of a run's export."""
    return WordPiece.load(export / "tokenizer")


def load_dev(recipe: Recipe, data_dir: Path | None, export: Path) -> tuple[data.Dataset, Sentences]:
    """The data set, and its development split as token ids, cut to the longest sentence that the model takes."""
    dataset = data.load(recipe.data, data_dir)
    dev = dataset.dev
    ids, segments = load_tokenizer(export).encode(dev.texts, dev.pairs, max_tokens=recipe.model.max_tokens)
    return dataset, Sentences(ids=ids, segments=segments, examples=dev)


def evaluate(dataset: data.Dataset, graph: Graph, sentences: Sentences, codes: np.ndarray) -> float:
    """The data set's metric from the codes of the graph's output."""
    logits = codes * graph.tensor(graph.outputs[0]).scale
    return float((logits.argmax(1) == np.array(sentences.examples.labels)).mean())
