# SPDX-License-Identifier: Apache-2.0
"""Encoders of the BERT family, written once: whatever else is known of them follows from this forward pass."""

from __future__ import annotations

import math

from bitloom.qat.net.attention import Context, Scores, Softmax
from bitloom.qat.net.network import Network
from bitloom.qat.net.operators import Add, Embed, FirstToken, LayerNorm, Linear, Table
from bitloom.qat.net.shape import EncoderShape, LayerShape
from torch import Tensor, nn

LOGIT_BITS = 16


class EncoderLayer(nn.Module):
    """Multi-head attention and feed-forward, each with a residual sum and a LayerNorm behind it."""

    def __init__(self, encoder: EncoderShape, layer: LayerShape):
        super().__init__()
        hidden, width = encoder.hidden, layer.heads * layer.head_width
        self.query = Linear(hidden, width, factor=1 / math.sqrt(layer.head_width))  # the scores' factor, folded in
        self.key, self.value = Linear(hidden, width), Linear(hidden, width)
        self.scores, self.probs, self.context = Scores(layer.heads), Softmax(), Context(layer.heads)
        self.attention, self.ffn = nn.Module(), nn.Module()
        self.attention.output, self.attention.sum = Linear(width, hidden), Add()
        self.attention.norm = LayerNorm(hidden, encoder.layer_norm_eps)
        self.ffn.up, self.ffn.act, self.ffn.down = Linear(hidden, layer.intermediate), Table(layer.activation), Linear(layer.intermediate, hidden)
        self.ffn.sum, self.ffn.norm = Add(), LayerNorm(hidden, encoder.layer_norm_eps)
        self.dropout, self.attention_dropout = nn.Dropout(encoder.dropout), nn.Dropout(encoder.attention_dropout)

    def forward(self, x: Tensor, real: Tensor | None) -> Tensor:
        q, k, v = self.query(x), self.key(x), self.value(x)
        probs = self.attention_dropout(self.probs(self.scores(q, k), real))
        attended = self.dropout(self.attention.output(self.context(probs, v)))
        x = self.attention.norm(self.attention.sum(attended, x))
        wide = self.ffn.act(self.ffn.up(x))
        return self.ffn.norm(self.ffn.sum(self.dropout(self.ffn.down(wide)), x))


class Encoder(Network):
    """Embeddings, layers and a head: one vector of logits a sentence (`sequence`) or one a token (`token`)."""

    def __init__(self, shape: EncoderShape):
        super().__init__(shape.max_tokens)
        self.shape = shape
        width = shape.embedding or shape.hidden
        self.embeddings = nn.Module()
        self.embeddings.sum = Embed(shape.vocabulary, shape.max_tokens, shape.segments, width)
        self.embeddings.norm = LayerNorm(width, shape.layer_norm_eps)
        self.embeddings.project = None if shape.embedding is None else Linear(width, shape.hidden)
        self.layer = nn.ModuleList(EncoderLayer(shape, layer) for layer in shape.layers)
        self.pooler = nn.Module()
        self.pooler.first = FirstToken() if shape.head == "sequence" else None
        if shape.pooler is not None:
            self.pooler.pre, self.pooler.act = Linear(shape.hidden, shape.hidden, acc="pooler.acc"), Table(shape.pooler, name="pooler")
        self.logits = Linear(shape.hidden, shape.labels, bits=LOGIT_BITS)
        self.dropout, self.head_dropout = nn.Dropout(shape.dropout), nn.Dropout(shape.head_dropout)

    def encode(self, input_ids: Tensor, token_type_ids: Tensor, real: Tensor | None) -> Tensor:
        """Values of the last layer, [B, T, H]."""
        x = self.dropout(self.embeddings.norm(self.embeddings.sum(input_ids, token_type_ids)))
        if self.embeddings.project is not None:
            x = self.embeddings.project(x)
        for layer in self.layer:
            x = layer(x, real)
        return x

    def forward(self, input_ids: Tensor, token_type_ids: Tensor, real: Tensor | None) -> Tensor:
        """Logits, [B, labels] or [B, T, labels]."""
        x = self.encode(input_ids, token_type_ids, real)
        if self.pooler.first is not None:
            x = self.pooler.first(x)
        if self.shape.pooler is not None:
            x = self.pooler.act(self.pooler.pre(x))
        return self.logits(self.head_dropout(x) if self.shape.head == "sequence" else x)
