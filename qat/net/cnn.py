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

from bitloom.qat.net.backbone import BackboneNetwork, BackboneShape
from bitloom.qat.net.convolution import POOLS, Concat, Convolution
from bitloom.qat.net.kept import StillReal
from bitloom.qat.net.operators import Add, LayerNorm, Table
from bitloom.qat.net.shape import Head, convolution_kept, convolution_parameters
from bitloom.qat.networks import CnnConfig


@dataclass(frozen=True, kw_only=True)
class CnnShape(BackboneShape):
    """A convolutional network with its head; fields as CnnConfig and BackboneShape have them.

    stack   (kernel, dilation) of each convolution with a residual sum, from `hidden` channels to `hidden`
    kernels of the convolutions side by side, each of `filters` channels, at one place in each `stride` tokens; (): the head reads the stack's
    """

    kind: ClassVar[str] = "cnn"
    smaller: ClassVar[str] = "model.hidden, filters"

    stack: tuple[tuple[int, int], ...] = ()
    kernels: tuple[int, ...] = (3, 4, 5)
    filters: int = 100
    stride: int = 1
    activation: str = "relu"
    pooling: Literal["max", "mean"] = "max"

    @classmethod
    def of(cls, model: CnnConfig, head: Head, labels: int, vocabulary: int) -> CnnShape:
        return super().of(model, head, labels, vocabulary, stack=tuple((model.kernel, dilation) for dilation in model.dilations))

    @property
    def pooled_by(self) -> str | None:
        """Convolutions side by side pool their own tokens."""
        return None if self.kernels else super().pooled_by

    @property
    def features(self) -> int:
        return len(self.kernels) * self.filters or self.hidden

    def _convolutions(self) -> list[tuple[int, int, int]]:
        """Inputs, outputs and kernel of each one."""
        return [(self.hidden, self.hidden, kernel) for kernel, _ in self.stack] + [(self.hidden, self.filters, kernel) for kernel in self.kernels]

    def layer_parameters(self) -> int:
        return sum(convolution_parameters(*one) for one in self._convolutions()) + 2 * self.hidden * len(self.stack)

    def kept(self, batch: int) -> int:
        return batch * sum(convolution_kept(*one, self.max_tokens) for one in self._convolutions())

    def words(self) -> str:
        stack = f"{len(self.stack)} convolutions of {self.hidden} channels" if self.stack else ""
        every = f" at one place in {self.stride}" if self.stride > 1 else ""
        beside = f"kernels of {', '.join(map(str, self.kernels))} tokens with {self.filters} filters each{every}" if self.kernels else ""
        return " and ".join(part for part in (stack, beside) if part) or "no convolution"

    def text(self) -> str:
        return f"embeddings of {self.hidden}, {self.words()}" + ("" if self.per_token else f", {self.pooling} over tokens")

    def figures(self) -> dict[str, Any]:
        return {
            "stack": [list(one) for one in self.stack],
            "kernels": list(self.kernels),
            "filters": self.filters,
            **({"stride": self.stride} if self.stride > 1 else {}),
            "activation": self.activation,
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


class Cnn(BackboneNetwork):
    """Logits of a sentence [B, labels], or of each token [B, T, labels]."""

    def make_layers(self, shape: CnnShape) -> None:
        self.layer = nn.ModuleList(CnnLayer(shape.hidden, *one, shape.activation, shape.layer_norm_eps, shape.dropout) for one in shape.stack)
        self.branch = nn.ModuleList(CnnBranch(shape, kernel) for kernel in shape.kernels)
        self.join = nn.ModuleList(Concat() for _ in shape.kernels[1:])

    def backbone(self, x: Tensor, real: Tensor | None) -> tuple[Tensor, Tensor | None]:
        for layer in self.layer:
            x = layer(x, real)
        if self.branch:
            first, *others = (branch(x, real) for branch in self.branch)
            x = reduce(lambda made, pair: pair[0](made, pair[1]), zip(self.join, others, strict=True), first)
        return x, real
