# SPDX-License-Identifier: Apache-2.0
"""Augmentation by rules: more training texts from those that there are, for a student to learn its teacher's answers from.

Tang et al. 2019, "Distilling Task-Specific Knowledge from BERT into Simple Neural Networks" (arXiv:1903.12136). There a tagger says which words are of the same
part of speech; here the training texts do: words that stand between the same two neighbours.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from pydantic import Field, model_validator

from bitloom.hw.settings import ConfigError, Number
from bitloom.qat.data import Dataset, Examples
from bitloom.qat.methods import MethodConfig
from bitloom.qat.methods.method import Method

TASKS = ("classification", "regression")
EDGE = ""  # stands beside a text's first and last word


class Config(MethodConfig):
    """copies: new texts for each one. mask, replace: share of the words; ngram: share of the new texts that are cut to 1 .. longest words in a row."""

    method: Literal["augmentation"]
    copies: int = Field(2, ge=1, le=100)
    mask: Number = Field(0.1, ge=0, le=1)
    replace: Number = Field(0.1, ge=0, le=1)
    ngram: Number = Field(0.25, ge=0, le=1)
    longest: int = Field(5, ge=1, le=1000)

    @model_validator(mode="after")
    def _shares_of_the_words(self) -> Config:
        if self.mask + self.replace > 1:
            raise ConfigError(f"mask: got {self.mask:g} and replace {self.replace:g}, must be 1 at most together; lower one")
        return self


class Augmentation(Method):
    """For each word X ~ U(0, 1): X < mask gives the mask token, mask <= X < mask + replace another word seen between its neighbours; then n-grams.

    A new text keeps its label, and of a pair one text is changed, in turn. The training's seed decides, so every start makes the same texts.
    """

    Config = Config
    any_network = True
    early = True

    def examples(self, dataset: Dataset, mask: str, seed: int) -> Dataset:
        if dataset.task not in TASKS:
            raise self.error("", f"the task {dataset.task}", f"be {' or '.join(TASKS)}: the places of words do not stay", "remove it")
        train, rng = dataset.train, random.Random(seed)
        seen = neighbours(train.all_texts())
        texts, pairs, labels = list(train.texts), list(train.pairs or ()), list(train.labels)
        for copy in range(self.cfg.copies):
            for i, text in enumerate(train.texts):
                second = train.pairs is not None and copy % 2
                texts.append(text if second else self.changed(text, seen, mask, rng))
                labels.append(train.labels[i])
                if train.pairs is not None:
                    pairs.append(self.changed(train.pairs[i], seen, mask, rng) if second else train.pairs[i])
        return replace(dataset, train=Examples(texts, None if train.pairs is None else pairs, labels))

    def changed(self, text: str, seen: dict[tuple[str, str], list[str]], mask: str, rng: random.Random) -> str:
        words, new = text.split(), []
        for place, word in enumerate(words):
            drawn = rng.random()
            if drawn < self.cfg.mask:
                word = mask
            elif drawn < self.cfg.mask + self.cfg.replace:
                word = rng.choice(seen[_around(words, place)])
            new.append(word)
        if new and rng.random() < self.cfg.ngram:
            length = min(len(new), rng.randint(1, self.cfg.longest))
            start = rng.randrange(len(new) - length + 1)
            new = new[start : start + length]
        return " ".join(new)


def neighbours(texts: Sequence[str]) -> dict[tuple[str, str], list[str]]:
    """The words between each pair of neighbours, as often as they are seen there."""
    found = defaultdict(list)
    for text in texts:
        words = text.split()
        for place, word in enumerate(words):
            found[_around(words, place)].append(word)
    return found


def _around(words: Sequence[str], place: int) -> tuple[str, str]:
    return (words[place - 1] if place else EDGE, words[place + 1] if place + 1 < len(words) else EDGE)


METHOD = Augmentation
