# SPDX-License-Identifier: Apache-2.0
"""Learned rounding: whether a weight is rounded up or down is chosen so that the layer's outputs come out right, not the weight alone.

AdaRound, Nagel et al. 2020, "Up or Down? Adaptive Rounding for Post-Training Quantization" (arXiv:2004.10568), with its hard sigmoid as Brevitas has it.
The squared error of the outputs depends on the inputs by their second moments alone, so each step sees all tokens for the price of these.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bitloom.qat.brevitas import LearnedRoundHardSigmoid
from bitloom.qat.net.operators import Linear

STEPS, RATE = 400, 0.05  # of Adam
STRENGTH = 5.0  # of what drives choices to 0 or 1, in units of the error of rounding to nearest
WARM, SHARPEST, BLUNTEST = 0.2, 20.0, 2.0  # share of the steps without it; its exponent at first, at last
DAMPING = 0.1  # of the mean second moment
STRETCH = 1.1, -0.1  # of the hard sigmoid


def learn_rounding(layer: Linear, inputs: Tensor, wanted: Tensor) -> None:
    """Replace the weights by what they are rounded to: codes times scales.

    inputs  [N, K] that the quantized layer sees; wanted: [N, C] that the float layer gives
    """
    grid, x = layer.weight_grid, inputs.detach()
    scale, target = grid.scale().to(layer.weight.dtype)[:, None], wanted - layer.bias.detach()
    moments, cross = x.T @ x / len(x), target.T @ x / len(x)  # [K, K], [C, K]
    kept = DAMPING * moments.diagonal().mean()  # of |W - weight|**2: what few tokens say nothing of stays near the float weight
    moments.diagonal().add_(kept)
    cross.add_(kept * layer.weight.detach())
    floor = (layer.weight.detach() / scale).floor()
    error = _Error(moments, cross, floor, scale, (grid.low, grid.high))
    with torch.enable_grad():
        up = _chosen(error, layer.weight.detach() / scale - floor)
    nearest = grid.codes(layer.weight)
    codes = (floor + up).clamp_(grid.low, grid.high)
    with torch.no_grad():
        layer.weight.copy_((codes if error.of(codes) < error.of(nearest) else nearest) * scale)


class _Error:
    """E |W x - target|**2, without what does not depend on W, for W = codes * scale."""

    def __init__(self, moments: Tensor, cross: Tensor, floor: Tensor, scale: Tensor, codes: tuple[int, int]):
        self.moments, self.cross, self.floor, self.scale, self.range = moments, cross, floor, scale, codes

    def of(self, codes: Tensor) -> Tensor:
        weight = codes * self.scale
        return ((weight @ self.moments - 2 * self.cross) * weight).sum()

    def rounded(self, up: Tensor) -> Tensor:
        return self.of((self.floor + up).clamp(*self.range))


def _chosen(error: _Error, fraction: Tensor) -> Tensor:
    """0 or 1 for each weight: what is added to its floor. fraction: of weight / scale, 0 .. 1."""
    high, low = STRETCH
    sigmoid = LearnedRoundHardSigmoid(high, low)
    share = ((fraction - low) / (high - low)).clamp(1e-4, 1 - 1e-4)
    choice = (share / (1 - share)).log().requires_grad_()
    optimizer = torch.optim.Adam([choice], lr=RATE)
    unit = float(error.rounded((fraction >= 0.5).to(fraction.dtype)) - error.rounded(fraction)) or 1.0
    for step in range(STEPS):
        up = sigmoid(choice)
        loss = error.rounded(up) / abs(unit)
        if (after := (step / STEPS - WARM) / (1 - WARM)) > 0:
            sharp = BLUNTEST + (SHARPEST - BLUNTEST) * (1 - after)
            loss = loss + STRENGTH * (1 - (2 * up - 1).abs() ** sharp).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return sigmoid.eval()(choice.detach()).to(fraction.dtype)
