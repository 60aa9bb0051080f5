# SPDX-License-Identifier: Apache-2.0
"""Brevitas quantizers of the integer specification: power-of-two activations, dyadic weight scales, integer biases.

Each is the `tensor_quant` of a Brevitas injector and returns Brevitas's tuple (value, scale, zero point, bit width).
The injectors hold an instance, not a class, so that Brevitas never builds a second one when a state dict is loaded.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bitloom.hw.errors import BitloomError
from bitloom.qat import functional as F
from bitloom.qat.brevitas import ActQuantProxyFromInjector, BiasQuantProxyFromInjector, ExtendedInjector, WeightQuantProxyFromInjector

UNSET = -1000  # exponent of a grid that calibration has not chosen yet
BIAS_BITS = 32
SPARE_BITS = 4  # octaves by which a bias may exceed its output's range


class QuantError(BitloomError):
    """A model or setting that cannot be quantized as asked."""


def unseen(x: Tensor) -> Tensor:
    """The observer of a float network: nothing looks at the tensor."""
    return x


class Grid(nn.Module):
    """A quantized tensor: codes of `bits`, one LSB = 2**exponent. The exponent is a buffer, so checkpoints hold it.

    While `observer` is set the tensor stays float and is shown to it (qat/calibrate.py); where it is `unseen`, the weights stay float too.
    """

    def __init__(self, bits: int, signed: bool = True, exponent: int = UNSET):
        super().__init__()
        self.signed, self.observer = signed, None
        Grid.configure(self, bits)
        self.register_buffer("exponent", torch.tensor(exponent, dtype=torch.int32))
        self._exponent = exponent  # the buffer as a Python number: reading it costs nothing, on no device a transfer

    def configure(self, bits: int) -> None:
        """Take the width; the scale stays."""
        self.bits = bits
        self.low, self.high = F.code_range(bits, self.signed)

    @property
    def e(self) -> int:
        """The exponent. Raises QuantError before calibration."""
        if self._exponent == UNSET:
            raise QuantError("model: got a tensor without a scale, must be calibrated; call bitloom.qat.calibrate.calibrate first")
        return self._exponent

    @property
    def calibrated(self) -> bool:
        return self._exponent != UNSET

    @property
    def plain(self) -> bool:
        """Of a float network."""
        return self.observer is unseen

    def observed_range(self) -> tuple[int, int]:
        """Codes of what an observer is shown."""
        return self.low, self.high

    def set_exponent(self, exponent: int) -> None:
        self.exponent.fill_(exponent)
        self._exponent = int(exponent)

    def _load_from_state_dict(self, *args) -> None:
        super()._load_from_state_dict(*args)
        self.set_exponent(int(self.exponent))


class ActQuant(Grid):
    """Activation quantizer: clip(floor(x / 2**e + 1/2)) * 2**e."""

    def __init__(self, bits: int, signed: bool = True):
        super().__init__(bits, signed)
        for key, value in {"scale": 1.0, "zero_point": 0.0, "bit_width": float(bits)}.items():
            self.register_buffer(key, torch.tensor(value), persistent=False)

    def configure(self, bits: int) -> None:
        super().configure(bits)
        self.bit_width.fill_(float(bits))

    def set_exponent(self, exponent: int) -> None:
        super().set_exponent(exponent)
        if exponent != UNSET:
            self.scale.fill_(2.0**exponent)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        if self.observer is not None:
            self.observer(x)
        else:
            x = F.quantize(x, self.e, self.low, self.high)
        return x, self.scale, self.zero_point, self.bit_width


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


class BiasQuant(nn.Module):
    """Bias as an integer in units of the accumulator, s_w[c] * s_x; clipped far outside of the output's range, so that an accumulator fits the hardware.

    target   the output's grid
    sources  the operator whose output is x, alone in a tuple: it is another module's child
    """

    def __init__(self, weight_quant: WeightQuant, target: Grid):
        super().__init__()
        self._weights, self._target, self.sources = (weight_quant,), (target,), ()
        self.register_buffer("zero_point", torch.tensor(0.0), persistent=False)
        self.register_buffer("bit_width", torch.tensor(float(BIAS_BITS)), persistent=False)

    def scale(self) -> Tensor:
        """One LSB of the accumulator, float64 [C]."""
        return self._weights[0].scale() * 2.0 ** self.sources[0].grid.e

    def codes(self, bias: Tensor) -> Tensor:
        """Integer codes, float64 [C]."""
        return self._codes(bias, self.scale())

    def _codes(self, bias: Tensor, scale: Tensor) -> Tensor:
        target = self._target[0]
        limit = 2.0 ** (target.e + target.bits - 1 + SPARE_BITS)
        return bias.detach().double().clamp(-limit, limit).div_(scale).add_(0.5).floor_()

    def forward(self, bias: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        if self.sources[0].grid.observer is not None:  # the input's scale is still being looked for
            return bias, bias, self.zero_point, self.bit_width
        scale = self.scale()
        value = self._codes(bias, scale).mul_(scale).to(bias.dtype)
        return F.straight_through(bias, value), scale, self.zero_point, self.bit_width


class DyadicWeight(ExtendedInjector):
    """Base injector: `.let(tensor_quant=WeightQuant(...))`."""

    proxy_class = WeightQuantProxyFromInjector
    signed = True
    narrow_range = True


class IntegerBias(ExtendedInjector):
    """Base injector: `.let(tensor_quant=BiasQuant(...))`."""

    proxy_class = BiasQuantProxyFromInjector
    signed = True
    requires_input_scale = False  # BiasQuant knows its input's grid


class PowerOfTwoAct(ExtendedInjector):
    """Base injector: `.let(tensor_quant=ActQuant(...))`."""

    proxy_class = ActQuantProxyFromInjector
