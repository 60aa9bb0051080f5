# SPDX-License-Identifier: Apache-2.0
"""A network without training: random weights, given shape and bits, as an integer graph, so that cost and cycles are known before a training starts."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from bitloom.hw.graph import Graph
from bitloom.qat import memory
from bitloom.qat.baseline import head_of_task
from bitloom.qat.config import QuantConfig
from bitloom.qat.net.kinds import build, shape_of
from bitloom.qat.net.network import Network
from bitloom.qat.net.operators import LayerNorm, Linear
from bitloom.qat.net.shape import NetworkShape
from bitloom.qat.networks import NetworkConfig

SPREAD = 2.5  # standard deviations of a weight that the largest code stands for, as trained encoders have it
LABELS, VOCABULARY = 2, 4096  # where neither the data set nor a checkpoint says: they change the head and the host's table alone
HEADROOM = 4  # an activation's range in units of its typical size: exponents do not change cost, only codes


def untrained_shape(model: NetworkConfig, *, labels: int, vocabulary: int, task: str = "classification") -> NetworkShape:
    """The shape that a recipe's training would have; of a checkpoint, only config.json is read."""
    return shape_of(model, head_of_task(task, model.head), labels, vocabulary)


def untrained_graph(model: NetworkConfig, quant: QuantConfig, *, labels: int, vocabulary: int, task: str = "classification", seed: int = 0,
                    compressed: Callable[[NetworkShape], NetworkShape] = lambda shape: shape,
                    thin: Callable[[Network], None] = lambda network: None) -> Graph:  # fmt: skip
    """The integer graph of a network with random weights.

    labels, vocabulary  logits, and rows of the word table where no checkpoint gives them
    compressed          what compression makes of a shape (bitloom.qat.compress.Compression.check)
    thin                sets the weights to zero that it leaves out (bitloom.qat.compress.Compression.thin)
    """
    torch.manual_seed(seed)
    shape = compressed(untrained_shape(model, labels=labels, vocabulary=vocabulary, task=task))
    memory.require(shape)
    network = build(shape).bind(quant, shape.max_tokens)
    set_scales(network, thin)
    return network.to_graph("untrained")


@torch.no_grad()
def set_scales(network: Network, thin: Callable[[Network], None] = lambda network: None) -> None:
    """Plausible scales without a look at data: weights by their deviation, activations by what LayerNorm makes of them."""
    for operator in network.operators():
        if isinstance(operator, Linear):
            operator.weight.normal_(std=1 / math.sqrt(operator.in_features))
            operator.bias.zero_()
    thin(network)
    for operator in network.operators():
        if isinstance(operator, Linear):
            grid = operator.weight_grid
            grid.log_scale.fill_(math.log(SPREAD / math.sqrt(operator.in_features) / max(1, grid.high)))
            grid.assign(operator.weight)
        if operator.settings and not operator.grid.calibrated:
            grid = operator.grid
            size = HEADROOM if not isinstance(operator, LayerNorm) else HEADROOM * 1.5
            grid.set_exponent(math.ceil(math.log2(size / grid.high)))
    network.settle()
