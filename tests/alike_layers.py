# SPDX-License-Identifier: Apache-2.0
"""Encoders whose layers hold the same, as shared layers do (ALBERT)."""

from __future__ import annotations

from dataclasses import replace

from bitloom.hw import graph_file
from bitloom.hw.graph import Graph

UNITS = ("linear", "requant", "layernorm", "softmax", "table")


def alike(
    graph: Graph, of: list[int], ops: tuple[str, ...] = UNITS, keys: tuple[str, ...] = ("weight", "bias", "mult", "gamma", "beta", "exp_table", "table")
) -> Graph:
    """The graph whose layer i has the parameters of layer of[i]."""
    params, tensors, nodes = dict(graph.params), dict(graph.tensors), []
    for node in graph.nodes:
        layer = node.name.split(".")[1] if node.name.startswith("layer.") else ""
        source = node.name.replace(f"layer.{layer}.", f"layer.{of[int(layer)]}.") if layer else node.name
        if layer and node.op in ops:
            params |= {f"{node.name}.{key}": graph.params[f"{source}.{key}"] for key in keys if f"{source}.{key}" in graph.params}
            if node.op == "linear":
                tensors[node.name] = replace(graph.tensor(source), name=node.name, bits=graph.tensor(source).bits + 1)
        nodes.append(replace(node, attrs=graph.node(source).attrs) if node.op in ("layernorm", "softmax") else node)
    return graph_file.check(replace(graph, params=params, tensors=tensors, nodes=tuple(nodes)))
