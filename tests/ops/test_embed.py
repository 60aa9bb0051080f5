# SPDX-License-Identifier: Apache-2.0
"""embed: the host's operator, which has no hardware."""

import numpy as np
import pytest

from bitloom.hw import graph_file
from bitloom.hw.graph import Graph, GraphError, Node, Tensor
from bitloom.hw.ops import embed


def graph(bits=10, positions=8, low=-127, max_tokens=8):
    rng = np.random.default_rng(0)
    tables = {key: rng.integers(low, 128, (rows, 6)) for key, rows in (("word", 20), ("position", positions), ("segment", 2))}
    for values in tables.values():
        values[0, 0], values[-1, -1] = low, 127  # the check sums the ends of the three ranges
    node = Node(name="embeddings.sum", op="embed", inputs=("input_ids", "token_type_ids"))
    tensor = Tensor(name=node.name, shape=("T", 6), bits=bits, signed=True)
    return Graph(
        name="test",
        nodes=(node,),
        tensors={node.name: tensor},
        params={f"{node.name}.{k}": v for k, v in tables.items()},
        outputs=(node.name,),
        max_tokens=max_tokens,
    )


def test_sums_rows_and_counts_positions_from_each_sentence():
    g = graph_file.check(graph())
    word, position, segment = (g.params[f"embeddings.sum.{key}"] for key in embed.PARAMS)
    ids, segments, lengths = np.array([3, 19, 0, 7, 3, 3]), np.array([0, 1, 0, 0, 1, 1]), np.array([2, 1, 3])
    y = embed.run(g, g.nodes[0], [ids, segments], lengths)
    naive = [[int(word[i, c] + position[p, c] + segment[s, c]) for c in range(6)] for i, p, s in zip(ids, [0, 1, 0, 0, 1, 2], segments, strict=True)]
    assert y.tolist() == naive and y.dtype == np.int64


def test_no_sentence():
    g = graph_file.check(graph())
    empty = np.zeros(0, dtype=np.int64)
    assert embed.run(g, g.nodes[0], [empty, empty], empty).shape == (0, 6)


def test_sums_must_fit_the_output():
    with pytest.raises(GraphError, match=r"sums reach -381 \.\. 381, must fit the output's -256 \.\. 255"):
        graph_file.check(graph(bits=9))


def test_every_position_needs_a_row():
    with pytest.raises(GraphError, match="position got 8 rows, must be at least max_tokens = 9"):
        graph_file.check(graph(max_tokens=9))
