# SPDX-License-Identifier: Apache-2.0
"""The kinds of networks: a new one is its file, with a shape and a Network, its settings in qat/networks.py, and a line here."""

from __future__ import annotations

from typing import Any

from bitloom.qat.baseline import checkpoint_config, scratch_config
from bitloom.qat.families import family_of
from bitloom.qat.net.bilstm import Bilstm, BilstmShape
from bitloom.qat.net.cells import Cells, CellsShape
from bitloom.qat.net.cnn import Cnn, CnnShape
from bitloom.qat.net.encoder import Encoder
from bitloom.qat.net.hourglass import Hourglass, HourglassShape
from bitloom.qat.net.hybrid import Hybrid, HybridShape
from bitloom.qat.net.network import Network
from bitloom.qat.net.shape import EncoderShape, Head, NetworkShape
from bitloom.qat.networks import ModelConfig, NetworkConfig

NETWORKS: dict[type[NetworkShape], type[Network]] = {
    EncoderShape: Encoder,
    CnnShape: Cnn,
    BilstmShape: Bilstm,
    HybridShape: Hybrid,
    HourglassShape: Hourglass,
    CellsShape: Cells,
}
SHAPES = {shape.kind: shape for shape in NETWORKS}


def build(shape: NetworkShape) -> Network:
    """The network of a shape, not yet bound."""
    return NETWORKS[type(shape)](shape)


def shape_from_dict(values: dict[str, Any]) -> NetworkShape:
    """Of a shape's `as_dict`. Raises TypeError, KeyError: it is none."""
    return SHAPES[values.get("network", EncoderShape.kind)].from_dict(values)


def shape_of(model: NetworkConfig, head: Head, labels: int, vocabulary: int) -> NetworkShape:
    """The shape that a recipe's training would have; of a checkpoint, only config.json is read.

    vocabulary  rows of the word table where no checkpoint gives them
    """
    if isinstance(model, ModelConfig):
        return _encoder_shape(model, head, labels, vocabulary)
    return SHAPES[model.network].of(model, head, labels, vocabulary)


def _encoder_shape(model: ModelConfig, head: Head, labels: int, vocabulary: int) -> EncoderShape:
    if model.checkpoint is None:
        config = scratch_config(model, vocabulary, labels)
        family = family_of(config)
    else:
        config, family = checkpoint_config(model.checkpoint, labels=labels, layers=model.layers, dropout=model.dropout, keys=model.keys)
    return family.shape(config, model.max_tokens, head, labels)
