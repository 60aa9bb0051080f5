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
from bitloom.hw.tokens import Tokens
from bitloom.qat.net.operator import Operator
from bitloom.qat.net.operators import Add, FirstToken, Linear
from bitloom.qat.quantizers import Grid


def tokens(real: Tensor | None) -> Tensor | None:
    """bool [B, T, 1], False for padding, of a mask [B, 1, 1, T]; None: all are real."""
    return None if real is None else real[:, 0, 0, :, None]


class Windows(Operator):
    """Base of what reads windows of `kernel` of a sentence's tokens, one for each `stride` of them (hw/parts/window.py)."""

    kernel: int
    stride: int
    dilation = 1

    def left(self, tokens: Tokens) -> Tokens:
        return tokens.strided(self.stride)

    def cuts(self, x: Tensor, absent: float = 0.0) -> list[Tensor]:
        """Of each place in the windows its token of all of them, [B, T', C]; `absent` beyond the ends of x [B, T, C]."""
        places, length = ops.token_window.offsets(self.kernel, self.dilation, self.stride), x.shape[1]
        first = min(places[0], 0)
        padded = TF.pad(x, (0, 0, -first, max(places[-1], 0)), value=absent)
        return [padded[:, at - first : at - first + length : self.stride] for at in places]


class TokenWindow(Windows, nn.Module):
    """Tokens with their neighbours, `dilation` apart; zeros beyond the sentence's ends."""

    grid = property(lambda self: self._sources[0].grid)

    def __init__(self, kernel: int, dilation: int = 1, stride: int = 1):
        super().__init__()
        self.kernel, self.dilation, self.stride = kernel, dilation, stride

    def forward(self, x: Tensor, real: Tensor | None) -> Tensor:
        """[B, T, C] -> [B, T', C * kernel], the neighbours of a channel side by side."""
        if real is not None:
            x = x * tokens(real)
        return torch.stack(self.cuts(x), dim=-1).flatten(-2)

    def append(self, b: GraphBuilder, inputs: list[GraphTensor]) -> GraphTensor:
        return ops.token_window.append(b, self.tensor, inputs[0], self.kernel, self.dilation, self.stride)


class WindowMax(Windows, nn.Module):
    """The largest value of each channel over the tokens of a window."""

    grid = property(lambda self: self._sources[0].grid)

    def __init__(self, kernel: int, stride: int = 1):
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Tensor, real: Tensor | None) -> Tensor:
        """[B, T, C] -> [B, T', C]; behind the sentence's end 0."""
        x = x if real is None else x.masked_fill(~tokens(real), -torch.inf)
        y = torch.stack(self.cuts(x, -torch.inf)).amax(0)
        return y if real is None else y.masked_fill(y == -torch.inf, 0.0)

    def append(self, b: GraphBuilder, inputs: list[GraphTensor]) -> GraphTensor:
        return ops.window_max.append(b, self.tensor, inputs[0], self.kernel, self.stride)


class Convolution(nn.Module):
    """A 1-D convolution over tokens: `window` and `conv`, a Linear with weight [C, inputs * kernel]."""

    def __init__(self, inputs: int, outputs: int, kernel: int, dilation: int = 1, stride: int = 1):
        super().__init__()
        self.window, self.conv = TokenWindow(kernel, dilation, stride), Linear(inputs * kernel, outputs)

    def forward(self, x: Tensor, real: Tensor | None) -> Tensor:
        """[B, T, inputs] -> [B, T', outputs]"""
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
    """Sums [.., C] of `count` [.., 1] tokens -> their mean on the integers' grid; the smooth mean's gradient."""

    @staticmethod
    def forward(ctx, sums: Tensor, count: Tensor, exponents: tuple[int, int], recip_bits: int, low: int, high: int) -> Tensor:
        inner, outer = exponents
        recip = (2.0**recip_bits / count.double()).floor_()
        y = sums.double().mul(2.0**-inner).mul_(recip).mul_(2.0 ** (inner - outer - recip_bits)).add_(0.5).floor_()
        ctx.save_for_backward(count, (y >= low) & (y <= high))
        return y.clamp_(low, high).mul_(2.0**outer).to(sums)

    @staticmethod
    def backward(ctx, grad: Tensor):
        count, inside = ctx.saved_tensors
        return grad * inside / count, None, None, None, None, None


