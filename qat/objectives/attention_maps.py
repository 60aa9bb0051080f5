# SPDX-License-Identifier: Apache-2.0
"""Distillation by attention: the student's tokens look where the teacher's do, head by head, in equally spaced layers.

Square error of the scores: Jiao et al. 2020, "TinyBERT" (arXiv:1909.10351); divergence of the probabilities: Sun et al. 2020, "MobileBERT" (arXiv:2004.02984).
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as TF

from bitloom.qat.methods.method import Work
from bitloom.qat.net.shape import EncoderShape
from bitloom.qat.objectives.teacher import Looking, Taught, Weight, spaced_pairs

LEAST = 2.0**-20  # a probability as its logarithm is taken: integer ones may be 0


class Config(Taught):
    """distance: square, of the scores before softmax, or divergence, of the probabilities. heads: each with the teacher's of its number, or their mean."""

    method: Literal["attention_maps"]
    weight: Weight = 1.0
    distance: Literal["square", "divergence"] = "square"
    heads: Literal["each", "mean"] = "each"


class AttentionMaps(Looking):
    """loss <- loss + weight * mean over layers of D(A_i, A'_g(i)), g as in hidden_states.py, over pairs of real tokens that both still have.

    D of square: mean of (A - A')**2, A = q k^T / sqrt(d); divergence: mean over queries and heads of sum over keys p' * log(p'/p), where both p and p' are
    divided by their sum over the keys that both have, if some have been taken out.
    Heads with fixed patterns have no scores: the heads of a layer with n of them are compared with the teacher's from its n-th on. A layer without others is
    left out.
    """

    Config = Config

    def fits(self, student: EncoderShape, teacher: EncoderShape) -> None:
        super().fits(student, teacher)
        if not (pairs := learned_pairs(student, teacher)):
            raise self.error("", "layers of fixed patterns alone", "have a head with scores in one layer, and in the teacher's", "remove attention_maps")
        for i, g in pairs:
            ours, theirs = student.layers[i], teacher.layers[g]
            counts = [layer.heads + len(layer.patterns) for layer in (ours, theirs)]
            if self.cfg.heads == "each" and (counts[0] != counts[1] or len(ours.patterns) < len(theirs.patterns)):
                got = f"'each' with {counts[0]} heads in layer {i} and {counts[1]} in the teacher's"
                raise self.error("heads", got, "be pairs", "set heads: mean")

    def loss(self, work: Work, loss: Tensor, inputs: dict[str, Tensor], outputs: Any) -> Tensor:
        if work.phase not in self.phases():
            return loss
        ours, theirs = self.seen(work, inputs)
        pairs = learned_pairs(work.network.shape, work.shared["teachers"][self.cfg.teacher].model.network.shape)
        kind = "before" if self.cfg.distance == "square" else "after"
        terms = [self._distance(*ours.maps(i, kind), *theirs.maps(g, kind)) for i, g in pairs]
        return loss + self.cfg.weight * sum(terms) / len(terms)

    def _distance(self, x: Tensor, own: Tensor, y: Tensor, its: Tensor) -> Tensor:
        """x, y [B, heads, T, T], of the tokens own, its [B, T]"""
        real = own & its
        if self.cfg.heads == "mean":
            x, y = x.mean(1, keepdim=True), y.mean(1, keepdim=True)
        y = y[:, y.shape[1] - x.shape[1] :]  # the student's first heads may have fixed patterns
        queries = real[:, None, :, None].expand(x.shape[:3] + (1,))
        if self.cfg.distance == "square":
            both = (queries & real[:, None, None, :]).expand_as(x)
            return TF.mse_loss(x[both], y[both])
        if not torch.equal(own, its):
            x, y = (p / (p * real[:, None, None, :]).sum(-1, keepdim=True).clamp(min=LEAST) for p in (x, y))
        divergence = (y * (y.clamp(min=LEAST).log() - x.clamp(min=LEAST).log())).masked_fill(~real[:, None, None, :], 0).sum(-1)
        return divergence[queries[..., 0]].mean()


def learned_pairs(student: EncoderShape, teacher: EncoderShape) -> list[tuple[int, int]]:
    """Those of `spaced_pairs` in which both layers have heads with scores."""
    return [(i, g) for i, g in spaced_pairs(len(student.layers), len(teacher.layers)) if student.layers[i].heads and teacher.layers[g].heads]


METHOD = AttentionMaps
