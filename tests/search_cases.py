# SPDX-License-Identifier: Apache-2.0
"""A small untrained float model with sentences, rounded to any bits: what the tests of the search share."""

from __future__ import annotations

import warnings
from functools import cache

import torch

from bitloom.qat.baseline import float_model
from bitloom.qat.config import QuantConfig, TrainConfig
from bitloom.qat.data import DataConfig, load
from bitloom.qat.features import Features
from bitloom.qat.net.model import QuantModel
from bitloom.qat.networks import ModelConfig
from bitloom.qat.search.config import SearchConfig
from bitloom.qat.search.rounded import Rounded
from bitloom.qat.search.space import Space
from bitloom.qat.search.trial import Task
from bitloom.qat.tokenizer import TextTokenizer
from bitloom.qat.train import Start

TOKENS, VOCABULARY = 12, 40
STEPS = 6
MODEL = ModelConfig.model_validate({"layers": 2, "hidden": 16, "heads": 2, "intermediate": 32, "max_tokens": TOKENS, "dropout": 0})


@cache
def start():
    """Trained a moment, so that its answers lean on its layers and the loss has a valley."""
    torch.manual_seed(0)
    model = float_model(MODEL, VOCABULARY, 2).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(STEPS):
        for batch in batches():
            optimizer.zero_grad()
            model(**batch).loss.backward()
            optimizer.step()
    return model.eval()


def batches(count: int = 2, sentences: int = 8) -> list[dict[str, torch.Tensor]]:
    draw = torch.Generator().manual_seed(1)
    found = []
    for _ in range(count):
        ids = torch.randint(0, VOCABULARY, (sentences, TOKENS), generator=draw)
        mask = (torch.arange(TOKENS)[None] < torch.randint(3, TOKENS + 1, (sentences, 1), generator=draw)).long()
        found.append({"input_ids": ids * mask, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids), "labels": ids[:, 0] % 2})
    return found


def inputs(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {key: value for key, value in batch.items() if key != "labels"}


def space(layers: int = 0, quant: dict | None = None, **config) -> Space:
    quant = QuantConfig.model_validate(quant or {})
    settings = QuantModel.from_float(start(), quant, TOKENS).network.settings()
    return Space.of(settings, quant, SearchConfig.model_validate(config), layers)


def rounded(layers: int = 0, **config) -> Rounded:
    return Rounded(start(), space(layers, **config), TOKENS, [inputs(batch) for batch in batches()])


@cache
def task(steps: int = 4, parts: int = 1) -> Task:
    """Short trainings on reviews of the project's own grammar."""
    training = TrainConfig.model_validate({"batch_size": 8, "calibration_batches": 1, "qat_learning_rate": 1e-3})
    dataset = load(DataConfig(name="reviews", max_train_examples=32, max_dev_examples=16))
    tokenizer = TextTokenizer.train(dataset.train.all_texts(), 60)
    torch.manual_seed(0)
    model = float_model(MODEL, len(tokenizer), 2).eval()
    with warnings.catch_warnings(action="ignore"):  # texts are cut, on purpose
        train, dev = (Features(dataset, part, tokenizer, TOKENS) for part in (dataset.train, dataset.dev))
    started = Start(model=model, dataset=dataset, tokenizer=tokenizer, train=train, dev=dev)
    return Task(start=started, training=training, max_tokens=TOKENS, steps=steps, parts=parts)
