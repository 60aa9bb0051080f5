# SPDX-License-Identifier: Apache-2.0
"""Convolutional networks: a stack of dilated convolutions with residual sums, then convolutions side by side whose tokens are pooled.

Kim 2014, "Convolutional Neural Networks for Sentence Classification" (arXiv:1408.5882): kernels of several sizes side by side, max over tokens;
Strubell et al. 2017, "Fast and Accurate Entity Recognition with Iterated Dilated Convolutions" (arXiv:1702.02098): the stack.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from bitloom.qat.net.convolution import Concat, Convolution, TokenMax, TokenMean
from bitloom.qat.net.kept import StillReal
from bitloom.qat.net.network import Network
from bitloom.qat.net.operators import LOGIT_BITS, Add, Embeddings, LayerNorm, Linear, Table
from bitloom.qat.net.shape import Head, NetworkShape
from bitloom.qat.networks import CnnConfig

POOLS = {"max": TokenMax, "mean": TokenMean}


@dataclass(frozen=True, kw_only=True)
class CnnShape(NetworkShape):
    """A convolutional network with its head; fields as CnnConfig and NetworkShape have them.

    stack   (kernel, dilation) of each convolution with a residual sum, from `hidden` channels to `hidden`
    kernels of the convolutions side by side, each of `filters` channels, at one place in each `stride` tokens; (): the head reads the stack's
    """

    kind: ClassVar[str] = "cnn"
    smaller: ClassVar[str] = "model.hidden, filters"

    hidden: int
    stack: tuple[tuple[int, int], ...] = ()
    kernels: tuple[int, ...] = (3, 4, 5)
    filters: int = 100
    stride: int = 1
    activation: str = "relu"
    pooling: Literal["max", "mean"] = "max"
    vocabulary: int
    positions: int
    segments: int = 2
    layer_norm_eps: float = 1e-12
    head: Head = "sequence"
    labels: int = 2
    max_tokens: int = 64
    dropout: float = 0.1

    @classmethod
    def of(cls, model: CnnConfig, head: Head, labels: int, vocabulary: int) -> CnnShape:
        """Of a recipe."""
        return cls(
            hidden=model.hidden,
            stack=tuple((model.kernel, dilation) for dilation in model.dilations),
            kernels=tuple(model.kernels),
            filters=model.filters,
            stride=model.stride,
            activation=model.activation,
            pooling=model.pooling,
            vocabulary=vocabulary,
            positions=model.max_tokens,
            head=head,
            labels=labels,
            max_tokens=model.max_tokens,
            dropout=model.dropout,
        )

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> CnnShape:
        """Of `as_dict`, through JSON too, which knows no tuples. Raises TypeError, KeyError: it is none."""
        own = {key: value for key, value in values.items() if key != "network"}
        return cls(**(own | {"stack": tuple(map(tuple, own["stack"])), "kernels": tuple(own["kernels"])}))

    @property
    def width(self) -> int:
        return self.hidden

    @property
    def features(self) -> int:
        """Channels that the head reads."""
        return len(self.kernels) * self.filters or self.hidden

    def _convolutions(self) -> list[tuple[int, int]]:
        """Inputs and outputs of each one's weights."""
        return [*((kernel * self.hidden, self.hidden) for kernel, _ in self.stack), *((kernel * self.hidden, self.filters) for kernel in self.kernels)]

    def layer_parameters(self) -> int:
        return sum((inputs + 1) * outputs for inputs, outputs in self._convolutions()) + 2 * self.hidden * len(self.stack)

    def parameters(self) -> int:
        tables = (self.vocabulary + self.positions + self.segments + 2) * self.hidden
        return tables + self.layer_parameters() + (self.features + 1) * self.labels

    def kept(self, batch: int) -> int:
        """The window's tokens, and what the convolution gives before and behind its activation."""
        return sum(4 * batch * self.max_tokens * (inputs + 2 * outputs) for inputs, outputs in self._convolutions())

    def words(self) -> str:
        stack = f"{len(self.stack)} convolutions of {self.hidden} channels" if self.stack else ""
        every = f" at one place in {self.stride}" if self.stride > 1 else ""
        beside = f"kernels of {', '.join(map(str, self.kernels))} tokens with {self.filters} filters each{every}" if self.kernels else ""
        return " and ".join(part for part in (stack, beside) if part) or "no convolution"

    def about(self) -> dict[str, Any]:
        return {
            "network": self.kind,
            "hidden": self.hidden,
            "stack": [list(one) for one in self.stack],
            "kernels": list(self.kernels),
            "filters": self.filters,
            **({"stride": self.stride} if self.stride > 1 else {}),
            "activation": self.activation,
            "head": "token" if self.per_token else "sequence",
            "labels": self.labels,
            "max_tokens": self.max_tokens,
            "text": f"embeddings of {self.hidden}, {self.words()}" + ("" if self.per_token else f", {self.pooling} over tokens"),
        }


