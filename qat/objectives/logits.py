# SPDX-License-Identifier: Apache-2.0
"""Distillation by logits: the student answers as the teacher does, not only as the label says.

Hinton, Vinyals and Dean 2015, "Distilling the Knowledge in a Neural Network" (arXiv:1503.02531).
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field, model_serializer, model_validator
from torch import Tensor
from torch.nn import functional as TF

from bitloom.hw.settings import ConfigError, Number
from bitloom.qat.checkpoint import is_plain
from bitloom.qat.features import Features
from bitloom.qat.methods.method import TaskData, Work
from bitloom.qat.objectives.teacher import OWN, Objective, Taught, hugging_teacher, load_teacher
from bitloom.qat.tokenizer import TextTokenizer
from bitloom.qat.trainer import predict

MASKED = -1e4  # logit of a token that cannot be chosen


class Config(Taught):
    """alpha: share of the teacher's word; what stands before it in the list, the task's loss first, has the rest.

    loss  kl: of the labels' probabilities, at a temperature; mse: squared error of the logits themselves, as Tang et al. 2019 (arXiv:1903.12136) have it
    """

    method: Literal["logits"]
    temperature: Number = Field(2.0, gt=0, le=1000)
    alpha: Number = Field(0.5, ge=0, le=1)
    loss: Literal["kl", "mse"] = "kl"

    @model_validator(mode="after")
    def _temperature_is_of_probabilities(self) -> Config:
        if self.loss == "mse" and "temperature" in self.model_fields_set:
            raise ConfigError(f"temperature: got {self.temperature:g} with loss: mse, must be left out: it is of probabilities; remove one of them")
        return self

    @model_serializer(mode="wrap")
    def _as_before(self, write) -> dict[str, Any]:
        """Without the loss where it is kl, as runs from before there was another have it; without a temperature where it has none."""
        return {key: value for key, value in write(self).items() if key != ("loss" if self.loss == "kl" else "temperature")}


class Logits(Objective):
    """loss <- (1-alpha) * loss + alpha * T**2 * KL(teacher/T || student/T), or alpha * mean (teacher - student)**2.

    The teacher is asked once, before the phase, and reads with its own tokenizer.
    """

    Config = Config
    any_network = True

    def prepare(self, data: TaskData) -> None:
        if self.cfg.teacher != OWN:
            self._answers(data, None)

    def begin(self, work: Work) -> None:
        if work.phase in self.phases():
            work.data.train.add("teacher_logits", self._answers(work.data, work.own))

    def _answers(self, data: TaskData, own: torch.nn.Module | None) -> list:
        """The teacher's logits for each training item, asked once a run."""
        if self.cfg.teacher not in data.answers:
            data.report("asking the teacher")
            model, items, pad = own, data.train, data.tokenizer.pad_id
            if self.cfg.teacher != OWN:
                plain = is_plain(self.cfg.teacher)
                model, reader = (load_teacher if plain else hugging_teacher)(self, data), TextTokenizer.load(self.cfg.teacher)
                longest = model.max_tokens if plain else min(512, model.config.max_position_embeddings)
                items = items if data.model.head == "token" else Features(data.dataset, data.dataset.train, reader, longest)
                model, pad = model.to(data.device), reader.pad_id
            data.answers[self.cfg.teacher] = predict(model, items, pad, data.training.eval_batch_size)
        return data.answers[self.cfg.teacher]

    def loss(self, work: Work, loss: Tensor, inputs: dict[str, Tensor], outputs: Any) -> Tensor:
        if work.phase not in self.phases():
            return loss
        temperature = self.cfg.temperature if self.cfg.loss == "kl" else None
        apart = distance(outputs, inputs["teacher_logits"], inputs["attention_mask"], temperature)
        return (1 - self.cfg.alpha) * loss + self.cfg.alpha * apart


def distance(outputs: Any, teacher: Tensor, mask: Tensor, temperature: float | None) -> Tensor:
    """How far the student's answers are from the teacher's: T**2 * KL(teacher/T || student/T); without a temperature the mean squared error.

    outputs  `logits` [B, C], or `start_logits`, `end_logits` [B, T]
    teacher  [B, C], or [B, T, 2] for spans; one number a sentence (regression) is compared by its square error
    """
    if "start_logits" in outputs:
        padding = (mask == 0)[:, None, :]
        student = torch.stack([outputs.start_logits, outputs.end_logits], 1).masked_fill(padding, MASKED)
        teacher = teacher.transpose(1, 2).masked_fill(padding, MASKED)
    else:
        student = outputs.logits
        if student.ndim == 3:  # a label for each token: without the padding
            student, teacher = student[mask == 1], teacher[mask == 1]
    if "start_logits" in outputs and temperature is None:
        real = ~padding.expand_as(student)
        return TF.mse_loss(student[real], teacher[real])
    if student.shape[-1] == 1 or temperature is None:
        return TF.mse_loss(student, teacher)
    student, teacher = (TF.log_softmax(x / temperature, -1).flatten(0, -2) for x in (student, teacher))
    return temperature**2 * TF.kl_div(student, teacher, log_target=True, reduction="batchmean")


METHOD = Logits
