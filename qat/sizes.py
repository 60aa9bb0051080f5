# SPDX-License-Identifier: Apache-2.0
"""How many bytes an integer graph takes, as floats and quantized, and the weights' bits of each layer."""

from __future__ import annotations

import numpy as np
from bitloom.hw.graph import Graph
from bitloom.hw.ops import OPS

FLOAT_BITS = 32
MULTIPLIER_BITS = 16  # a channel's, at the output of a layer with weights
LEARNED = ("weight", "bias", "gamma", "beta", "word", "position", "segment")  # parameters that a float model has too


def sizes(graph: Graph) -> dict:
    """Bytes of all parameters, and of those that the hardware holds (without what the host holds: the embedding tables).

    Quantized: weights at their bits, one 16-bit multiplier a channel, the others at the bits that their largest value needs.
    returns {"float_bytes", "quantized_bytes", "without_embeddings": {the same two},
             "layers": {name: {"weights": bits, "activations": output's bits, "parameters": number of weights}}}
    """
    floats, bits, layers = {True: 0, False: 0}, {True: 0, False: 0}, {}  # by: the host's or not
    for node in graph.nodes:
        op = OPS[node.op]
        for key in op.params:
            if key in LEARNED:
                values = graph.param(node, key)
                floats[op.host] += values.size
                bits[op.host] += values.size * node.attrs.get(f"{key}_bits", _width(values))
        if "weight_bits" in node.attrs:
            (out,) = graph.readers(node.name)
            bits[op.host] += graph.tensor(node.name).channels * MULTIPLIER_BITS
            layers[out.name] = {
                "weights": node.attrs["weight_bits"],
                "activations": graph.tensor(out.name).bits,
                "parameters": graph.param(node, "weight").size,
            }
    inner = {"float_bytes": _bytes(floats[False] * FLOAT_BITS), "quantized_bytes": _bytes(bits[False])}
    return {
        "float_bytes": _bytes(sum(floats.values()) * FLOAT_BITS),
        "quantized_bytes": _bytes(sum(bits.values())),
        "without_embeddings": inner,
        "layers": layers,
    }


def _width(codes: np.ndarray) -> int:
    """Bits of the narrowest signed word that holds all codes."""
    return max(int(codes.max()).bit_length(), int(-1 - codes.min()).bit_length()) + 1


def _bytes(bits: int) -> int:
    return -(-bits // 8)
