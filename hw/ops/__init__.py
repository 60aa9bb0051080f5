# SPDX-License-Identifier: Apache-2.0
"""The operator library: `OPS[name]` is the record of an operator (hw/ops/record.py). A new operator is its file here and one name in the list."""

from bitloom.hw.graph import Graph, Node
from bitloom.hw.ops import (
    add,
    border,
    concat,
    context,
    embed,
    first_token,
    keep_tokens,
    layernorm,
    linear,
    lstm,
    off_ramps,
    pattern,
    requant,
    scores,
    softmax,
    table,
    token_max,
    token_mean,
    token_window,
    upsample,
    window_max,
    window_mean,
)
from bitloom.hw.ops.record import Operator

_ENCODERS = (embed, border, linear, requant, add, table, scores, softmax, context, pattern, layernorm, first_token, keep_tokens, off_ramps)
_CONVOLUTIONS = (token_window, token_max, token_mean, concat, window_max, window_mean, upsample)
OPS: dict[str, Operator] = {m.OP.name: m.OP for m in (*_ENCODERS, *_CONVOLUTIONS, lstm)}


def gate_of(graph: Graph) -> Node | None:
    """The node that chooses between off-ramps; None: the graph has none, each sentence passes all layers."""
    return next((node for node in graph.nodes if node.op in OPS and OPS[node.op].gate), None)


def aside_of(graph: Graph) -> set[str]:
    """Tensors that tell units how to work (record field `aside`)."""
    return {node.name for node in graph.nodes if node.op in OPS and OPS[node.op].aside}


def operands(graph: Graph, node: Node) -> tuple[str, ...]:
    """The node's inputs without those."""
    return tuple(name for name in node.inputs if name not in aside_of(graph))
