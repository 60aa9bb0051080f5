# SPDX-License-Identifier: Apache-2.0
"""Equalization: channels of a tensor that has one scale are brought to like ranges by factors that the float network does not notice.

Nagel et al. 2019 (arXiv:1906.04721): a factor between two layers may move from one into the other. That is exact where nothing between them but products
and sums, or ReLU, sees it:
    scores   q_c k_c = (q_c / s_c)(s_c k_c), of each channel: both get the geometric mean of their ranges
    context  sum_j p_j v_jc is linear in v, so a factor goes through it to the inputs of the layer behind
    ffn.act  where it is ReLU, likewise; GELU is not homogeneous
In front of a layer's weights the range of the activation is balanced with that of the weights that it meets, as SmoothQuant does (Xiao et al. 2023,
arXiv:2211.10438; its alpha of 1/2). Factors do not go through LayerNorm: in an encoder with LayerNorm behind each sum, its output is also an addend of the
next sum, which would notice.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from bitloom.qat.net.attention import Context, Scores
from bitloom.qat.net.network import Network
from bitloom.qat.net.operators import Linear, Table

LEAST, MOST = 1e-3, 8.0  # of a range, as a share of the largest; of a factor and its inverse


@torch.no_grad()
def equalize(network: Network, outputs: dict[str, Tensor]) -> None:
    """Move factors between the layers of a float network.

    outputs  what its linear layers give at real tokens, [N, C] by tensor name (bitloom.qat.post_training.layers.outputs)
    """
    for first, second in _factors_of_scores(network):
        move(first, second, _balance(_range(outputs[first.tensor]), _range(outputs[second.tensor])), inputs=False)
    for first, second, positive in _chains(network):
        seen = outputs[first.tensor].clamp(min=0) if positive else outputs[first.tensor]
        move(first, second, _balance(_range(seen), _range(second.weight)), inputs=True)


def move(first: Linear, second: Linear, factor: Tensor, inputs: bool) -> None:
    """Divide a layer's outputs by a factor [C] and multiply the other's inputs, or its outputs, by it."""
    first.weight.div_(factor[:, None])
    first.bias.div_(factor)
    if inputs:
        second.weight.mul_(factor)
    else:
        second.weight.mul_(factor[:, None])
        second.bias.mul_(factor)


def _factors_of_scores(network: Network) -> Iterator[tuple[Linear, Linear]]:
    for operator in network.operators():
        if isinstance(operator, Scores) and all(isinstance(source, Linear) for source in operator._sources):
            yield operator._sources


def _chains(network: Network) -> Iterator[tuple[Linear, Linear, bool]]:
    """Pairs of layers with a context, or ReLU, between them; whether it is ReLU."""
    for second in network.operators():
        between = second._sources[0] if isinstance(second, Linear) else None
        if isinstance(between, Context) and isinstance(between._sources[1], Linear):
            yield between._sources[1], second, False
        elif isinstance(between, Table) and between.function == "relu" and isinstance(between._sources[0], Linear):
            yield between._sources[0], second, True


def _range(rows: Tensor) -> Tensor:
    """Largest magnitude of each column, none far below the others."""
    top = rows.abs().amax(0)
    return top.clamp(min=max(float(top.max()) * LEAST, 1e-12))


def _balance(first: Tensor, second: Tensor) -> Tensor:
    """sqrt(first / second), of a geometric mean of 1."""
    factor = (first / second).log() / 2
    return (factor - factor.mean()).exp().clamp(1 / MOST, MOST)
