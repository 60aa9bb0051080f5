# SPDX-License-Identifier: Apache-2.0
"""Embedding factorization: the V x H table of tokens becomes V x E times E x H; a linear layer leads from the narrow embeddings to the encoder.

Lan et al. 2020, "ALBERT" (arXiv:1909.11942).
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import torch
from pydantic import Field

from bitloom.qat.methods import MethodConfig
from bitloom.qat.methods.method import Method, Setup
from bitloom.qat.net.encoder import Encoder
from bitloom.qat.net.shape import EncoderShape
from bitloom.qat.networks import MAX_HIDDEN


class Config(MethodConfig):
    """size: E."""

    method: Literal["embedding_factorization"]
    size: int = Field(ge=2, le=MAX_HIDDEN)


class EmbeddingFactorization(Method):
    """Starts from W = U S V^T: tables W V_E, and behind their LayerNorm (over E channels now) x -> sqrt(H/E) * gamma * (V_E x) + beta of the one before."""

    Config = Config
    early = True

    def require(self, setup: Setup) -> None:
        if setup.shape.embedding is not None:
            raise self.error(
                "size", f"a network with embeddings of {setup.shape.embedding} already", "be one with embeddings as wide as the encoder", "remove it"
            )
        if self.cfg.size >= setup.shape.hidden:
            raise self.error("size", self.cfg.size, f"be below the encoder's {setup.shape.hidden}", "lower it")

    def reshape(self, shape: EncoderShape) -> EncoderShape:
        return replace(shape, embedding=self.cfg.size)

    def weights(self, old: Encoder, new: Encoder) -> None:
        tables, norm = old.embeddings.sum, old.embeddings.norm
        basis = torch.linalg.svd(tables.word.double(), full_matrices=False).Vh[: self.cfg.size].T  # [H, E]
        for name in ("word", "position", "segment"):
            getattr(new.embeddings.sum, name).copy_(getattr(tables, name).double() @ basis)
        new.embeddings.project.weight.copy_(math.sqrt(len(basis) / self.cfg.size) * norm.weight.double()[:, None] * basis)
        new.embeddings.project.bias.copy_(norm.bias)


METHOD = EmbeddingFactorization
