# SPDX-License-Identifier: Apache-2.0
"""How many bytes a model takes, float and quantized, and the weights' bits of each layer."""

from __future__ import annotations

from bitloom.qat.layers import LayerNorm, Linear
from bitloom.qat.model import QuantBert

FLOAT_BITS = 32
SCALE_BITS = 16  # a channel's multiplier


def sizes(model: QuantBert) -> dict:
    """Bytes of all parameters, and of those that the hardware holds (without the embedding tables).

    Quantized: weights and tables at their bits, one 16-bit multiplier a channel, biases, gamma and beta at the
    bits that their largest value needs.
    returns {"float_bytes", "quantized_bytes", "without_embeddings": {the same two},
             "layers": {name: {"weights": bits, "activations": output's bits, "parameters": number of weights}}}
    """
    tables = model.embeddings.sum
    entries = sum(t.numel() for t in (tables.word, tables.position, tables.segment))
    floats, bits, layers = 0, 0, {}
    for module in model.operators():
        if isinstance(module, Linear):
            count, channels = module.weight.numel(), module.out_features
            bias = _width(module.bias_grid.codes(module.bias))
            bits += count * module.weight_grid.bits + channels * (SCALE_BITS + bias)
            floats += count + channels
            layers[module.tensor] = {
                "weights": module.weight_grid.bits,
                "activations": module.grid.bits,
                "parameters": count,
            }
        elif isinstance(module, LayerNorm):
            gamma, beta, _ = module.integers()
            bits += len(gamma) * (_width(gamma) + _width(beta))
            floats += 2 * len(gamma)
    inner = {"float_bytes": _bytes(floats * FLOAT_BITS), "quantized_bytes": _bytes(bits)}
    return {
        "float_bytes": _bytes((floats + entries) * FLOAT_BITS),
        "quantized_bytes": _bytes(bits + entries * tables.table_bits),
        "without_embeddings": inner,
        "layers": layers,
    }


def _width(codes) -> int:
    """Bits of the narrowest signed word that holds all codes."""
    return int(codes.abs().max()).bit_length() + 1


def _bytes(bits: int) -> int:
    return -(-bits // 8)
