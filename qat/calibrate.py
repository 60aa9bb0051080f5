# SPDX-License-Identifier: Apache-2.0
"""Calibration: show real sentences to a model with float activations, then fix each tensor's power-of-two scale."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable
from typing import TypeVar

import torch
from torch import Tensor

from bitloom.hw.tokens import Tokens
from bitloom.qat import functional as F
from bitloom.qat.config import AUTO, BIT_RANGES, CalibrationWarning
from bitloom.qat.net.kept import still_real
from bitloom.qat.net.model import QuantModel
from bitloom.qat.net.network import Network
from bitloom.qat.net.operators import LOGIT_BITS, Add, LayerNorm, Linear
from bitloom.qat.quantizers import Grid, QuantError

LOGIT_RANGE = 16.0  # logits up to this magnitude are never clipped
TINY = 2.0**-40  # what is smaller is as good as zero
UNKNOWN = 1.0  # taken as the largest value of a tensor that holds nothing but zeros, as pruning makes them: that of an activation in most encoders
Seen = TypeVar("Seen")  # an observer
LACKING = 2  # bits of a residual tensor fewer than its values want, from which on it is told
ABOVE, BELOW = 2, 8  # octaves searched above and below the scale that clips nothing of the first batch


class Observer:
    """Sums, over a tensor's values at real tokens, the squared error that each candidate exponent would make.

    low, high  range of the codes
    batch      shared by the observers of tensors that hold as many tokens: 'real' is the current batch's mask [B, T]
    """

    def __init__(self, low: int, high: int, batch: dict):
        self.low, self.high, self._batch = low, high, batch
        self._errors: dict[int, float] = {}
        self.top = 0.0

    def __call__(self, x: Tensor) -> Tensor:
        real = self._batch["real"]
        if x.ndim == 4:  # rows of scores
            values = x[(real[:, None, :, None] & real[:, None, None, :]).expand_as(x)]
        else:
            values = x[real] if x.ndim == 3 else x
        top = float(values.abs().max())
        self.top = max(self.top, top)
        if not self._errors:
            coarsest = math.ceil(math.log2((max(top, TINY) if top else UNKNOWN) / self.high))
            self._errors = dict.fromkeys(range(coarsest + ABOVE, coarsest - BELOW - 1, -1), 0.0)
        for exponent in self._errors:
            error = F.quantize(values, exponent, self.low, self.high).sub_(values)
            self._errors[exponent] += float(error.square_().sum(dtype=torch.float64))
        return x

    @property
    def used(self) -> bool:
        return bool(self._errors)

    def best(self) -> int:
        """The exponent e of least squared error of clip(floor(v / 2**e + 1/2)) * 2**e."""
        return min(self._errors, key=self._errors.get)


@torch.no_grad()
def calibrate(model: QuantModel | Network, batches: Iterable[dict[str, Tensor]]) -> dict[str, int]:
    """Choose and set every tensor's scale from real batches; returns the exponents by tensor name.

    batches  dicts with input_ids [B, T] and, where padded or paired, attention_mask and token_type_ids
    """
    network = model if isinstance(model, Network) else model.network
    sums = {operator.tensor for operator in network.operators() if isinstance(operator, Add)}
    observers = observe(network, batches, lambda name, grid, batch: (Sums if name in sums else Observer)(*grid.observed_range(), batch))
    answers = network.answers()
    for name, grid in network.grids().items():
        if observers[name].used:  # else its scale is a constant of the specification (probabilities)
            grid.set_exponent(exponent(observers[name], name in answers and grid.bits == LOGIT_BITS))
    model.quant = network.quant = network.quant.with_residual(_fit_residuals(network, observers))
    network.settle()
    return {name: grid.e for name, grid in network.grids().items()}


@torch.no_grad()
def observe(network: Network, batches: Iterable[dict[str, Tensor]], make: Callable[[str, Grid, dict], Seen]) -> dict[str, Seen]:
    """Show batches to observers, one a tensor, while the activations stay float; returns them by tensor name.

    make  make(name, grid, batch) is a tensor's observer; `batch` holds the mask of the tensor's tokens in the batch that is seen (class Observer)
    """
    grids, left = network.grids(), network.tokens()
    masks: dict[Tokens, dict] = {own: {} for own in left.values()}  # of tensors that hold as many tokens
    training, device = network.training, next(network.parameters()).device
    network.eval()
    observers = {name: make(name, grid, masks[left[name]]) for name, grid in grids.items()}
    seen = 0
    try:
        for name, grid in grids.items():
            grid.observer = observers[name]
        for inputs in batches:
            ids = inputs["input_ids"].to(device)
            mask, segments = (inputs.get(key) for key in ("attention_mask", "token_type_ids"))
            whole = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask.to(device).bool()
            real = None if bool(whole.all()) else whole[:, None, None, :]
            for own, batch in masks.items():
                batch["real"] = still_real(whole, own) if own.steps else whole
            network(ids, torch.zeros_like(ids) if segments is None else segments.to(device), real)
            seen += 1
    finally:
        for grid in grids.values():
            grid.observer = None
        network.train(training)
    if not seen:
        raise QuantError("calibrate: got no batch, must be at least one; pass some of the training data")
    return observers


def exponent(observer: Observer, logits: bool) -> int:
    """The scale for what an observer saw. logits: 16 bits have room: fine-tuning sharpens the answers, and clipped ones would not learn."""
    return math.ceil(math.log2(max(2 * observer.top, LOGIT_RANGE) / observer.high)) if logits else observer.best()


class Sums(Observer):
    """Of a residual sum: how far the elements of each token lie apart, too, by the mean of 1 / variance."""

    inverse, tokens = 0.0, 0

    def __call__(self, x: Tensor) -> Tensor:
        variance = x[self._batch["real"]].double().var(-1, correction=0)
        self.inverse += float((1 / variance.clamp(min=TINY)).sum())
        self.tokens += len(variance)
        return super().__call__(x)

    def coarsest(self, norm: LayerNorm) -> int:
        """Exponent at which rounding adds a sixteenth, at most, to the noise power of the output of the LayerNorm behind: gamma * s_x / sigma <= s_y / 4."""
        gamma = float(norm.weight.detach().double().square().mean().sqrt())
        sigma = (self.inverse / self.tokens) ** -0.5
        return norm.e - 2 + math.floor(math.log2(sigma / max(gamma, TINY)))


def _fit_residuals(network: Network, observers: dict[str, Observer]) -> dict[str, int]:
    """Set bits and exponents of the residual sums in front of a LayerNorm, and of the projections in front of these, where the bits are `auto`.

    The exponent is the sum's `coarsest`; the bits are as many as clip nothing that was seen. Tells of tensors that were given too few.
    returns  the bits chosen, by tensor
    """
    chosen, short, grids = {}, {}, network.grids()
    low, most = BIT_RANGES["residual"]
    for norm in network.operators():
        if not isinstance(norm, LayerNorm) or not isinstance(total := norm._sources[0], Add):
            continue
        exponent = observers[total.tensor].coarsest(norm)
        projections = [source for source in total._sources if isinstance(source, Linear) and source.adds_only]
        for name, projection in ((total.tensor, False), *((source.tensor, True) for source in projections)):
            bits = max(low, math.ceil(math.log2(observers[name].top * 2.0**-exponent + 1)) + 1)
            if network.quant.residual_of(name, projection) == AUTO:
                grids[name].configure(min(bits, most))
                chosen[name] = grids[name].bits
                if bits <= most:
                    grids[name].set_exponent(exponent)
            elif bits > grids[name].bits + LACKING:
                short[name] = bits
    if short:
        name = max(short, key=lambda n: short[n] - grids[n].bits)
        more = f" (and {len(short) - 1} more have too few)" if len(short) > 1 else ""
        warnings.warn(
            f"quantization.residual: got {grids[name].bits} bits for '{name}', its values want {short[name]}{more}; set quantization.residual: auto",
            CalibrationWarning,
            stacklevel=3,
        )
    return chosen
