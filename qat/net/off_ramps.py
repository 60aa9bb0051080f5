# SPDX-License-Identifier: Apache-2.0
"""The off-ramps of an encoder: a classifier behind each layer, and the rule by which a sentence leaves (hw/ops/off_ramps.py)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bitloom.hw import ops
from bitloom.hw.graph import GraphBuilder
from bitloom.hw.graph import Tensor as GraphTensor
from bitloom.qat.net.operator import Operator, integers
from bitloom.qat.net.operators import LOGIT_BITS, FirstToken, Linear

NEVER = 2.0**20  # a threshold above any margin


class OffRamp(nn.Module):
    """The logits of a sentence's first token behind one layer."""

    def __init__(self, hidden: int, labels: int, dropout: float = 0.0):
        super().__init__()
        self.first, self.logits, self.dropout = FirstToken(), Linear(hidden, labels, bits=LOGIT_BITS), nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, H] -> [B, labels]"""
        return self.logits(self.dropout(self.first(x)))


class OffRamps(Operator, nn.Module):
    """The answer: while it trains that of the last off-ramp, else of the one at which each sentence leaves.

    threshold  of each off-ramp but the last, a margin between logits; patience: off-ramps in a row that must agree. Set behind training, not by its gradients
    """

    chooses = True

    def __init__(self, layers: int):
        super().__init__()
        self.threshold = nn.Parameter(torch.full((layers - 1,), NEVER), requires_grad=False)
        self.patience = nn.Parameter(torch.ones(()), requires_grad=False)

    grid = property(lambda self: self._sources[-1].grid)

    def least_exponents(self):
        """All off-ramps have one grid."""
        coarsest = max(source.grid.e for source in self._sources)
        yield from ((source.grid, coarsest) for source in self._sources)

    def codes(self) -> Tensor:
        """Thresholds in codes of the logits, 0 .. 2**bits: the least margin that is not below the threshold."""
        return torch.ceil(self.threshold.double() * 2.0**-self.grid.e).clamp(0, 1 << self.grid.bits)

    def forward(self, *logits: Tensor) -> Tensor:
        """[B, labels] of each off-ramp -> [B, labels]"""
        if self.training:
            return logits[-1]
        every = torch.stack(logits)
        thresholds = self.threshold if self.grid.plain or self.grid.observer is not None else self.codes() * 2.0**self.grid.e
        return every[taken(every, thresholds, self.patience), torch.arange(every.shape[1], device=every.device)]

    def append(self, b: GraphBuilder, inputs: list[GraphTensor]) -> GraphTensor:
        return ops.off_ramps.append(b, self.tensor, inputs, integers(self.codes()), int(self.patience))


def margins(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Of [L, B, labels]: how far the largest logit is above the others, and how many off-ramps in a row have had the same best label, [L, B] each."""
    top = logits.topk(2, dim=-1).values
    best = logits.argmax(-1)
    runs = [torch.ones_like(best[0])]
    for before, now in zip(best[:-1], best[1:], strict=True):
        runs.append(torch.where(before == now, runs[-1] + 1, 1))
    return top[..., 0] - top[..., 1], torch.stack(runs)


def taken(logits: Tensor, threshold: Tensor | float, patience: Tensor | int) -> Tensor:
    """The off-ramp at which each sentence leaves, [B], of logits [L, B, labels]; threshold: one, or one of each off-ramp but the last."""
    margin, run = margins(logits)
    limits = torch.as_tensor(threshold, device=logits.device).to(margin.dtype).expand(len(logits) - 1)[:, None]
    leaves = (margin[:-1] >= limits) & (run[:-1] >= patience)
    return torch.cat([leaves, torch.ones_like(leaves[:1])]).int().argmax(0)
