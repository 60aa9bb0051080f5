# SPDX-License-Identifier: Apache-2.0
"""Balanced pruning: of each group of n neighbouring weights of a row k stay, so that every group has as much to do.

Cao et al. 2019, "Efficient and Effective Sparse LSTM on FPGA with Bank-Balanced Sparsity" (FPGA '19); 2 of 4: Mishra et al. 2021, "Accelerating Sparse Deep
Neural Networks" (arXiv:2104.08378).
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from bitloom.hw.settings import ConfigError
from bitloom.qat.methods.masks import Gradual, Masks
from bitloom.qat.net.operators import Linear


class Config(Gradual):
    """keep: weights that stay of each group of `of`."""

    method: Literal["balanced_pruning"]
    keep: int = Field(ge=1, le=1 << 16)
    of: int = Field(ge=1, le=1 << 16)

    @model_validator(mode="after")
    def _some_of_them(self) -> Config:
        if self.keep > self.of:
            raise ConfigError(f"keep: got {self.keep} of {self.of}, must be at most these; lower it")
        return self


class BalancedPruning(Masks):
    """mask = the round(n - done * (n - k)) largest |w| of each group; of equal ones those that come first."""

    Config = Config
    aligned = True

    def fits(self, name: str, operator: Linear) -> None:
        if operator.in_features % self.cfg.of:
            near = max(n for n in range(1, self.cfg.of + 1) if operator.in_features % n == 0)
            raise self.error(
                "of", self.cfg.of, f"divide the {operator.in_features} weights of a row of '{name}'", f"use e.g. {near}, or leave it out with layers"
            )

    def choose(self, weights: dict[str, Tensor], done: float) -> dict[str, Tensor]:
        count, kept = round(self.cfg.of - done * (self.cfg.of - self.cfg.keep)), {}
        for name, weight in weights.items():
            groups = weight.abs().unflatten(1, (-1, self.cfg.of))
            first = groups.sort(dim=-1, descending=True, stable=True).indices[..., :count]
            kept[name] = torch.zeros_like(groups, dtype=torch.bool).scatter_(-1, first, True).flatten(1)
        return kept


METHOD = BalancedPruning
