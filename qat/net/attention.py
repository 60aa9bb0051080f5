# SPDX-License-Identifier: Apache-2.0
"""The operators of attention: scores, softmax, context."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from bitloom.hw.graph import GraphBuilder
from bitloom.hw.graph import Tensor as GraphTensor
from bitloom.hw.ops import context as context_op
from bitloom.hw.ops import requant as requant_op
from bitloom.hw.ops import scores as scores_op
from bitloom.hw.ops import softmax as softmax_op
from bitloom.qat import functional as F
from bitloom.qat.net.operator import Operator, Place, Tap, graph_tensor, requantizer
from bitloom.qat.quantizers import ActQuant, Grid
from torch import Tensor


def split(x: Tensor, heads: int) -> Tensor:
    """[B, T, H] -> [B, heads, T, d]."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


class _Product(Operator):
    """A product of two streams, rescaled by a shift to a grid of its own, which is never finer than the product's."""

    def __init__(self, heads: int, name: str | None = None):
        super().__init__(name)
        self.heads = heads

    def bind(self, place: Place) -> None:
        self.requant = requantizer(self._own(place, ActQuant(**self.choice(place), factors=place.sources)))

    def integers(self, inputs: Sequence[GraphTensor]) -> dict[str, Any]:
        return {"shift": self.grid.e - sum(source.e for source in self.sources), **self._output()}

    def _requant(self, b: GraphBuilder, name: str, acc: GraphTensor, shift: int, bits: int, scale: float) -> GraphTensor:
        return requant_op.append(b, name, acc, np.ones(1, dtype=np.int64), shift, bits=bits, scale=scale)

    def taps(self) -> Iterator[Tap]:
        yield Tap(f"{self.tensor}.acc", self.requant.act_quant, True, 2.0 ** sum(source.e for source in self.sources))
        yield from super().taps()


class Scores(_Product):
    """q k^T of each head: [B, T, H] twice -> [B, heads, T, T]."""

    SETTINGS = frozenset({"scores"})

    def forward(self, q: Tensor, k: Tensor) -> Tensor:
        return self.requant(split(q, self.heads) @ split(k, self.heads).transpose(-1, -2))

    def nodes(self, b: GraphBuilder, name: str, inputs: Sequence[GraphTensor], *, shift, bits, scale) -> GraphTensor:
        return self._requant(b, name, scores_op.append(b, f"{name}.acc", *inputs, self.heads), shift, bits, scale)


class Context(_Product):
    """p v of each head: [B, heads, T, T], [B, T, H] -> [B, T, H]."""

    SETTINGS = frozenset({"activations"})

    def forward(self, p: Tensor, v: Tensor) -> Tensor:
        return self.requant((p @ split(v, self.heads)).transpose(1, 2).flatten(2))

    def nodes(self, b: GraphBuilder, name: str, inputs: Sequence[GraphTensor], *, shift, bits, scale) -> GraphTensor:
        return self._requant(b, name, context_op.append(b, f"{name}.acc", *inputs, self.heads), shift, bits, scale)


class Softmax(Operator):
    """Integer softmax over rows of scores."""

    SETTINGS = frozenset({"probs"})

    def __init__(self, name: str | None = None):
        super().__init__(name)
        self._table = None

    def bind(self, place: Place) -> None:
        bits, self.max_tokens = self.choice(place)["bits"], place.max_tokens
        self.output = self._own(place, Grid(bits, signed=False, exponent=-bits))

    def forward(self, x: Tensor, real: Tensor | None) -> Tensor:
        """real: bool, broadcastable to x, False for padding; None: all are real."""
        if self.grid.observer is not None:
            return torch.softmax(x if real is None else x.masked_fill(~real, -torch.inf), -1)
        source = self.sources[0]
        key = (source.e, x.dtype, x.device)
        if self._table is None or self._table[0] != key:
            entries = softmax_op.exp_table(graph_tensor("", source), self.grid.bits)
            self._table = (key, torch.as_tensor(entries).to(x))
        return F.softmax(x, real, self._table[1], F.softmax_plan(source.e, source.bits, self.grid.bits, self.max_tokens))

    def integers(self, inputs: Sequence[GraphTensor]) -> dict[str, Any]:
        return {"bits": self.grid.bits}

    def nodes(self, b: GraphBuilder, name: str, inputs: Sequence[GraphTensor], *, bits) -> GraphTensor:
        return softmax_op.append(b, name, inputs[0], bits)
