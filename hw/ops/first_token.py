# SPDX-License-Identifier: Apache-2.0
"""first_token: the sentence's first token, which the pooler reads."""
from __future__ import annotations

import numpy as np

from hw.graph import Graph, Node
from hw.ops.common import no_macs, require

PARAMS = ()
ATTRS = ()
macs = no_macs


def first_token(x, lengths):
    """y[s] = x[first token of sentence s]; int64 [N, C], lengths [S] -> int64 [S, C]."""
    return x[np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64)] if len(lengths) else x[:0]


def check(graph: Graph, node: Node) -> None:
    x, out = graph.tensor(node.inputs[0]), graph.tensor(node.name)
    require(x.kind == "token" and out.shape == (1, x.channels), graph, node, f"shapes got {x.shape} -> {out.shape}, must be ('T', C) -> (1, C)")
    require((x.bits, x.signed) == (out.bits, out.signed), graph, node, f"output got {out.bits} bits, must be the input's {x.bits}")


def run(graph: Graph, node: Node, inputs: list[np.ndarray], lengths: np.ndarray) -> np.ndarray:
    return first_token(inputs[0], lengths)


def onnx(b, graph: Graph, node: Node, inputs: list[str]) -> str:
    return b.op("Slice", inputs[0], b.ints([0]), b.ints([1]), b.ints([0]), name=node.name)
