# SPDX-License-Identifier: Apache-2.0
"""embed: sum of the token's, the position's and the segment's row. Runs on the host, which streams the sums."""

from __future__ import annotations

import numpy as np

from bitloom.hw.graph import Graph, GraphBuilder, Node, Tensor, require
from bitloom.hw.ops.record import Operator

PARAMS = ("word", "position", "segment")
ATTRS = ()


def embed(ids, segments, positions, word, position, segment):
    """y = word[id] + position[i] + segment[s]; all three tables share one scale.

    ids, segments, positions  int64 [N]
    word, position, segment   int64 [V, H], [P, H], [S, H]
    returns                   int64 [N, H], one LSB = the tables' scale
    """
    return word[ids] + position[positions] + segment[segments]


def check(graph: Graph, node: Node) -> None:
    out = graph.tensor(node.name)
    tables = [graph.param(node, key) for key in PARAMS]
    for key, value in zip(PARAMS, tables, strict=True):
        require(value.ndim == 2 and value.shape[1] == out.channels, graph, node, f"{key} got shape {value.shape}, must be [rows, {out.channels}]")
    require(len(tables[1]) >= graph.max_tokens, graph, node, f"position got {len(tables[1])} rows, must be at least max_tokens = {graph.max_tokens}")
    low, high = sum(int(t.min()) for t in tables), sum(int(t.max()) for t in tables)
    require(out.low <= low and high <= out.high, graph, node, f"sums reach {low} .. {high}, must fit the output's {out.low} .. {out.high}")


def run(graph: Graph, node: Node, inputs: list[np.ndarray], lengths: np.ndarray) -> np.ndarray:
    positions = np.concatenate([np.arange(n) for n in lengths]) if len(lengths) else np.zeros(0, np.int64)
    return embed(inputs[0], inputs[1], positions, *(graph.param(node, key) for key in PARAMS))


def onnx(b, graph: Graph, node: Node, inputs: list[str]) -> str:
    word, position, segment = (b.constant(f"{node.name}.{key}", graph.param(node, key)) for key in PARAMS)
    count = b.op("Shape", inputs[0])
    positions = b.op("Slice", position, b.ints([0]), count, b.ints([0]))
    rows = b.op("Add", b.op("Gather", word, inputs[0]), b.op("Gather", segment, inputs[1]))
    return b.op("Add", rows, positions, name=node.name)


def append(b: GraphBuilder, name: str, inputs: tuple[str, str], word, position, segment, *, bits: int, scale: float) -> Tensor:
    """The node whose tables are these; `inputs`: the graph's ids and segments."""
    out = Tensor(name=name, shape=("T", word.shape[1]), bits=bits, signed=True, scale=scale)
    return b.add("embed", out, inputs, word=word, position=position, segment=segment)


OP = Operator(name="embed", params=PARAMS, attrs=ATTRS, check=check, run=run, onnx=onnx, host=True)
