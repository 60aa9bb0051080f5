# SPDX-License-Identifier: Apache-2.0
"""One trial of a choice of bits: a short fine-tuning of the float model rounded to it, in parts, so that a bad one can be stopped between them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from bitloom.qat.calibrate import calibrate
from bitloom.qat.config import QuantConfig, TrainConfig
from bitloom.qat.features import Collator, LengthGrouped
from bitloom.qat.net.model import QuantModel
from bitloom.qat.objectives.logits import distance
from bitloom.qat.search.sensitivity import answers
from bitloom.qat.train import Start, calibration_batches
from bitloom.qat.trainer import EncoderTrainer, as_taken


@dataclass(frozen=True, kw_only=True)
class Task:
    """What all trials of a search share. steps: of a whole trial, parts: in which they are taken."""

    start: Start
    training: TrainConfig
    max_tokens: int
    steps: int
    parts: int = 1


def trial(task: Task, quant: QuantConfig, part: int = 0, state: Any = None) -> tuple[float, Any]:
    """One part: (score of the development split behind it, what the next part begins with). The same from the same, wherever it runs.

    state  of the part before; None of the first
    """
    training = task.training
    torch.manual_seed(training.seed * 1_000_003 + part)
    quant = quant if state is None else QuantConfig(**state["quant"])  # with the residual bits that calibration chose
    model = QuantModel.from_float(task.start.model, quant, task.max_tokens)
    optimizer = optimizer_of(model, training)
    if state is None:
        calibrate(model, calibration_batches(task.start.train, task.start.tokenizer, training))
    else:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    first, last = (task.steps * n // task.parts for n in (part, part + 1))
    model.train()
    for step, batch in zip(range(last), batches(task.start.train, task.start.tokenizer.pad_id, training), strict=False):
        if step >= first:
            optimizer.zero_grad()
            loss_of(model, task.start.model, batch, training).backward()
            optimizer.step()
    left = {"quant": model.quant.model_dump(), "model": model.state_dict(), "optimizer": optimizer.state_dict()} if part + 1 < task.parts else None
    return score(model, task.start, training), left


def optimizer_of(model: nn.Module, training: TrainConfig) -> torch.optim.Optimizer:
    """AdamW as in quantization-aware training (qat/trainer.py), at its constant rate."""
    matrices, others = ([p for p in model.parameters() if p.requires_grad and (p.ndim > 1) == wide] for wide in (True, False))
    groups = [{"params": matrices, "weight_decay": training.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=training.qat_learning_rate, fused=True)


def batches(items: Sequence[dict[str, Any]], pad_id: int, training: TrainConfig) -> Iterator[dict[str, Tensor]]:
    """Of a split's items in the seed's order, without end."""
    lengths = [len(item["input_ids"]) for item in items]
    sampler, collate = LengthGrouped(lengths, training.batch_size, training.seed), Collator(pad_id)
    epoch = 0
    while True:
        sampler.set_epoch(epoch)
        order, epoch = list(sampler), epoch + 1
        for i in range(0, len(order), training.batch_size):
            yield collate([items[j] for j in order[i : i + training.batch_size]])


def loss_of(model: nn.Module, teacher: nn.Module, batch: dict[str, Tensor], training: TrainConfig) -> Tensor:
    """The task's loss, mixed with the distance from the float model's answers where the recipe distils."""
    outputs = model(**batch)
    if training.distill is None:
        return outputs.loss
    with torch.no_grad():
        wanted = answers(teacher.eval()(**as_taken(teacher, batch)))
    alpha, temperature = training.distill.alpha, training.distill.temperature
    return (1 - alpha) * outputs.loss + alpha * distance(outputs, wanted, batch["attention_mask"], temperature)


def score(model: nn.Module, start: Start, training: TrainConfig) -> float | None:
    """The task's metric on all of the development split."""
    with TemporaryDirectory() as unused:
        trainer = EncoderTrainer(
            model, start.tokenizer, start.train, start.dev, training, unused, epochs=0, learning_rate=training.qat_learning_rate
        )  # fmt: skip
        return trainer.evaluate()[f"eval_{start.dataset.metric}"]
