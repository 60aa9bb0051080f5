# SPDX-License-Identifier: Apache-2.0
"""Magnitude pruning: the smallest weights become zero, step by step, and the others train on.

Han et al. 2015, "Learning both Weights and Connections for Efficient Neural Networks" (arXiv:1506.02626); for BERT Gordon et al. 2020,
"Compressing BERT: Studying the Effects of Weight Pruning on Transfer Learning" (arXiv:2002.08307); the schedule is Zhu and Gupta's (masks.py).
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from bitloom.hw.settings import Number
from bitloom.qat.methods.masks import Gradual, Masks


class Config(Gradual):
    """keep: share of the weights that stay. scope: layer, each keeps that share; all, the largest of all these layers stay."""

    method: Literal["magnitude_pruning"]
    keep: Number = Field(gt=0, le=1)
    scope: Literal["layer", "all"] = "layer"


class MagnitudePruning(Masks):
    """mask = |w| among the (1 - done * (1 - keep)) * n largest of n weights; of equal ones those that come first."""

    Config = Config

    def choose(self, weights: dict[str, Tensor], done: float) -> dict[str, Tensor]:
        share = 1 - done * (1 - self.cfg.keep)
        if self.cfg.scope == "layer":
            return {name: largest(weight.abs(), share) for name, weight in weights.items()}
        whole = largest(torch.cat([weight.abs().flatten() for weight in weights.values()]), share)
        parts = whole.split([weight.numel() for weight in weights.values()])
        return {name: part.view_as(weight) for (name, weight), part in zip(weights.items(), parts, strict=True)}


def largest(sizes: Tensor, share: float) -> Tensor:
    """True for that share of all elements (one at least), the largest; of equal ones those that come first."""
    count = max(1, round(share * sizes.numel()))
    kept = torch.zeros(sizes.numel(), dtype=torch.bool, device=sizes.device)
    kept[sizes.flatten().sort(descending=True, stable=True).indices[:count]] = True
    return kept.view_as(sizes)


METHOD = MagnitudePruning
