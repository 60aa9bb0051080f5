# SPDX-License-Identifier: Apache-2.0
"""Operators of networks that read tokens through windows: a window and what pools tokens; a convolution is a window with a Linear behind it."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional as TF

from bitloom.hw import ops
from bitloom.hw.graph import GraphBuilder
from bitloom.hw.graph import Tensor as GraphTensor
from bitloom.hw.settings import ConfigError
from bitloom.qat.net.operators import Linear, Operator
from bitloom.qat.quantizers import Grid


def tokens(real: Tensor | None) -> Tensor | None:
    """bool [B, T, 1], False for padding, of a mask [B, 1, 1, T]; None: all are real."""
    return None if real is None else real[:, 0, 0, :, None]


class TokenWindow(Operator, nn.Module):
    """Each token with its neighbours, `dilation` apart; zeros beyond the sentence's ends."""

    grid = property(lambda self: self._sources[0].grid)

    def __init__(self, kernel: int, dilation: int = 1):
        super().__init__()
        self.kernel, self.dilation = kernel, dilation

    def forward(self, x: Tensor, real: Tensor | None) -> Tensor:
        """[B, T, C] -> [B, T, C * kernel], the neighbours of a channel side by side."""
        if real is not None:
            x = x * tokens(real)
        places, length = ops.token_window.offsets(self.kernel, self.dilation), x.shape[1]
        padded = TF.pad(x, (0, 0, -places[0], places[-1]))
        return torch.stack([padded[:, at - places[0] : at - places[0] + length] for at in places], dim=-1).flatten(-2)

    def append(self, b: GraphBuilder, inputs: list[GraphTensor]) -> GraphTensor:
        return ops.token_window.append(b, self.tensor, inputs[0], self.kernel, self.dilation)


class Convolution(nn.Module):
    """A 1-D convolution over tokens: `window` and `conv`, a Linear with weight [C, inputs * kernel]."""

    def __init__(self, inputs: int, outputs: int, kernel: int, dilation: int = 1):
        super().__init__()
        self.window, self.conv = TokenWindow(kernel, dilation), Linear(inputs * kernel, outputs)

    def forward(self, x: Tensor, real: Tensor | None) -> Tensor:
        """[B, T, inputs] -> [B, T, outputs]"""
        return self.conv(self.window(x, real))


class TokenMax(Operator, nn.Module):
    """The largest value of each channel over a sentence's tokens."""

    grid = property(lambda self: self._sources[0].grid)

    def forward(self, x: Tensor, real: Tensor | None) -> Tensor:
        """[B, T, C] -> [B, C]"""
        return (x if real is None else x.masked_fill(~tokens(real), -torch.inf)).amax(1)

    def append(self, b: GraphBuilder, inputs: list[GraphTensor]) -> GraphTensor:
        return ops.token_max.append(b, self.tensor, inputs[0])


class _Mean(Function):
    @staticmethod
    def forward(ctx, x: Tensor, real: Tensor | None, exponents: tuple[int, int], recip_bits: int, low: int, high: int) -> Tensor:
        inner, outer = exponents
        count = x.new_full((len(x), 1), x.shape[1]) if real is None else real.sum(1).to(x)
        sums = (x if real is None else x * real).double().mul(2.0**-inner).sum(1)
        recip = (2.0**recip_bits / count.double()).floor_()
        y = sums.mul_(recip).mul_(2.0 ** (inner - outer - recip_bits)).add_(0.5).floor_()
        ctx.save_for_backward(count, (y >= low) & (y <= high), *(() if real is None else (real,)))
        ctx.tokens = x.shape[1]
        return y.clamp_(low, high).mul_(2.0**outer).to(x)

    @staticmethod
    def backward(ctx, grad: Tensor):
        count, inside, *real = ctx.saved_tensors
        each = (grad * inside / count)[:, None].expand(-1, ctx.tokens, -1)
        return each * real[0] if real else each, None, None, None, None, None


class TokenMean(Operator, Grid):
    """The mean of each channel over a sentence's tokens, by an integer reciprocal of its length; the smooth mean's gradient."""

    settings = frozenset({"activations"})

    def __init__(self):
        super().__init__(8)

    grid = property(lambda self: self)

    def configure(self, bits) -> None:
        self.signed, self.max_tokens = self.source.signed, bits.max_tokens
        Grid.configure(self, bits.of(self.tensor, "activations"))

    def recip_bits(self) -> int:
        return ops.token_mean.reciprocal_bits(self.source.bits, self.max_tokens)

    def least_exponents(self) -> Iterator[tuple[Grid, int]]:
        yield self, self.source.e - self.recip_bits()
        yield self.source, self.e + self.recip_bits() - ops.token_mean.SHIFT_MAX

    def forward(self, x: Tensor, real: Tensor | None) -> Tensor:
        """[B, T, C] -> [B, C]"""
        there = tokens(real)
        if self.observer is not None:
            return self.observer(x.mean(1) if real is None else (x * there).sum(1) / there.sum(1))
        return _Mean.apply(x, there, (self.source.e, self.e), self.recip_bits(), self.low, self.high)

    def append(self, b: GraphBuilder, inputs: list[GraphTensor]) -> GraphTensor:
        shift = self.recip_bits() + self.e - self.source.e
        return ops.token_mean.append(b, self.tensor, inputs[0], shift, bits=self.bits, scale=2.0**self.e)


class Concat(Operator, nn.Module):
    """The channels of two tensors one behind the other; both are on one grid, the coarser one's."""

    grid = property(lambda self: self._sources[0].grid)

    def configure(self, bits) -> None:
        a, b = (source.grid for source in self._sources)
        if (a.bits, a.signed) != (b.bits, b.signed):
            names = " and ".join(source.tensor for source in self._sources)
            raise ConfigError(f"activations: got {a.bits} and {b.bits} bits of {names}, must be as many: their channels stand side by side; give both the same")

    def least_exponents(self) -> Iterator[tuple[Grid, int]]:
        coarsest = max(source.grid.e for source in self._sources)
        yield from ((source.grid, coarsest) for source in self._sources)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return torch.cat([a, b], dim=-1)

    def append(self, b: GraphBuilder, inputs: list[GraphTensor]) -> GraphTensor:
        return ops.concat.append(b, self.tensor, *inputs)
