# SPDX-License-Identifier: Apache-2.0
"""The BERT-like encoder: embeddings, layers of attention and feed-forward with LayerNorm behind each, and a head."""

from __future__ import annotations

from torch import Tensor, nn

from bitloom.hw.keys import SEGMENT
from bitloom.qat.net.attention import Border, Context, FixedContext, Scores, Softmax
from bitloom.qat.net.kept import KeepTokens, StillReal
from bitloom.qat.net.network import Network
from bitloom.qat.net.off_ramps import OffRamp, OffRamps
from bitloom.qat.net.operators import LOGIT_BITS, Add, Embeddings, FirstToken, LayerNorm, Linear, Table
from bitloom.qat.net.shape import EncoderShape, LayerShape


class Factored(nn.Module):
    """A weight matrix as the product of two, through `rank` channels: y = wide(narrow(x))."""

    def __init__(self, in_features: int, rank: int, out_features: int):
        super().__init__()
        self.narrow, self.wide = Linear(in_features, rank), Linear(rank, out_features)

    def forward(self, x: Tensor) -> Tensor:
        return self.wide(self.narrow(x))


def reader(matrix: Linear | Factored) -> Linear:
    """The layer that takes a matrix's inputs."""
    return matrix.narrow if isinstance(matrix, Factored) else matrix


def writer(matrix: Linear | Factored) -> Linear:
    """The layer that gives a matrix's outputs."""
    return matrix.wide if isinstance(matrix, Factored) else matrix


class EncoderLayer(nn.Module):
    """Multi-head attention and feed-forward, each with a residual sum and a LayerNorm behind."""

    def __init__(self, layer: LayerShape, hidden: int, eps: float = 1e-12, dropout: float = 0.0, attention_dropout: float = 0.0):
        super().__init__()
        sizes, ranks = layer.matrices(hidden), dict(layer.ranks)

        def matrix(name: str) -> Linear | Factored:
            inputs, outputs = sizes[name]
            return Factored(inputs, ranks[name], outputs) if name in ranks else Linear(inputs, outputs)

        if layer.heads:
            self.query, self.key, self.value = (matrix(name) for name in ("query", "key", "value"))
            self.scores, self.probs, self.context = Scores(layer.heads, layer.keys), Softmax(layer.keys), Context(layer.heads)
        self.probs_dropout, self.dropout = nn.Dropout(attention_dropout), nn.Dropout(dropout)
        self.attention, self.ffn, self.fixed = nn.Module(), nn.Module(), nn.Module() if layer.patterns else None
        if layer.heads:
            self.attention.output = matrix("attention.output")
        if layer.patterns:
            self.fixed.value, self.fixed.context, self.fixed.output = matrix("fixed.value"), FixedContext(layer.patterns), matrix("fixed.output")
            self.attention.merged = Add() if layer.heads else None
        self.layer = layer
        self.attention.sum, self.attention.norm = Add(), LayerNorm(hidden, eps)
        self.kept = KeepTokens(layer.keep) if layer.keep else None
        self.still_real = StillReal(self.kept) if layer.keep else None
        self.ffn.up, self.ffn.act, self.ffn.down = matrix("ffn.up"), Table(layer.activation), matrix("ffn.down")
        self.ffn.sum, self.ffn.norm = Add(), LayerNorm(hidden, eps)

    def forward(self, x: Tensor, real: Tensor | None, *border: Tensor) -> tuple[Tensor, Tensor | None]:
        """x [B, T, H] -> [B, T, H], or fewer tokens; real: False for padding, broadcast to [B, heads, T, T]: of x -> of what comes back;
        border: [B, 1], where the keys depend on it.
        """
        attended, probs = self.attend(x, real, *border) if self.layer.heads else (None, None)
        if self.fixed is not None:
            fixed = self.fixed.output(self.fixed.context(self.fixed.value(x), real))
            attended = fixed if attended is None else self.attention.merged(attended, fixed)
        x = self.attention.norm(self.attention.sum(self.dropout(attended), x))
        if self.kept is not None:
            x, real = self.kept(x, probs, real), self.still_real(real)
        fed = self.ffn.down(self.ffn.act(self.ffn.up(x)))
        return self.ffn.norm(self.ffn.sum(self.dropout(fed), x)), real

    def attend(self, x: Tensor, real: Tensor | None, *border: Tensor) -> tuple[Tensor, Tensor]:
        """What the heads give that have queries and keys [B, T, H], and their probabilities [B, heads, T, T]."""
        q, k, v = self.query(x), self.key(x), self.value(x)
        probs = self.probs(self.scores(q, k, *border), real, *border)
        return self.attention.output(self.context(self.probs_dropout(probs), v)), probs


class Encoder(Network):
    """Logits of a sentence [B, labels], or of each token [B, T, labels]."""

    def __init__(self, shape: EncoderShape):
        super().__init__()
        self.shape, hidden = shape, shape.hidden
        width, pairs = shape.embedding or hidden, [layer.keys == SEGMENT for layer in shape.layers]
        self.embeddings = nn.Module()
        self.embeddings.sum = Embeddings(shape.vocabulary, shape.positions, shape.segments, width, any(pairs))
        self.border = Border() if any(pairs) else None
        self.embeddings.norm = LayerNorm(width, shape.layer_norm_eps)
        self.embeddings.project = Linear(width, hidden) if width != hidden else None
        self.dropout = nn.Dropout(shape.dropout)
        self.layer = nn.ModuleList(EncoderLayer(layer, hidden, shape.layer_norm_eps, shape.dropout, shape.attention_dropout) for layer in shape.layers)
        self.pooler = nn.Module() if not shape.per_token else None
        if self.pooler is not None:
            self.pooler.first = FirstToken()
            if shape.pooler:
                self.pooler.pre, self.pooler.act = Linear(hidden, hidden, acc="pooler.acc"), Table(shape.pooler, name="pooler")
        self.logits = Linear(hidden, shape.labels, bits=LOGIT_BITS)
        self.exit = nn.ModuleList(OffRamp(hidden, shape.labels, shape.dropout) for _ in shape.layers[1:]) if shape.exits else None
        self.answer = OffRamps(len(shape.layers)) if shape.exits else None

    def forward(self, input_ids: Tensor, token_type_ids: Tensor, real: Tensor | None) -> Tensor:
        x = self.embeddings.sum(input_ids, token_type_ids)
        border = () if self.border is None else (self.border(x, token_type_ids, real),)
        x = self.dropout(self.embeddings.norm(x))
        if self.embeddings.project is not None:
            x = self.embeddings.project(x)
        early = []
        for index, layer in enumerate(self.layer):
            x, real = layer(x, real, *(border if self.shape.layers[index].keys == SEGMENT else ()))
            if self.answer is not None and index < len(self.exit):
                early.append(self.exit[index](x))
        if self.answer is not None:
            return self.answer(*early, self.logits(self.dropout(self.pooler.first(x))))
        if self.pooler is None:
            return self.logits(x)
        x = self.pooler.first(x)
        if self.shape.pooler:
            x = self.pooler.act(self.pooler.pre(x))
        return self.logits(self.dropout(x))
