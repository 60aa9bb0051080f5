# SPDX-License-Identifier: Apache-2.0
"""Freeze: the trained model becomes the integer graph; and the model's own float64 forward pass as integer codes."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from bitloom.hw.graph import Graph
from bitloom.qat.net.model import QuantModel
from bitloom.qat.net.network import Network, padded
from bitloom.qat.quantizers import QuantError


def to_graph(model: QuantModel, name: str, meta: dict | None = None) -> Graph:
    """The integer graph of docs/numerics.md, checked.

    meta  what is not arithmetic (task, label names, tokenizer); the model's shape is added under 'model'
    """
    return model.network.to_graph(name, (meta or {}) | {"model": model.shape.about()})


def in_float64(model: nn.Module) -> nn.Module:
    """A copy of a model or network that computes exactly: float64, no dropout."""
    return copy.deepcopy(model).double().eval()


@torch.no_grad()
def forward_codes(model: QuantModel | Network, ids: Sequence[Sequence[int]], segments: Sequence[Sequence[int]] | None = None) -> dict[str, np.ndarray]:
    """Every named tensor's codes in the model's own forward pass: what the NumPy golden must equal.

    model     in float64 (`in_float64`), where the pass is exact; float32 gives codes too, with a rare difference of one
    ids, segments  unpadded sentences; they are padded here, and run as one batch with a mask
    returns   int64 by tensor name, laid out as bitloom.hw.golden does: [sum T, C], flat rows, [S, C]
    """
    network = model.network if isinstance(model, QuantModel) else model
    rows, types, mask = padded(ids, segments)
    codes: dict[str, np.ndarray] = {}
    device = next(network.parameters()).device
    handles = list(_taps(network, codes, mask))
    try:
        network(rows.to(device), types.to(device), mask.to(device)[:, None, None, :])
    finally:
        for handle in handles:
            handle.remove()
    return codes


def _taps(network: Network, codes: dict[str, np.ndarray], mask: Tensor) -> Iterator:
    """Hooks that put each named tensor's codes of real tokens into `codes`."""
    left = network.tokens()
    left |= {name: left[module.tensor] for module in network.operators() for name in module.units()}

    def keep(name: str, values: Tensor, unit: Tensor | float) -> None:
        """Padding is behind a sentence's tokens, however many of these are left."""
        values = values.detach() / unit
        if not torch.equal(values, values.round()):
            raise QuantError(f"forward_codes: {name}: got a value between two codes, must be a float64 model (bitloom.qat.export.in_float64)")
        codes[name] = _ragged(values.cpu().numpy(), left[name].of(mask.sum(1).numpy()))

    def tap(name: str, unit: Tensor | float):
        return lambda module, args, out: keep(name, out, unit)

    def tap_input(name: str, unit: Tensor | float):
        return lambda module, args: keep(name, args[0], unit)

    for module in network.operators():
        yield module.register_forward_hook(tap(module.tensor, 2.0**module.grid.e))
        for name, unit in module.units().items():
            yield module.rescaling.register_forward_pre_hook(tap_input(name, unit))


def _ragged(values: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Drop padding: [B, T, C] -> [sum T, C]; [B, heads, T, T] -> flat rows; [B, C] as it is. lengths: tokens of each sentence that the tensor holds."""
    if values.ndim == 4:
        values = np.concatenate([v[:, :n, :n].transpose(1, 0, 2).ravel() for v, n in zip(values, lengths.tolist(), strict=True)])
    elif values.ndim == 3:
        values = values[np.arange(values.shape[1]) < lengths[:, None]]
    return values.astype(np.int64)
