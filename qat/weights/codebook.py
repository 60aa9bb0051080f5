# SPDX-License-Identifier: Apache-2.0
"""Weights that take few values: a layer's (or each channel's) codebook of integers, times the dyadic scale of the output channel."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn
from torch.autograd import Function

from bitloom.hw.settings import ConfigError
from bitloom.qat import functional as F
from bitloom.qat.weights.dyadic import WeightQuant
from bitloom.qat.weights.kmeans import kmeans, nearest, two_means

ROUNDS = 3  # of clustering and fitting the channels' scales to it
LEAST = 1e-4  # of a channel's size beside the largest one's, for channels that are (almost) zero
LARGE = 1 << 20  # weights of a layer from which on one round is enough
SPREAD, SAMPLES = 2.5, 4096  # of weights that are not trained: standard deviations that the largest code stands for


@dataclass(frozen=True, kw_only=True)
class Coding:
    """A layer's settings.

    kind       kmeans or bs_flex
    index_bits of 2**index_bits values
    channel    each output channel has values of its own, two of them
    zero       one of the values, the first of `centroids`, is 0 and stays so
    kept       a weight stays with the value that it was assigned to; else it takes the nearest one, in each step
    fixed      the values stay as they were found
    """

    kind: str = "kmeans"
    index_bits: int = 2
    channel: bool = False
    zero: bool = False
    kept: bool = False
    fixed: bool = False

    def check(self, name: str, bits: int, narrow: bool, shape: tuple[int, int]) -> None:
        """Raise ConfigError where a layer [C, K] with values of `bits` cannot have it."""
        where, entries, weights = f"quantization: {name}: codebook {self.kind}", 1 << self.index_bits, math.prod(shape[self.channel :])
        if bits == 1:
            raise ConfigError(f"{where}: got weights of 1 bit, must be 2 .. 8: the bits of the values; set weights: 8 for this layer")
        if self.kind == "bs_flex" and self.index_bits != 1:
            raise ConfigError(f"{where}: got index_bits {self.index_bits}, must be 1: two values; remove it, or set codebook: kmeans")
        if self.channel and self.index_bits != 1:
            raise ConfigError(f"{where}: got codebook_per channel with index_bits {self.index_bits}, must be 1 there; set codebook_per: layer")
        if self.zero and self.index_bits == 1:
            raise ConfigError(f"{where}: got codebook_zero kept with two values, must have one of either sign; raise index_bits, or remove it")
        if self.index_bits >= bits:
            raise ConfigError(f"{where}: got index_bits {self.index_bits} for values of {bits} bits, must be fewer; raise weights or remove the codebook")
        if entries > weights:
            of = "a channel" if self.channel else "the layer"
            raise ConfigError(f"{where}: got {entries} values for the {weights} weights of {of}, must be at most as many; lower index_bits")


class CodebookQuant(WeightQuant):
    """Weight quantizer whose codes are one of 2**index_bits integers of the layer, or one of two of the channel.

    values are learned as `centroids`, in units of the largest code, sorted or not; a parameter of one axis, so that weight decay leaves them
    inputs  K
    """

    def __init__(self, channels: int, inputs: int, coding: Coding, bits: int = 8, narrow: bool = True):
        self.coding = coding
        super().__init__(channels, bits, narrow)
        self.books = channels if coding.channel else 1
        first = torch.tensor(_normal(coding.index_bits, coding.zero) * self.books)
        self.centroids = nn.Parameter(first, requires_grad=not coding.fixed)
        self.register_buffer("moving", torch.ones(len(first)), persistent=False)
        self.moving[0] = not coding.zero
        if coding.kept:
            self.register_buffer("index", torch.zeros(channels, inputs, dtype=torch.uint8))

    def values(self) -> Tensor:
        """The integer codes, float64 [books, 2**index_bits], in the order of `centroids`."""
        values = (self.centroids.detach() * self.moving).double().view(self.books, -1)
        return F.round_half_up(values, self.high).clamp_(self.low, self.high)

    def book(self) -> Tensor:
        return self.values().sort(1).values

    def codes(self, weight: Tensor) -> Tensor:
        values = self.values().to(weight.dtype)
        return _take(values, self._indices(weight.detach() / self.scale().to(weight.dtype)[:, None], values))

    def _indices(self, ratio: Tensor, values: Tensor) -> Tensor:
        """Which of `values` each weight takes, int64 [C, K]; ratio: weight / scale."""
        return self.index.long() if self.coding.kept else nearest(ratio, values)

    @torch.no_grad()
    def assign(self, weight: Tensor) -> None:
        if self.coding.kept:
            scale = self.scale().to(weight.dtype)[:, None]
            self.index.copy_(nearest(weight.detach() / scale, self.values().to(weight.dtype)))

    @torch.no_grad()
    def fit(self, weight: Tensor) -> None:
        """Find the values of least squared error, and scales whose largest code stands for the largest of them."""
        values, scale = self.cluster(weight.detach())
        top = values.abs().amax(1, keepdim=True)
        top[top == 0] = 1.0
        self.centroids.copy_((values / top).flatten())
        self.log_scale.copy_((scale * top[:, 0] / self.high).log())
        self.assign(weight)

    def cluster(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Values [books, n] in units of each channel's scale [C], both float64, of least squared error: k-means."""
        weight = weight.double()
        scale = _size(weight)
        if self.coding.channel:
            return two_means(weight / scale[:, None]), scale
        for _ in range(ROUNDS if weight.numel() < LARGE else 1):
            values = _clusters((weight / scale[:, None]).flatten(), self.coding.index_bits, self.coding.zero)[None]
            scale = fitted(weight, scale, values)
        return values, scale

    def forward(self, weight: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        scale = self.scale().to(weight.dtype)[:, None]
        values = self.values().to(weight.dtype)
        indices = self._indices(weight.detach() / scale, values)
        value = _Coded.apply(weight, self.log_scale, self.centroids * self.moving, scale, values, indices, self.high, self.coding.kept)
        return value, scale, self.zero_point, self.bit_width


class _Coded(Function):
    """values[index] * scale; gradients: of a weight that chooses its value as of a rounded one, of a centroid the sum of its weights'."""

    @staticmethod
    def forward(ctx, weight, log_scale, centroids, scale, values, indices, high: int, kept: bool) -> Tensor:
        codes = _take(values, indices)
        ctx.save_for_backward(weight, codes, scale, indices.to(torch.uint8))
        ctx.shape, ctx.high, ctx.kept = values.shape, high, kept
        return codes * scale

    @staticmethod
    def backward(ctx, grad: Tensor):
        weight, codes, scale, indices = ctx.saved_tensors
        books, entries = ctx.shape
        by_scale = grad * codes if ctx.kept else grad * (codes - weight / scale)  # LSQ (Esser et al. 2020)
        by_scale = by_scale.sum(1).mul_(scale[:, 0]).mul_(1 / math.sqrt(codes.shape[1] * ctx.high))
        grad_values = grad.new_zeros(len(grad), entries).scatter_add_(1, indices.long(), grad * scale)
        grad_values = grad_values if books > 1 else grad_values.sum(0)
        return None if ctx.kept else grad, by_scale, grad_values.flatten().mul_(ctx.high), None, None, None, None, None


def fitted(weight: Tensor, scale: Tensor, values: Tensor) -> Tensor:
    """The scales [C] of least squared error for weights [C, K] that take the values [1, n] nearest to weight / scale."""
    taken = _take(values, nearest(weight / scale[:, None], values))
    power = taken.square().sum(1)
    best = (weight * taken).sum(1) / power.clamp(min=1e-30)
    return torch.where((power > 0) & (best > 0), best, scale)


def _clusters(numbers: Tensor, index_bits: int, zero: bool) -> Tensor:
    """2**index_bits means, float64; with zero the first is 0, and the others are those of the numbers that are not nearest to it."""
    if not zero:
        return kmeans(numbers, 1 << index_bits)
    others = numbers[numbers != 0]
    for _ in range(ROUNDS if len(others) < LARGE else 1):
        if len(others) < 1 << index_bits:
            break
        means = torch.cat([numbers.new_zeros(1), kmeans(others, (1 << index_bits) - 1)])
        others = numbers[nearest(numbers[None], means[None])[0] != 0]
    else:
        return means
    return torch.cat([numbers.new_zeros(1), others.sort().values, numbers.new_zeros(1 << index_bits)])[: 1 << index_bits]


def _take(values: Tensor, indices: Tensor) -> Tensor:
    """values [1 or C, n] by indices [C, K]."""
    return values[0][indices] if len(values) == 1 else values.gather(1, indices)


def _size(weight: Tensor) -> Tensor:
    """Root mean square of each channel, bounded below."""
    size = weight.square().mean(1).sqrt()
    return size.clamp(min=max(float(size.max()) * LEAST, LEAST**2))


@cache
def _normal(index_bits: int, zero: bool) -> list[float]:
    """Values for normally distributed weights, in units of the largest code: where nothing is fitted."""
    at = (torch.arange(SAMPLES, dtype=torch.float64, device="cpu") + 0.5) / SAMPLES  # also where the network is on no device
    return (_clusters(torch.special.ndtri(at), index_bits, zero).clamp(-SPREAD, SPREAD) / SPREAD).tolist()
