# SPDX-License-Identifier: Apache-2.0
"""Calibration: show real sentences to a model whose activations are still float, then fix each tensor's power-of-two scale."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from qat.model import QuantBert
from qat.quantizers import QuantError

SAMPLES = 1 << 15  # values kept of a tensor and batch
CANDIDATES = 8  # octaves searched below the scale that clips nothing


class Observer:
    """Keeps an even sample of a tensor's values at real tokens."""

    def __init__(self, batch: dict):
        self._batch = batch  # shared by all observers; its 'real' is the current batch's mask [B, T]
        self._kept: list[Tensor] = []
        self.top = 0.0

    def __call__(self, x: Tensor) -> Tensor:
        real = self._batch["real"]
        if x.ndim == 4:  # rows of scores
            values = x[(real[:, None, :, None] & real[:, None, None, :]).expand_as(x)]
        else:
            values = x[real] if x.ndim == 3 else x
        values = values.detach().flatten()
        self.top = max(self.top, float(values.abs().max()))
        self._kept.append(values[:: max(1, len(values) // SAMPLES)].double())
        return x

    def values(self) -> Tensor:
        return torch.cat(self._kept) if self._kept else torch.zeros(0)


def best_exponent(values: Tensor, top: float, low: int, high: int) -> int:
    """The exponent e that minimizes the mean squared error of clip(floor(v / 2**e + 1/2)) * 2**e over the values.

    values  float64, a sample
    top     largest magnitude seen: where the search begins, coarse enough to clip nothing
    """
    coarsest = math.ceil(math.log2(max(top, 2.0**-40) / max(high, 1)))
    best = (math.inf, coarsest)
    for exponent in range(coarsest, coarsest - CANDIDATES, -1):
        scale = 2.0**exponent
        codes = (values / scale).add_(0.5).floor_().clamp_(low, high)
        best = min(best, (float((codes * scale - values).square().mean()), exponent))
    return best[1]


@torch.no_grad()
def calibrate(model: QuantBert, batches: Iterable[dict[str, Tensor]]) -> dict[str, int]:
    """Choose and set every tensor's scale from real batches; returns the exponents by tensor name.

    batches  dicts with input_ids [B, T] and, where padded or paired, attention_mask and token_type_ids
    """
    batch, grids = {}, model.grids()
    training, device = model.training, next(model.parameters()).device
    model.eval()
    for grid in grids.values():
        grid.observer = Observer(batch)
    seen = 0
    try:
        for inputs in batches:
            ids = inputs["input_ids"].to(device)
            mask, segments = (inputs.get(key) for key in ("attention_mask", "token_type_ids"))
            batch["real"] = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask.to(device).bool()
            model(ids, batch["real"], None if segments is None else segments.to(device))
            seen += 1
        observers = {name: grid.observer for name, grid in grids.items()}
    finally:
        for grid in grids.values():
            grid.observer = None
        model.train(training)
    if not seen:
        raise QuantError("calibrate: got no batch, must be at least one; pass some of the training data")
    return _set_exponents(grids, observers)


def _set_exponents(grids, observers) -> dict[str, int]:
    for name, grid in grids.items():
        values = observers[name].values()
        if len(values) == 0:
            continue  # its scale is a constant of the specification (probabilities)
        low, high = grid.observed_range()
        exponent = best_exponent(values, observers[name].top, low, high)
        if name == "logits":  # 16 bits have room to grow: fine-tuning sharpens the answers, and clipped ones would not learn
            exponent = math.ceil(math.log2(max(observers[name].top, 2.0**-10) / high)) + 2
        if factors := getattr(grid, "factors", ()):
            exponent = max(exponent, sum(factor.e for factor in factors))
        grid.set_exponent(exponent)
    return {name: grid.e for name, grid in grids.items()}
