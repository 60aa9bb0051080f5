# SPDX-License-Identifier: Apache-2.0
"""A network's own forward pass in float64 as integer codes: what the golden model must equal, tensor by tensor."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from bitloom.qat.net.network import Network
from bitloom.qat.net.operator import Tap
from bitloom.qat.quantizers import QuantError
from torch import Tensor


def in_float64(network: Network) -> Network:
    """A copy that computes exactly: float64, no dropout."""
    return copy.deepcopy(network).double().eval()


@torch.no_grad()
def forward_codes(network: Network, ids: Sequence[Sequence[int]], segments: Sequence[Sequence[int]] | None = None) -> dict[str, np.ndarray]:
    """Every named tensor's codes in the network's own forward pass: what the NumPy golden must equal.

    network   in float64 (`in_float64`), where the pass is exact; float32 gives codes too, with a rare difference of one
    ids, segments  unpadded sentences; they are padded here, and run as one batch with a mask
    returns   int64 by tensor name, laid out as bitloom.hw.golden does: [sum T, C], flat rows, [S, C]
    """
    lengths = torch.tensor([len(sentence) for sentence in ids])
    mask = torch.arange(int(lengths.max()))[None, :] < lengths[:, None]
    padded = torch.zeros(mask.shape, dtype=torch.long)
    types = torch.zeros_like(padded)
    padded[mask] = torch.tensor([i for sentence in ids for i in sentence])
    if segments is not None:
        types[mask] = torch.tensor([s for sentence in segments for s in sentence])
    codes: dict[str, np.ndarray] = {}
    device = next(network.parameters()).device
    handles = [_hook(tap, codes, mask) for tap in network.taps()]
    try:
        network.run(padded.to(device), mask.to(device), types.to(device))
    finally:
        for handle in handles:
            handle.remove()
    return codes


def _hook(tap: Tap, codes: dict[str, np.ndarray], mask: Tensor):
    """A hook that puts a tensor's codes of real tokens into `codes`."""

    def keep(values: Tensor) -> None:
        values = values.detach() / tap.unit
        if not torch.equal(values, values.round()):
            raise QuantError(f"forward_codes: {tap.tensor}: got a value between two codes, must be a float64 model (bitloom.qat.net.codes.in_float64)")
        codes[tap.tensor] = _ragged(values.cpu().numpy(), mask.numpy())

    if tap.at_input:
        return tap.module.register_forward_pre_hook(lambda module, args: keep(args[0]))
    return tap.module.register_forward_hook(lambda module, args, out: keep(out))


def _ragged(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Drop padding: [B, T, C] -> [sum T, C]; [B, heads, T, T] -> flat rows; [B, C] as it is."""
    if values.ndim == 4:
        rows = [v[:, :n, :n].transpose(1, 0, 2).ravel() for v, n in zip(values, mask.sum(1).tolist(), strict=True)]
        values = np.concatenate(rows)
    elif values.ndim == 3:
        values = values[mask]
    return values.astype(np.int64)
