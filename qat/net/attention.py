# SPDX-License-Identifier: Apache-2.0
"""The operators of attention (docs/numerics.md) as modules: scores, softmax, context, and which keys a query sees."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from bitloom.hw import ops
from bitloom.hw.graph import GraphBuilder
from bitloom.hw.graph import Tensor as GraphTensor
from bitloom.hw.keys import Keys
from bitloom.qat import functional as F
from bitloom.qat.net.operator import MARKED, Bits, Operator, Rescaled, graph_tensor
from bitloom.qat.quantizers import Grid


class _Product(Rescaled):
    """A product of two activations per head, and the shift to its output's grid."""

    key = ""

    def __init__(self, heads: int):
        super().__init__()
        self.heads = heads

    def configure(self, bits: Bits) -> None:
        self.acc = f"{self.tensor}.acc"
        self.grid.configure(bits.of(self.tensor, self.key))

    def least_exponents(self) -> Iterator[tuple[Grid, int]]:
        finer, coarser = sorted((factor.grid for factor in self._sources[:2]), key=lambda grid: grid.e)
        yield self.grid, finer.e + coarser.e
        yield finer, self.grid.e - coarser.e - ops.requant.SHIFT_MAX

    def split(self, x: Tensor) -> Tensor:
        """[B, T, H] -> [B, heads, T, d]."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def requant(self, b: GraphBuilder, acc: GraphTensor) -> GraphTensor:
        shift, grid = self.grid.e - sum(factor.grid.e for factor in self._sources[:2]), self.grid
        return ops.requant.append(b, self.tensor, acc, np.ones(1, dtype=np.int64), shift, bits=grid.bits, scale=2.0**grid.e)

    def units(self) -> dict[str, Tensor | float]:
        return {self.acc: 2.0 ** sum(factor.grid.e for factor in self._sources[:2])}


def seen_keys(keys: Keys, like: Tensor, border: Tensor | None = None) -> Tensor:
    """bool [T, T] of a sentence as long as like's next to last axis: which keys each query sees, on its device; of pairs [B, 1, T, T].

    border  tokens of the first sentence of each pair [B, 1]
    """
    if keys.segment:
        first = torch.arange(like.shape[-2], device=like.device) < border
        return (first[:, :, None] == first[:, None, :])[:, None]
    return torch.as_tensor(keys.seen(like.shape[-2])[:, 0], device=like.device)


def visible(keys: Keys, like: Tensor, real: Tensor | None, border: Tensor | None = None) -> Tensor | None:
    """bool, broadcast to [B, heads, T, T]: keys that are seen and no padding. Padding sees itself, as a row without a key would have no softmax.

    like  whose next to last axis is T; real: False for padding [B, 1, 1, T], None: all real; None is given back where all keys count
    border  see `seen_keys`
    """
    if keys.all:
        return real
    seen = seen_keys(keys, like, border)
    return seen if real is None else seen & (real | torch.eye(seen.shape[-1], dtype=torch.bool, device=like.device))


def border_of(segments: Tensor, real: Tensor | None = None) -> Tensor:
    """Tokens in front of the first one of segment 1 [B, 1], all that are real where there is none; segments [B, T], real as above."""
    second = segments > 0
    count = segments.shape[1] if real is None else real[:, 0, 0].sum(1)
    return torch.where(second.any(1), second.int().argmax(1), count)[:, None]


class Scores(_Product):
    """Queries times keys, 0 where a key is not seen. keys: as LayerShape has them.

    The factor 1/sqrt(d) is in the queries' weights; in a float network it is applied here, so that these train as Hugging Face's do.
    """

    key = "scores"
    settings = frozenset({"scores", "activation_scales"})

    def __init__(self, heads: int, keys: str = "T"):
        super().__init__(heads)
        self.keys = keys

    def forward(self, q: Tensor, k: Tensor, border: Tensor | None = None) -> Tensor:
        acc, keys = self.split(q) @ self.split(k).transpose(-1, -2), Keys.parse(self.keys)
        if self.grid.plain:
            acc = acc * self.factor
        return self.rescale(acc if keys.all else acc.masked_fill(~seen_keys(keys, acc, border), 0))

    @property
    def factor(self) -> float:
        """1/sqrt(d)."""
        return 1 / math.sqrt(self._sources[0].out_features // self.heads)

    def append(self, b: GraphBuilder, inputs: list[GraphTensor]) -> GraphTensor:
        q, k, *border = inputs
        return self.requant(b, ops.scores.append(b, self.acc, q, k, self.heads, self.keys, *border))


class Context(_Product):
    """Probabilities times values."""

    key = "activations"
    settings = frozenset({"activations", "activation_scales"})

    def forward(self, p: Tensor, v: Tensor) -> Tensor:
        return self.rescale((p @ self.split(v)).transpose(1, 2).flatten(2))

    def append(self, b: GraphBuilder, inputs: list[GraphTensor]) -> GraphTensor:
        return self.requant(b, ops.context.append(b, self.acc, *inputs, self.heads))


class FixedContext(Rescaled):
    """Values of neighbours, by the fixed patterns of heads (hw/ops/pattern.py)."""

    settings = frozenset({"activations", "activation_scales"})

    def __init__(self, patterns: tuple[str, ...]):
        super().__init__()
        self.patterns = patterns

    def configure(self, bits: Bits) -> None:
        self.acc = f"{self.tensor}.acc"
        self.grid.configure(bits.of(self.tensor, "activations"))

    def least_exponents(self) -> Iterator[tuple[Grid, int]]:
        yield self.grid, self.source.e - ops.pattern.SHIFT

    def forward(self, v: Tensor, real: Tensor | None) -> Tensor:
        """v [B, T, heads * d]; real: False for padding, broadcast to [B, heads, T, T]."""
        batch, tokens, _ = v.shape
        last = torch.full((batch, 1), tokens - 1, device=v.device) if real is None else real[:, 0, 0].sum(1, keepdim=True) - 1
        at, heads = torch.arange(tokens, device=v.device), []
        for part, name in zip(v.chunk(len(self.patterns), -1), self.patterns, strict=True):
            sums = 0
            for offset, weight in ops.pattern.PATTERNS[name].items():
                there = torch.minimum((at + offset).clamp(min=0), last)  # [B, T]
                sums = sums + part.gather(1, there[..., None].expand_as(part)) * (weight * 2.0**-ops.pattern.SHIFT)
            heads.append(sums)
        return self.rescale(torch.cat(heads, -1))

    def append(self, b: GraphBuilder, inputs: list[GraphTensor]) -> GraphTensor:
        acc, grid = ops.pattern.append(b, self.acc, inputs[0], self.patterns), self.grid
        shift = grid.e - self.source.e + ops.pattern.SHIFT
        return ops.requant.append(b, self.tensor, acc, np.ones(1, dtype=np.int64), shift, bits=grid.bits, scale=2.0**grid.e)

    def units(self) -> dict[str, Tensor | float]:
        return {self.acc: 2.0 ** (self.source.e - ops.pattern.SHIFT)}


class Softmax(Operator, Grid):
    """Integer softmax over rows of scores. keys: as LayerShape has them."""

    settings = frozenset({"probs"})

    def __init__(self, keys: str = "T"):
        super().__init__(8, signed=False)
        self.keys, self._table = keys, None

    grid = property(lambda self: self)

    def configure(self, bits) -> None:
        Grid.configure(self, bits.of(self.tensor, "probs"))
        self.max_tokens, self._table = bits.max_tokens, None
        self.set_exponent(-self.bits)

    def plan(self) -> F.SoftmaxPlan:
        return F.softmax_plan(self.source.e, self.source.bits, self.bits, self.max_tokens)

    def forward(self, x: Tensor, real: Tensor | None, border: Tensor | None = None) -> Tensor:
        real = visible(Keys.parse(self.keys), x, real, border)
        if self.observer is not None:
            return torch.softmax(x if real is None else x.masked_fill(~real, -torch.inf), -1)
        key = (self.source.e, x.dtype, x.device)
        if self._table is None or self._table[0] != key:
            entries = ops.softmax.exp_table(graph_tensor("", self.source), self.bits)
            self._table = (key, torch.as_tensor(entries).to(x))
        return F.softmax(x, real, self._table[1], self.plan())

    def append(self, b: GraphBuilder, inputs: list[GraphTensor]) -> GraphTensor:
        x, *border = inputs
        return ops.softmax.append(b, self.tensor, x, self.bits, *border)


class Border(Operator, nn.Module):
    """Tokens of the first sentence of each pair [B, 1], from the segments; in the graph from the marks of the sums."""

    grid = property(lambda self: self._counts)

    def __init__(self):
        super().__init__()
        self._counts = Grid(16, signed=False)
        self._counts.set_exponent(0)

    def forward(self, sums: Tensor, segments: Tensor, real: Tensor | None) -> Tensor:
        return border_of(segments, real)

    def append(self, b: GraphBuilder, inputs: list[GraphTensor]) -> GraphTensor:
        return ops.border.append(b, self.tensor, b.tensors[MARKED])
