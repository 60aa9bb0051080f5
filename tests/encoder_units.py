# SPDX-License-Identifier: Apache-2.0
"""The units of a random encoder as cases of the operator bench."""

from dataclasses import replace

import numpy as np
from encoders import random_sentences
from operator_bench import Case

from bitloom.hw import golden, pack
from bitloom.hw.graph import Graph
from bitloom.hw.ops import OPS, aside_of
from bitloom.hw.plan.solve import HardwareConfig, solve


def packed(graph: Graph, lengths: list[int]) -> list[Case]:
    """Those that are told where the sentences of packs begin, and what tells them."""
    made, packs = pack.pack(graph), pack.packs_of(lengths, graph.max_tokens)
    want = golden.run(graph, *random_sentences(graph, lengths))
    sent = np.concatenate(pack.sent(np.split(want[graph.entry], np.cumsum(lengths)[:-1]), packs))
    data = golden.evaluate(made, {made.entry: sent}, np.array([sum(own) for own in packs]))
    folding, cases, asides = solve(graph, HardwareConfig(multipliers=60, pack=True)), [], aside_of(made)
    data[made.entry] = sent
    for node in made.nodes:
        inputs = node.inputs[: len(OPS[node.op].takes(node))]  # of ports: softmax is told by its rows' ends
        rows = any(made.tensor(name).kind == "row" for name in inputs)
        if node.name in asides or asides & {*inputs} or (OPS[node.op].spaces and rows):
            tensors = {name: made.tensor(name) for name in (*node.inputs, node.name)}
            alone = Graph(name=node.name, nodes=(node,), tensors=tensors, params={}, inputs=node.inputs, outputs=(node.name,), max_tokens=graph.max_tokens)
            case = Case(graph=alone, fold=folding.folds[node.name], data=tuple(data[name] for name in inputs), lengths=np.array([sum(own) for own in packs]))
            cases.append(replace(case, borders=packs))
    return cases


def units(graph: Graph, lengths: list[int]) -> list[Case]:
    """Those on token streams, each alone, with what they would get."""
    data, folding, cases = golden.run(graph, *random_sentences(graph, lengths)), solve(graph, HardwareConfig(multipliers=60)), []
    for node in graph.nodes:
        tensors = {name: graph.tensor(name) for name in (*node.inputs, node.name) if not OPS[node.op].host}
        if any(tensors[name].kind == "sentence" for name in node.inputs if name in tensors) or not tensors:
            continue
        params = {key: value for key, value in graph.params.items() if key.rpartition(".")[0] == node.name}
        alone = Graph(name=node.name, nodes=(node,), tensors=tensors, params=params, inputs=node.inputs, outputs=(node.name,), max_tokens=graph.max_tokens)
        cases.append(
            Case(
                graph=alone,
                fold=folding.folds[node.name],
                data=tuple(data[name] for name in node.inputs),
                lengths=np.array(lengths),
                borders=golden.borders(graph, data),
            )
        )
    return cases
