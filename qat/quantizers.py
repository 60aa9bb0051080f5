# SPDX-License-Identifier: Apache-2.0
"""Brevitas quantizers of the integer specification: power-of-two activations, integer biases; those of weights are in qat/weights.

Each is the `tensor_quant` of a Brevitas injector and returns Brevitas's tuple (value, scale, zero point, bit width).
The injectors hold an instance, not a class, so that Brevitas never builds a second one when a state dict is loaded.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from bitloom.hw.errors import BitloomError
from bitloom.qat import functional as F
from bitloom.qat.brevitas import ActQuantProxyFromInjector, BiasQuantProxyFromInjector, ExtendedInjector
from bitloom.qat.weights.dyadic import WeightQuant

UNSET = -1000  # exponent of a grid that calibration has not chosen yet
BIAS_BITS = 32
SPARE_BITS = 4  # octaves by which a bias may exceed its output's range
# A learned exponent is its parameter times this: Adam moves a parameter by a learning rate a step, so a rate of 1e-4 is a hundredth of an octave, the rate
# that TQT (Jain et al. 2020, "Trained quantization thresholds", arXiv:1903.08066) has for the logarithms of power-of-two scales.
OCTAVES = 100.0


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
        self.log_scale: nn.Parameter | None = None  # of a learned scale: [1], the exponent over OCTAVES before it is rounded

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
        """Fix it; a learned one begins there."""
        self._take(exponent)
        if self.log_scale is not None and self.calibrated:
            with torch.no_grad():
                self.log_scale.fill_(exponent / OCTAVES)

    def _take(self, exponent: int) -> None:
        self.exponent.fill_(exponent)
        self._exponent = int(exponent)

    def learn(self, learned: bool) -> None:
        """Whether training moves the scale."""
        if learned == (self.log_scale is None):
            self.log_scale = nn.Parameter(torch.full((1,), self._exponent / OCTAVES, device=self.exponent.device)) if learned else None

    def follow(self) -> bool:
        """Round the learned exponent to what this step computes with; whether it is another one than before."""
        if self.log_scale is None or not self.calibrated:
            return False
        before = self._exponent
        self._take(math.floor(float(self.log_scale.detach()) * OCTAVES + 0.5))
        return self._exponent != before

    def learned_scale(self) -> Tensor | None:
        """Natural logarithm of the scale [1], for the gradient; None: it is fixed."""
        return None if self.log_scale is None else self.log_scale * (OCTAVES * math.log(2.0))

    def _load_from_state_dict(self, *args) -> None:
        super()._load_from_state_dict(*args)
        self._take(int(self.exponent))


class ActQuant(Grid):
    """Activation quantizer: clip(floor(x / 2**e + 1/2)) * 2**e."""

    def __init__(self, bits: int, signed: bool = True):
        super().__init__(bits, signed)
        for key, value in {"scale": 1.0, "zero_point": 0.0, "bit_width": float(bits)}.items():
            self.register_buffer(key, torch.tensor(value), persistent=False)

    def configure(self, bits: int) -> None:
        super().configure(bits)
        self.bit_width.fill_(float(bits))

    def _take(self, exponent: int) -> None:
        super()._take(exponent)
        if exponent != UNSET:
            self.scale.fill_(2.0**exponent)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        if self.observer is not None:
            self.observer(x)
        else:
            x = F.quantize(x, self.e, self.low, self.high, self.learned_scale())
        return x, self.scale, self.zero_point, self.bit_width


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

    def take(self, weight_quant: WeightQuant) -> None:
        """Another quantizer of the weights."""
        self._weights = (weight_quant,)

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


class IntegerBias(ExtendedInjector):
    """Base injector: `.let(tensor_quant=BiasQuant(...))`."""

    proxy_class = BiasQuantProxyFromInjector
    signed = True
    requires_input_scale = False  # BiasQuant knows its input's grid


class PowerOfTwoAct(ExtendedInjector):
    """Base injector: `.let(tensor_quant=ActQuant(...))`."""

    proxy_class = ActQuantProxyFromInjector
