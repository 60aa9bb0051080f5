# SPDX-License-Identifier: Apache-2.0
"""Weights as integers of 1 to 8 bits with a dyadic scale an output channel, a group of channels or a layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from bitloom.hw.settings import ConfigError
from bitloom.qat import functional as F
from bitloom.qat.brevitas import ExtendedInjector, WeightQuantProxyFromInjector

PART = 1 << 15  # weights that are fitted at once, so that they stay in a processor's cache
RATIOS = torch.linspace(1.0, 0.2, 41).tolist()  # scales that are tried, in units of the one that clips nothing


@dataclass(frozen=True, kw_only=True)
class Dyadic:
    """A layer's settings where its weights are any integers of their bits.

    share    output channels, neighbours, that have one scale (Q-BERT, Shen et al. 2020: groups); 0: all of the layer
    ternary  none: scales are learned; or the rule that finds them in each step (qat/weights/ternary.py)
    """

    share: int = 1
    ternary: Literal["none", "twn", "loss_aware"] = "none"
    kept: ClassVar[bool] = False  # weights are trained

    def check(self, name: str, bits: int, narrow: bool, shape: tuple[int, int]) -> None:
        """Raise ConfigError where a layer [C, K] with weights of `bits` cannot have it."""
        if self.share and shape[0] % self.share:
            fits = max(n for n in range(1, self.share) if shape[0] % n == 0)
            rule = f"must divide the {shape[0]} output channels of the layer"
            raise ConfigError(f"quantization: {name}: got weight_scales {self.share}, {rule}; use e.g. {fits}, or set channel there")
        if self.ternary != "none" and (bits != 2 or not narrow):
            got = f"weights of {bits} bits" if bits != 2 else "weight_range full"
            raise ConfigError(f"quantization: {name}: got {got} with ternary {self.ternary}, must be -1, 0 and 1; set weights: 2 and weight_range: narrow")


class WeightQuant(nn.Module):
    """Weight quantizer with learned dyadic scales, one an output channel or a group of them (LSQ; one bit: sign).

    channels     C
    bits         1 .. 8; narrow leaves out the code -2**(bits-1)
    share        channels that have one scale, a divisor of C; 0: all
    rescaled     the operator whose weights these are, alone in a tuple: it says what exponents its rescaling can have (`weight_exponents`)
    """

    coding: object = Dyadic()

    def __init__(self, channels: int, bits: int = 8, narrow: bool = True, share: int = 1):
        super().__init__()
        self.share = share or channels
        self.log_scale = nn.Parameter(torch.zeros(channels // self.share))  # natural log: Adam's steps are then relative ones
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
        """The scales as mantissas [C / share] and their exponent (bitloom.qat.functional.snap_scale)."""
        return F.snap_scale(self.log_scale, *(self.rescaled[0].weight_exponents() if self.rescaled else ()))

    def multipliers(self) -> Tensor:
        """The mantissas as the hardware has them: [C], or [1] where all channels share one."""
        mantissa = self.snapped()[0]
        return mantissa if len(mantissa) == 1 else mantissa.repeat_interleave(self.share)

    def scale(self) -> Tensor:
        """The snapped scales, float64 [C]."""
        mantissa, exponent = self.snapped()
        scale = mantissa * F.pow2(exponent)
        return scale if self.share == 1 else scale.repeat_interleave(self.share)

    def codes(self, weight: Tensor) -> Tensor:
        """Integer codes [C, K] of the weights, as floats; found in float64, as in float32 a half added to a quotient just below one rounds up."""
        return F.weight_codes(weight.detach().double(), self.scale()[:, None], self.bits, self.low, self.high)[0].to(weight.dtype)

    def book(self) -> Tensor | None:
        """The codes that all weights take, as the integer graph has a codebook; None: any of their bits."""
        return None

    def assign(self, weight: Tensor) -> None:
        """Remember which value each weight takes, where that is kept."""

    @torch.no_grad()
    def fit(self, weight: Tensor) -> None:
        """Set each scale to the one of least squared error (one bit: the mean magnitude, which is it)."""
        groups = weight.detach().reshape(len(self.log_scale), -1)
        least = max(float(groups.abs().max()) * 1e-4, 1e-8)
        rows = max(1, PART // groups.shape[1])
        self.log_scale.copy_(torch.cat([self._best(part.double(), least) for part in groups.split(rows)]).log())

    def _best(self, weight: Tensor, least: float) -> Tensor:
        """Of each row of weights, float64; least: of the largest magnitude."""
        top = weight.abs().amax(1).clamp_(min=least)
        if self.bits == 1:
            return weight.abs().mean(1).clamp_(min=top * 1e-4)
        best, smallest = top / self.high, torch.full_like(top, torch.inf)
        for ratio in RATIOS:
            scale = (top * ratio / self.high)[:, None]
            codes, _ = F.weight_codes(weight, scale, self.bits, self.low, self.high)
            error = codes.mul_(scale).sub_(weight).square_().sum(1)
            best, smallest = torch.where(error < smallest, scale[:, 0], best), torch.minimum(error, smallest)
        return best

    def forward(self, weight: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        scale = self.scale().to(weight.dtype)[:, None]
        value = F.quantize_weight(weight, self.log_scale, scale, self.bits, self.low, self.high)
        return value, scale, self.zero_point, self.bit_width


class DyadicWeight(ExtendedInjector):
    """Base injector: `.let(tensor_quant=WeightQuant(...))`."""

    proxy_class = WeightQuantProxyFromInjector
    signed = True
    narrow_range = True