class CnnLayer(nn.Module):
    """A dilated convolution with a residual sum around it and LayerNorm behind."""

    def __init__(self, hidden: int, kernel: int, dilation: int, activation: str, eps: float = 1e-12, dropout: float = 0.0):
        super().__init__()
        self.convolution, self.act = Convolution(hidden, hidden, kernel, dilation), Table(activation)
        self.dropout, self.sum, self.norm = nn.Dropout(dropout), Add(), LayerNorm(hidden, eps)

    def forward(self, x: Tensor, real: Tensor | None) -> Tensor:
        """[B, T, H] -> [B, T, H]"""
        return self.norm(self.sum(self.dropout(self.act(self.convolution(x, real))), x))


class CnnBranch(nn.Module):
    """One of the convolutions side by side, and what its tokens become; per_token: they stay."""

    def __init__(self, shape: CnnShape, kernel: int):
        super().__init__()
        self.convolution, self.act = Convolution(shape.hidden, shape.filters, kernel, stride=shape.stride), Table(shape.activation)
        self.still_real = StillReal(self.convolution.window) if shape.stride > 1 else None
        self.pool = None if shape.per_token else POOLS[shape.pooling]()

    def forward(self, x: Tensor, real: Tensor | None) -> Tensor:
        """[B, T, H] -> [B, filters], or [B, T, filters]"""
        x = self.act(self.convolution(x, real))
        real = real if self.still_real is None else self.still_real(real)
        return x if self.pool is None else self.pool(x, real)


class Cnn(Network):
    """Logits of a sentence [B, labels], or of each token [B, T, labels]."""

    def __init__(self, shape: CnnShape):
        super().__init__()
        self.shape = shape
        self.embeddings = nn.Module()
        self.embeddings.sum = Embeddings(shape.vocabulary, shape.positions, shape.segments, shape.hidden)
        self.embeddings.norm = LayerNorm(shape.hidden, shape.layer_norm_eps)
        self.dropout = nn.Dropout(shape.dropout)
        self.layer = nn.ModuleList(CnnLayer(shape.hidden, *one, shape.activation, shape.layer_norm_eps, shape.dropout) for one in shape.stack)
        self.branch = nn.ModuleList(CnnBranch(shape, kernel) for kernel in shape.kernels)
        self.join = nn.ModuleList(Concat() for _ in shape.kernels[1:])
        self.pool = None if shape.kernels or shape.per_token else POOLS[shape.pooling]()
        self.logits = Linear(shape.features, shape.labels, bits=LOGIT_BITS)

    def forward(self, input_ids: Tensor, token_type_ids: Tensor, real: Tensor | None) -> Tensor:
        x = self.dropout(self.embeddings.norm(self.embeddings.sum(input_ids, token_type_ids)))
        for layer in self.layer:
            x = layer(x, real)
        if self.branch:
            first, *others = (branch(x, real) for branch in self.branch)
            x = reduce(lambda made, pair: pair[0](made, pair[1]), zip(self.join, others, strict=True), first)
        elif self.pool is not None:
            x = self.pool(x, real)
        return self.logits(self.dropout(x))
