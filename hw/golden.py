# SPDX-License-Identifier: Apache-2.0
"""The golden model: runs an integer graph on a ragged batch, in int64 NumPy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from bitloom.hw.errors import BitloomError
from bitloom.hw.graph import Graph
from bitloom.hw.ops import OPS, aside_of, gate_of


class InputError(BitloomError):
    """Token ids that the graph cannot take."""


def ragged(graph: Graph, ids: Sequence[Sequence[int]], segments: Sequence[Sequence[int]] | None) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Concatenate sentences: ({"input_ids": [N], "token_type_ids": [N]}, lengths [S]), all int64.

    Raises InputError: no sentence, an empty or too long one, ids outside the vocabulary.
    """
    if not len(ids):
        raise InputError("golden: got no sentence, must be at least one")
    segments = [[0] * len(s) for s in ids] if segments is None else segments
    embed = graph.node(graph.entry)
    lengths = np.array([len(s) for s in ids], dtype=np.int64)
    for index, (sentence, segment) in enumerate(zip(ids, segments, strict=True)):
        if not 1 <= len(sentence) <= graph.max_tokens:
            raise InputError(f"golden: sentence {index}: got {len(sentence)} tokens, must be 1 .. {graph.max_tokens}; shorten it")
        if len(segment) != len(sentence):
            raise InputError(f"golden: sentence {index}: got {len(segment)} segment ids, must be {len(sentence)}")
    flat = {
        "input_ids": np.concatenate([np.asarray(s, dtype=np.int64) for s in ids]),
        "token_type_ids": np.concatenate([np.asarray(s, dtype=np.int64) for s in segments]),
    }
    for name, key in (("input_ids", "word"), ("token_type_ids", "segment")):
        rows = len(graph.param(embed, key))
        if flat[name].min() < 0 or flat[name].max() >= rows:
            raise InputError(f"golden: {name} got {flat[name].min()} .. {flat[name].max()}, must be within 0 .. {rows - 1}")
    return flat, lengths


def run(graph: Graph, ids: Sequence[Sequence[int]], segments: Sequence[Sequence[int]] | None = None, *, keep_all: bool = True) -> dict[str, np.ndarray]:
    """Every tensor's codes (or only the outputs') for a batch of unpadded sentences.

    Layout: token tensors [sum T, C]; row tensors flat, in the order sentence, token i, head, token j; (1, C) tensors [S, C]. int64.
    """
    tensors, lengths = ragged(graph, ids, segments)
    return evaluate(graph, tensors, lengths, keep_all=keep_all)


def evaluate(graph: Graph, tensors: dict[str, np.ndarray], lengths: np.ndarray, *, keep_all: bool = True) -> dict[str, np.ndarray]:
    """The same from ragged inputs of the graph (checked by the caller). lengths: tokens of the sentences as the host sends them, int64 [S]."""
    values = dict(tensors)
    last_use = {name: i for i, n in enumerate(graph.nodes) for name in n.inputs}
    for index, node in enumerate(graph.nodes):
        values[node.name] = OPS[node.op].run(graph, node, [values[i] for i in node.inputs], graph.taken(node, lengths))
        if not keep_all:
            for name in set(node.inputs):
                if last_use[name] == index and name not in graph.outputs:
                    del values[name]
    return {k: v for k, v in values.items() if k not in graph.inputs}


def borders(graph: Graph, values: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """Tokens of the first sentence of each pair, int64 [S]; None: no keys of the graph depend on it.

    values  golden codes, the border's among them
    """
    found = sorted(aside_of(graph))
    return values[found[0]][:, 0] if found else None


def exits(graph: Graph, values: Mapping[str, np.ndarray]) -> tuple[int, ...] | None:
    """The off-ramp at which each sentence leaves; None: the graph has none.

    values  golden codes, those of the off-ramps among them
    """
    gate = gate_of(graph)
    return None if gate is None else tuple(OPS[gate.op].gate(graph, gate, values).tolist())
