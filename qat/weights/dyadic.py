# SPDX-License-Identifier: Apache-2.0
"""Weights as integers of 1 to 8 bits with a dyadic scale an output channel."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bitloom.qat import functional as F
from bitloom.qat.brevitas import ExtendedInjector, WeightQuantProxyFromInjector


class WeightQuant(nn.Module):
    """Weight quantizer with one learned dyadic scale an output channel (LSQ; one bit: sign).

    channels     C
    bits         1 .. 8; narrow leaves out the code -2**(bits-1)
    rescaled     the operator whose weights these are, alone in a tuple: it says what exponents its rescaling can have (`weight_exponents`)
    """

    def __init__(self, channels: int, bits: int = 8, narrow: bool = True):
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(channels))  # natural log: Adam's steps are then relative ones
        self.register_buffer("zero_point", torch.tensor(0.0), persistent=False)
        self.register_buffer("bit_width", torch.tensor(float(bits)), persistent=False)
        self.rescaled = ()
        self.configure(bits, narrow)

    def configure(self, bits: int, narrow: bool) -> None:
        """Take the width; the scales stay."""
        self.bits, self.narrow = bits, narrow
        low, self.high = F.code_range(max(bits, 2), True)
        self.low = low + 1 if narrow or bits == 1 else low
        self.bit_width.fill_(float(bits))

    def snapped(self) -> tuple[Tensor, Tensor]:
        """The scales as mantissas [C] and their exponent (bitloom.qat.functional.snap_scale)."""
        return F.snap_scale(self.log_scale, *(self.rescaled[0].weight_exponents() if self.rescaled else ()))

    def scale(self) -> Tensor:
        """The snapped scales, float64 [C]."""
        mantissa, exponent = self.snapped()
        return mantissa * F.pow2(exponent)

    def codes(self, weight: Tensor) -> Tensor:
        """Integer codes [C, K] of the weights, as floats."""
        scale = self.scale().to(weight.dtype)[:, None]
        return F.weight_codes(weight.detach(), scale, self.bits, self.low, self.high)[0]

    def book(self) -> Tensor | None:
        """The codes that all weights take, as the integer graph has a codebook; None: any of their bits."""
        return None

    def assign(self, weight: Tensor) -> None:
        """Remember which value each weight takes, where that is kept."""

    @torch.no_grad()
    def fit(self, weight: Tensor) -> None:
        """Set each channel's scale to the one of least squared error (one bit: the mean magnitude, which is it)."""
        weight = weight.detach().double()
        top = weight.abs().amax(1).clamp_(min=max(float(weight.abs().max()) * 1e-4, 1e-8))
        if self.bits == 1:
            best = weight.abs().mean(1).clamp_(min=top * 1e-4)
        else:
            best, least = top / self.high, torch.full_like(top, torch.inf)
            for ratio in torch.linspace(1.0, 0.2, 41).tolist():
                scale = (top * ratio / self.high)[:, None]
                codes, _ = F.weight_codes(weight, scale, self.bits, self.low, self.high)
                error = (codes * scale - weight).square().sum(1)
                best, least = torch.where(error < least, scale[:, 0], best), torch.minimum(error, least)
        self.log_scale.copy_(best.log())

    def forward(self, weight: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        scale = self.scale().to(weight.dtype)[:, None]
        value = F.quantize_weight(weight, self.log_scale, scale, self.bits, self.low, self.high)
        return value, scale, self.zero_point, self.bit_width


class DyadicWeight(ExtendedInjector):
    """Base injector: `.let(tensor_quant=WeightQuant(...))`."""

    proxy_class = WeightQuantProxyFromInjector
    signed = True
    narrow_range = True
