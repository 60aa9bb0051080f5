# SPDX-License-Identifier: Apache-2.0
"""Reweighted proximal pruning: weights shrink towards zero by a step of their own behind the gradient's, the small ones faster, until most are zero.

Guo et al. 2019, "Reweighted Proximal Pruning for Large-Scale Language Representation" (arXiv:1909.12486); the weights of l1: Candes, Wakin and Boyd 2008.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field

from bitloom.hw.settings import Number
from bitloom.qat.methods.masks import Gradual, Masks, key_of
from bitloom.qat.methods.method import Step, Work, linears
from bitloom.qat.net.encoder import Encoder


class Config(Gradual):
    """gamma: strength of the l1 term; epsilon: of the reweighting, on the weights' scale. `every` steps the weights of l1 are made anew."""

    method: Literal["rpp"]
    gamma: Number = Field(gt=0, le=1e6)
    epsilon: Number = Field(1e-3, gt=0, le=1e6)
    end: Number = Field(0.7, ge=0, le=1)
    every: int = Field(100, ge=1)


class Rpp(Masks):
    """min f(w) + gamma * sum_i alpha_i |w_i|: behind the optimizer's step on f alone, w = sign(w) * max(|w| - rate * gamma * alpha, 0).

    alpha_i = 1 / (|w_i| + epsilon) of the last reweighting, 1 / (max |w| + epsilon) .. 1 / epsilon; rate is the learning rate. Behind `end` zeros stay.
    """

    Config = Config

    def thin(self, network: Encoder) -> None:
        pass  # how many zeros there will be follows from gamma and the data

    def begin(self, work: Work) -> None:
        super().begin(work)
        if work.phase == self.cfg.phase:
            for name, operator in linears(work.network, self.cfg.layers):
                self.register_buffer(f"alpha/{key_of(name)}", self._alpha(operator.weight.detach()))

    def _alpha(self, weight: torch.Tensor) -> torch.Tensor:
        return 1 / (weight.abs() + self.cfg.epsilon)

    @torch.no_grad()
    def during(self, work: Work, step: Step) -> None:
        if work.phase == self.cfg.phase and step.number <= max(1, int(self.cfg.end * step.total)):
            if step.number > int(self.cfg.begin * step.total):
                for name, operator in linears(work.network, self.cfg.layers):
                    self._shrink(operator.weight, key_of(name), step)
            return
        super().during(work, step)

    def _shrink(self, weight: torch.Tensor, key: str, step: Step) -> None:
        alpha = self.get_buffer(f"alpha/{key}")
        if step.number % self.cfg.every == 0:
            alpha.copy_(self._alpha(weight))
        weight.copy_(weight.sign() * (weight.abs() - step.rate * self.cfg.gamma * alpha).clamp_(min=0))
        self.get_buffer(key).copy_(weight != 0)


METHOD = Rpp
