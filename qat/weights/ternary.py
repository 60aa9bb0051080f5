# SPDX-License-Identifier: Apache-2.0
"""Ternary weights whose scale and threshold follow from the weights in each step, by a rule: nothing of them is learned.

twn         threshold 0.7 E|w|, scale the mean magnitude of the weights above it (Li and Liu 2016, "Ternary weight networks", arXiv:1605.04711)
loss_aware  least increase of the loss, sum of d (w - scale b)**2 with d the root of Adam's second moment as the diagonal of the Hessian: scale =
            sum(d |w| b) / sum(d b) and b = (|w| > scale / 2), in turn (Hou and Kwok 2018, "Loss-aware weight quantization of deep networks",
            arXiv:1802.08635; TernaryBERT: Zhang et al. 2020, arXiv:2009.12812)

The gradient goes straight through to the weights. What the last training step found stays, for evaluation and the integer graph.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bitloom.qat import functional as F
from bitloom.qat.weights.dyadic import Dyadic, WeightQuant

SHARE = 0.7  # of the mean magnitude: TWN's threshold
ROUNDS = 3  # of scale and threshold in turn
LEAST = 1e-4  # of the largest weight: scale of a group without a weight above the threshold
FLAT = 1e-12  # added to the curvature


class TernaryQuant(WeightQuant):
    """Weight quantizer with codes -1, 0 and 1.

    curvature  Adam's second moment of the weights [C, K], which a Trainer hands over; None: before the first step
    """

    curvature: Tensor | None = None

    def __init__(self, channels: int, coding: Dyadic):
        super().__init__(channels, bits=2, share=coding.share)
        self.coding = coding
        self.log_scale.requires_grad_(False)
        self.register_buffer("threshold", torch.zeros_like(self.log_scale))

    def codes(self, weight: Tensor) -> Tensor:
        groups = weight.detach().reshape(len(self.threshold), -1)
        return ((groups.abs() > self.threshold.to(weight.dtype)[:, None]) * groups.sign()).view_as(weight)

    @torch.no_grad()
    def fit(self, weight: Tensor) -> None:
        """Find thresholds and scales for these weights."""
        size = weight.detach().abs().reshape(len(self.threshold), -1)
        threshold = SHARE * size.mean(1)
        scale = _mean_above(size, threshold)
        if self.coding.ternary == "loss_aware" and self.curvature is not None:
            bend = self.curvature.reshape(size.shape).sqrt().add_(FLAT)
            for _ in range(ROUNDS):
                threshold = scale / 2
                scale = _mean_above(size, threshold, bend)
        self.threshold.copy_(threshold)
        self.log_scale.copy_(scale.log())

    def forward(self, weight: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        if self.training:
            self.fit(weight)
        scale = self.scale().to(weight.dtype)[:, None]
        return F.straight_through(weight, self.codes(weight) * scale), scale, self.zero_point, self.bit_width


def _mean_above(size: Tensor, threshold: Tensor, by: Tensor | None = None) -> Tensor:
    """Mean of each row's magnitudes above its threshold, weighted; a small number where there is none."""
    above = (size > threshold[:, None]).to(size.dtype)
    above = above if by is None else above * by
    least = max(float(size.max()) * LEAST, LEAST**2)
    return ((size * above).sum(1) / above.sum(1).clamp(min=1e-30)).clamp_(min=least)
