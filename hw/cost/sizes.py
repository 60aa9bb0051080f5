# SPDX-License-Identifier: Apache-2.0
"""How many bytes a graph's parameters take, as float32 and as integers, and the weights' bits of each layer."""

from __future__ import annotations

import numpy as np

from bitloom.hw.graph import Graph, Node
from bitloom.hw.ops import OPS

FLOAT_BITS = 32
SCALE_BITS = 16  # a channel's multiplier
TABLE_ROOM = 2  # bits that the sum of three embedding rows has more than a row


def sizes(graph: Graph) -> dict:
    """Bytes of all parameters, and of those that the hardware holds (without the host's embedding tables).

    Integers: weights and tables at their bits, of a layer with a codebook those of an index, and the codebook's; one 16-bit multiplier a channel; biases,
    gamma and beta at the bits that their largest value needs.
    returns {"float_bytes", "quantized_bytes", "without_embeddings": {the same two},
             "layers": {name: {"weights": bits, "activations": output's bits, "parameters": number of weights, "zeros": those of them that are 0}}}
    """
    floats = bits = entries = entry_bits = 0
    layers = {}
    for node in graph.nodes:
        for key in OPS[node.op].params:
            value, taken = graph.param(node, key), _bits(graph, node, key)
            if OPS[node.op].host:
                entries, entry_bits = entries + value.size, entry_bits + taken
                continue
            bits += taken
            if key == "weight":
                floats += value.size
                layers[_rescaled(graph, node)] = {
                    "weights": graph.stored_bits(node),
                    "activations": graph.tensor(_rescaled(graph, node)).bits,
                    "parameters": int(value.size),
                    "zeros": int(np.count_nonzero(value == 0)),
                }
            elif key in ("bias", "gamma", "beta"):
                floats += value.size
    inner = {"float_bytes": _bytes(floats * FLOAT_BITS), "quantized_bytes": _bytes(bits)}
    return {
        "float_bytes": _bytes((floats + entries) * FLOAT_BITS),
        "quantized_bytes": _bytes(bits + entry_bits),
        "without_embeddings": inner,
        "layers": layers,
    }


def parameter_bits(graph: Graph) -> dict[str, int]:
    """Bits of each node's parameters, as `sizes` counts them; the host's tables are those of its embedding node."""
    return {node.name: sum(_bits(graph, node, key) for key in OPS[node.op].params) for node in graph.nodes}


def _bits(graph: Graph, node: Node, key: str) -> int:
    value = graph.param(node, key)
    if OPS[node.op].host:
        return value.size * (graph.tensor(node.name).bits - TABLE_ROOM)
    if key == "weight":
        book = graph.params.get(f"{node.name}.codebook")
        return value.size * graph.stored_bits(node) + (0 if book is None else book.size * node.attrs["weight_bits"])
    if key in ("bias", "gamma", "beta"):
        return value.size * _width(value)
    return value.size * SCALE_BITS if key == "mult" and value.size > 1 else 0


def _rescaled(graph: Graph, node: Node) -> str:
    """The tensor that a layer's accumulator becomes: a layer's name."""
    return graph.readers(node.name)[0].name


def _width(codes: np.ndarray) -> int:
    """Bits of the narrowest signed word that holds all codes."""
    return int(np.abs(codes).max()).bit_length() + 1


def _bytes(bits: int) -> int:
    return -(-bits // 8)
