# SPDX-License-Identifier: Apache-2.0
"""What the linear layers of a network see and give on some sentences."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as TF

from bitloom.qat.net.kept import still_real
from bitloom.qat.net.network import Network
from bitloom.qat.net.operators import Linear

SENTENCES = 1024  # at most: all at once, so that a layer can be changed before the next one is computed
Change = Callable[[Linear, Tensor, Tensor], None]  # of a layer, given its inputs [N, K] and the outputs [N, C] that it should have


def merged(batches: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The first SENTENCES of them as one padded batch, with a mask."""
    batches = [batch if "attention_mask" in batch else batch | {"attention_mask": torch.ones_like(batch["input_ids"])} for batch in batches]
    longest = max(batch["input_ids"].shape[1] for batch in batches)
    keys = set.intersection(*(set(batch) for batch in batches)) & {"input_ids", "attention_mask", "token_type_ids"}
    return {key: torch.cat([TF.pad(batch[key], (0, longest - batch[key].shape[1])) for batch in batches])[:SENTENCES] for key in keys}


@torch.no_grad()
def _run(network: Network, batch: dict[str, Tensor]) -> Tensor:
    """One forward pass in evaluation; the mask of real tokens [B, T]."""
    device, training = next(network.parameters()).device, network.training
    ids, real = batch["input_ids"].to(device), batch["attention_mask"].to(device).bool()
    segments = batch["token_type_ids"].to(device) if "token_type_ids" in batch else torch.zeros_like(ids)
    network.eval()
    network(ids, segments, real[:, None, None, :])
    network.train(training)
    return real


def _masks(network: Network, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """By tensor: which places hold a token, [B, T]."""
    return {name: still_real(batch["attention_mask"].bool(), left) for name, left in network.tokens().items()}


def _rows(x: Tensor, real: Tensor) -> Tensor:
    """[B, T, C] -> [N, C] of real tokens; [B, C] as it is."""
    return x[real.to(x.device)] if x.ndim == 3 else x


def outputs(network: Network, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """What each linear layer gives at real tokens, [N, C] by tensor name."""
    found: dict[str, Tensor] = {}
    layers = [operator for operator in network.operators() if isinstance(operator, Linear)]
    real = _masks(network, batch)
    hooks = [layer.register_forward_hook(lambda layer, args, y: found.__setitem__(layer.tensor, _rows(y, real[layer.tensor]))) for layer in layers]
    try:
        _run(network, batch)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def visit(network: Network, batch: dict[str, Tensor], wanted: dict[str, Tensor], changes: Sequence[Change]) -> None:
    """Change each linear layer of a quantized network before it is computed, so that the ones behind it see what it gives then.

    wanted  what the layers of the float network give (`outputs`)
    """
    real, factors = _masks(network, batch), network.factors()

    def change(layer: Linear, args: tuple[Tensor]) -> None:
        for one in changes:
            one(layer, _rows(args[0], real[layer.tensor]), wanted[layer.tensor] * factors.get(layer, 1.0))

    hooks = [operator.register_forward_pre_hook(change) for operator in network.operators() if isinstance(operator, Linear)]
    try:
        _run(network, batch)
    finally:
        for hook in hooks:
            hook.remove()