class Mean(Operator, Grid):
    """Base of means over tokens, by an integer reciprocal of how many they are, at most `most`; the smooth mean's gradient."""

    settings = frozenset({"activations"})
    most: int

    def __init__(self):
        super().__init__(8)

    grid = property(lambda self: self)

    def configure(self, bits) -> None:
        self.signed = self.source.signed
        Grid.configure(self, bits.of(self.tensor, "activations"))

    def recip_bits(self) -> int:
        return ops.token_mean.reciprocal_bits(self.source.bits, self.most)

    def least_exponents(self) -> Iterator[tuple[Grid, int]]:
        yield self, self.source.e - self.recip_bits()
        yield self.source, self.e + self.recip_bits() - ops.token_mean.SHIFT_MAX

    def of(self, sums: Tensor, count: Tensor) -> Tensor:
        """Sums [.., C] of `count` [.., 1] tokens -> their means."""
        if self.observer is not None:
            return self.observer(sums / count)
        return _Mean.apply(sums, count, (self.source.e, self.e), self.recip_bits(), self.low, self.high)

    def graph_shift(self) -> int:
        return self.recip_bits() + self.e - self.source.e


class TokenMean(Mean):
    """The mean of each channel over a sentence's tokens."""

    def configure(self, bits) -> None:
        self.most = bits.max_tokens
        super().configure(bits)

    def forward(self, x: Tensor, real: Tensor | None) -> Tensor:
        """[B, T, C] -> [B, C]"""
        there = x.new_ones(len(x), x.shape[1], 1) if real is None else tokens(real).to(x)
        return self.of((x * there).sum(1), there.sum(1))

    def append(self, b: GraphBuilder, inputs: list[GraphTensor]) -> GraphTensor:
        return ops.token_mean.append(b, self.tensor, inputs[0], self.graph_shift(), bits=self.bits, scale=2.0**self.e)


class WindowMean(Windows, Mean):
    """The mean of each channel over the tokens of a window."""

    def __init__(self, kernel: int, stride: int = 1):
        super().__init__()
        self.kernel, self.stride, self.most = kernel, stride, kernel

    def forward(self, x: Tensor, real: Tensor | None) -> Tensor:
        """[B, T, C] -> [B, T', C]; behind the sentence's end any value."""
        there = x.new_ones(1, x.shape[1], 1) if real is None else tokens(real).to(x)
        return self.of(sum(self.cuts(x * there)), sum(self.cuts(there)).clamp(min=1))

    def append(self, b: GraphBuilder, inputs: list[GraphTensor]) -> GraphTensor:
        how = {"bits": self.bits, "scale": 2.0**self.e}
        return ops.window_mean.append(b, self.tensor, inputs[0], self.kernel, self.stride, self.graph_shift(), **how)


class Upsample(Add):
    """A residual sum whose second addend has a token for each `stride` of the first one's: each of its tokens is repeated."""

    def __init__(self, stride: int):
        super().__init__()
        self.stride = stride

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """[B, T, C], [B, T', C] -> [B, T, C]"""
        return self.rescale(a + b.repeat_interleave(self.stride, dim=1)[:, : a.shape[1]])

    def append(self, b: GraphBuilder, inputs: list[GraphTensor]) -> GraphTensor:
        return ops.upsample.append(b, self.tensor, *inputs, self.stride, **self.factors(inputs))


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


# By what recipes call them.
POOLS: dict[str, type[Operator]] = {"first": FirstToken, "max": TokenMax, "mean": TokenMean}  # of a sentence's tokens
WINDOWS: dict[str, type[Windows]] = {"max": WindowMax, "mean": WindowMean}  # of a window's
