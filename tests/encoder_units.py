# SPDX-License-Identifier: Apache-2.0
"""The units of a random encoder as cases of the operator bench."""

import numpy as np
from encoders import random_sentences
from operator_bench import Case

from bitloom.hw import golden
from bitloom.hw.graph import Graph
from bitloom.hw.ops import OPS
from bitloom.hw.plan.solve import HardwareConfig, solve


def units(graph: Graph, lengths: list[int]) -> list[Case]:
    """Those on token streams, each alone, with what they would get."""
    data, folding, cases = golden.run(graph, *random_sentences(graph, lengths)), solve(graph, HardwareConfig(multipliers=60)), []
    for node in graph.nodes:
        tensors = {name: graph.tensor(name) for name in (*node.inputs, node.name) if not OPS[node.op].host}
        if any(tensors[name].kind == "sentence" for name in node.inputs if name in tensors) or not tensors:
            continue
        params = {key: value for key, value in graph.params.items() if key.rpartition(".")[0] == node.name}
        alone = Graph(name=node.name, nodes=(node,), tensors=tensors, params=params, inputs=node.inputs, outputs=(node.name,), max_tokens=graph.max_tokens)
        cases.append(Case(graph=alone, fold=folding.folds[node.name], data=tuple(data[name] for name in node.inputs), lengths=np.array(lengths)))
    return cases
