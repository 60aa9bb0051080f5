# SPDX-License-Identifier: Apache-2.0
"""An integer graph in seconds, without training: a network's shape and bits with random integers, for cost, cycles and tests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from bitloom.hw.graph import Graph
from bitloom.hw.graph import Tensor as GraphTensor
from bitloom.hw.ops import add, layernorm
from bitloom.qat.config import ModelConfig, QuantConfig
from bitloom.qat.families import family_of, load_config
from bitloom.qat.net.attention import Context, Scores, Softmax
from bitloom.qat.net.encoder import Encoder
from bitloom.qat.net.network import Network, Step
from bitloom.qat.net.operator import Operator
from bitloom.qat.net.operators import Add, Embed, FirstToken, LayerNorm, Linear, Table
from bitloom.qat.net.shape import EncoderShape
from bitloom.qat.quantizers import QuantError

SPREAD = 2.5  # the largest code over the weights' standard deviation, about as training leaves them


def untrained_graph(model: ModelConfig, quant: QuantConfig, labels: int, vocabulary: int) -> Graph:
    """The integer graph of an encoder with random weights: its nodes, widths and sizes are about those that training will give.

    Of a checkpoint only config.json is read, and `vocabulary` is its own.
    Raises QuantError, ConfigError: a shape or bits that do not fit.
    """
    shape = _shape(model, labels, vocabulary)
    network = Encoder(shape)
    quant.check_names(network.settings)
    return RandomIntegers(network, quant).graph("untrained", {"model": shape.about()})


def _shape(model: ModelConfig, labels: int, vocabulary: int) -> EncoderShape:
    if model.checkpoint is None:
        return EncoderShape.of(model, vocabulary, labels)
    config = load_config(model.checkpoint)
    family = family_of(config)
    if model.layers is not None and model.layers > config.num_hidden_layers:
        raise QuantError(f"layers: got {model.layers}, must be at most the checkpoint's {config.num_hidden_layers}; lower it")
    config.num_hidden_layers, config.num_labels = model.layers or config.num_hidden_layers, labels
    return family.encoder_shape(config, "classification" if model.head == "sequence" else "token_classification", model.max_tokens)


class RandomIntegers:
    """Draws each operator's integers, scaled so that codes spread over their range without saturating much.

    It follows each tensor's typical size (`rms`, in LSB) through the network to choose multipliers and shifts.
    """

    def __init__(self, network: Network, quant: QuantConfig | None = None, seed: int = 0):
        self.network, self.quant, self.rng = network, quant, np.random.default_rng(seed)
        self.rms: dict[str, float] = {}
        self._draw = {
            Embed: self.embed,
            Linear: self.linear,
            Scores: self.scores,
            Softmax: self.softmax,
            Context: self.context,
            Add: self.add,
            LayerNorm: self.layernorm,
            Table: self.table,
            FirstToken: self.first_token,
        }

    def graph(self, name: str, meta: dict) -> Graph:
        return self.network.to_graph(name, meta, lambda step, operator, inputs: self._draw[type(operator)](step, operator, inputs))

    # What a subclass may choose otherwise
    def choice(self, step: Step, operator: Operator) -> dict[str, Any]:
        """As Operator.choice."""
        return operator.choice(self.network.place(step, self.quant))

    def codes(self, shape: tuple[int, int], bits: int, narrow: bool = True) -> np.ndarray:
        """Weights."""
        if bits == 1:
            return self.rng.integers(0, 2, shape) * 2 - 1
        high = (1 << (bits - 1)) - 1
        drawn = self.rng.standard_normal(shape, dtype=np.float32) * np.float32(high / SPREAD)
        return np.clip(np.floor(drawn + np.float32(0.5)), -high - (not narrow), high).astype(np.int64)

    def scale(self, step: Step, bits: int) -> float:
        """Of a linear layer's output, or a context's."""
        return 2.0 ** (3 - bits)

    def scores_scale(self, bits: int) -> float:
        return 2.0 ** (2 - bits)

    def sum_scale(self, a: GraphTensor, b: GraphTensor, bits: int) -> tuple[tuple[int, int, int], float]:
        """Multipliers and shift of a residual sum, and its scale: it holds the sum of the largest codes."""
        scale = max(t.scale * 2.0**t.bits for t in (a, b)) * 2.0 ** (1 - bits)
        return add.rescale(a, b, scale), scale

    # Operators
    def embed(self, step: Step, operator: Embed, inputs: Sequence[GraphTensor]) -> dict[str, Any]:
        chosen = self.choice(step, operator)
        rows = {"word": operator.vocabulary, "position": operator.positions, "segment": operator.segments}
        self.rms[step.name] = 2.0 ** chosen["table_bits"] / 2.1
        return {key: self.codes((n, operator.width), chosen["table_bits"]) for key, n in rows.items()} | {"bits": chosen["bits"], "scale": 1.0}

    def linear(self, step: Step, operator: Linear, inputs: Sequence[GraphTensor]) -> dict[str, Any]:
        chosen, (source,) = self.choice(step, operator), step.inputs
        weight_bits, bits, channels = chosen["weight_bits"], chosen["bits"], operator.out_features
        weight = self.codes((channels, operator.in_features), weight_bits, chosen["narrow"])
        rms = math.sqrt(operator.in_features) * float(np.sqrt((weight**2).mean())) * self.rms[source]
        bias = np.floor(self.rng.normal(0, rms / 4, channels) + 0.5).astype(np.int64)
        self.rms[step.name] = target = 2.0 ** (bits - 1) / 3
        ratio = target / rms * self.rng.uniform(0.6, 1.4, channels)
        shift = 15 - math.floor(math.log2(ratio.max()))
        mult = np.clip(np.floor(ratio * 2.0**shift + 0.5), 1, 65535)
        return {"weight": weight, "bias": bias, "weight_bits": weight_bits, "mult": mult, "shift": shift, "bits": bits, "scale": self.scale(step, bits)}

    def scores(self, step: Step, operator: Scores, inputs: Sequence[GraphTensor]) -> dict[str, Any]:
        bits = self.choice(step, operator)["bits"]
        width = inputs[0].channels // operator.heads
        scale = self.scores_scale(bits)
        return self._shift_to(step, math.sqrt(width) * self.rms[step.inputs[0]] * self.rms[step.inputs[1]], bits, scale)

    def softmax(self, step: Step, operator: Softmax, inputs: Sequence[GraphTensor]) -> dict[str, Any]:
        bits = self.choice(step, operator)["bits"]
        self.rms[step.name] = 2.0**bits / 4
        return {"bits": bits}

    def context(self, step: Step, operator: Context, inputs: Sequence[GraphTensor]) -> dict[str, Any]:
        bits = self.choice(step, operator)["bits"]
        return self._shift_to(step, 2.0 ** inputs[0].bits * self.rms[step.inputs[1]] / 2, bits, self.scale(step, bits))

    def _shift_to(self, step: Step, rms: float, bits: int, scale: float) -> dict[str, Any]:
        """A requantization by shift only, of an accumulator of that size."""
        shift = max(0, math.ceil(math.log2(rms / (2.0 ** (bits - 1) / 3))))
        self.rms[step.name] = rms / 2**shift
        return {"shift": shift, "bits": bits, "scale": scale}

    def add(self, step: Step, operator: Add, inputs: Sequence[GraphTensor]) -> dict[str, Any]:
        bits = self.choice(step, operator)["bits"]
        (mult_a, mult_b, shift), scale = self.sum_scale(*inputs, bits)
        a, b = (self.rms[name] for name in step.inputs)
        self.rms[step.name] = math.hypot(a * mult_a, b * mult_b) / 2**shift
        return {"mult_a": mult_a, "mult_b": mult_b, "shift": shift, "bits": bits, "scale": scale}

    def layernorm(self, step: Step, operator: LayerNorm, inputs: Sequence[GraphTensor]) -> dict[str, Any]:
        bits = self.choice(step, operator)["bits"]
        scale = 2.0 ** (2 - (bits - 1))
        gamma, beta = self.rng.normal(1, 0.2, operator.width), self.rng.normal(0, 0.2, operator.width)
        gamma, beta, shift = layernorm.affine(gamma, beta, scale)
        self.rms[step.name] = 1 / scale
        return {"gamma": gamma, "beta": beta, "eps": layernorm.constants(inputs[0], operator.eps)["eps"], "shift": shift, "bits": bits, "scale": scale}

    def table(self, step: Step, operator: Table, inputs: Sequence[GraphTensor]) -> dict[str, Any]:
        bits = self.choice(step, operator)["bits"]
        self.rms[step.name] = self.rms[step.inputs[0]] * 0.6
        return {"bits": bits, "scale": 2.0 ** (1 - bits) if operator.function == "tanh" else inputs[0].scale}

    def first_token(self, step: Step, operator: FirstToken, inputs: Sequence[GraphTensor]) -> dict[str, Any]:
        self.rms[step.name] = self.rms[step.inputs[0]]
        return {}
