# SPDX-License-Identifier: Apache-2.0
"""Distillation by attention: the student's tokens look where the teacher's do, head by head, in equally spaced layers.

Square error of the scores: Jiao et al. 2020, "TinyBERT" (arXiv:1909.10351); divergence of the probabilities: Sun et al. 2020, "MobileBERT" (arXiv:2004.02984).
"""

from __future__ import annotations

from typing import Any, Literal

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
    """loss <- loss + weight * mean over layers of D(A_i, A'_g(i)), g as in hidden_states.py, over pairs of real tokens.

    D of square: mean of (A - A')**2, A = q k^T / sqrt(d); divergence: mean over queries and heads of sum over keys p' * log(p'/p).
    """

    Config = Config

    def fits(self, student: EncoderShape, teacher: EncoderShape) -> None:
        super().fits(student, teacher)
        for i, g in spaced_pairs(len(student.layers), len(teacher.layers)):
            ours, theirs = student.layers[i], teacher.layers[g]
            if self.cfg.heads == "each" and ours.heads != theirs.heads:
                got = f"'each' with {ours.heads} heads in layer {i} and {theirs.heads} in the teacher's"
                raise self.error("heads", got, "be pairs", "set heads: mean")

    def loss(self, work: Work, loss: Tensor, inputs: dict[str, Tensor], outputs: Any) -> Tensor:
        if work.phase not in self.phases():
            return loss
        ours, theirs, real = self.seen(work, inputs)
        pairs = spaced_pairs(len(work.network.layer), len(work.shared["teachers"][self.cfg.teacher].model.network.layer))
        kind = "before" if self.cfg.distance == "square" else "after"
        terms = [self._distance(ours[f"layer.{i}.{kind}"], theirs[f"layer.{g}.{kind}"], real) for i, g in pairs]
        return loss + self.cfg.weight * sum(terms) / len(terms)

    def _distance(self, x: Tensor, y: Tensor, real: Tensor) -> Tensor:
        """x, y [B, heads, T, T]"""
        if self.cfg.heads == "mean":
            x, y = x.mean(1, keepdim=True), y.mean(1, keepdim=True)
        queries = real[:, None, :, None].expand(x.shape[:3] + (1,))
        if self.cfg.distance == "square":
            both = (queries & real[:, None, None, :]).expand_as(x)
            return TF.mse_loss(x[both], y[both])
        divergence = (y * (y.clamp(min=LEAST).log() - x.clamp(min=LEAST).log())).masked_fill(~real[:, None, None, :], 0).sum(-1)
        return divergence[queries[..., 0]].mean()


METHOD = AttentionMaps
