# SPDX-License-Identifier: Apache-2.0
"""off_ramps: the golden function against the rule sentence by sentence, integer.onnx against it, what a graph must hold."""

from dataclasses import replace

import numpy as np
import pytest
from encoders import random_encoder, random_sentences

from bitloom.hw import golden
from bitloom.hw.graph import GraphError
from bitloom.hw.graph_file import check
from bitloom.hw.onnx_export import OnnxReferee, to_onnx
from bitloom.hw.ops.off_ramps import off_ramps


def naive(logits: list[list[int]], threshold: list[int], patience: int) -> int:
    """Of one sentence, as docs/numerics.md has it."""
    run, before = 0, None
    for index, codes in enumerate(logits):
        best = codes.index(max(codes))
        margin = max(codes) - max(c for i, c in enumerate(codes) if i != best)
        run, before = (run + 1 if best == before else 1), best
        if index == len(logits) - 1 or margin >= threshold[index] and run >= patience:
            return index
    raise AssertionError


@pytest.mark.parametrize("labels", [2, 3, 5])
@pytest.mark.parametrize("patience", [1, 2, 4])
def test_golden_is_the_rule(labels, patience):
    """Few codes, so that ties and margins that equal the threshold are common."""
    rng = np.random.default_rng(labels * 10 + patience)
    logits, threshold = rng.integers(-3, 4, (4, 400, labels)), np.array([3, 1, 2])
    got, taken = off_ramps(list(logits), threshold, patience)
    want = [naive(logits[:, s].tolist(), threshold.tolist(), patience) for s in range(400)]
    assert taken.tolist() == want and len(set(want)) == 5 - patience
    assert np.array_equal(got, logits[want, np.arange(400)])


@pytest.mark.parametrize("rule", [(0.4, 1), (0.0, 2), (0.3, 2)])
def test_onnx_runtime_agrees(rule):
    """On the answer and on all off-ramps."""
    graph = random_encoder(4, layers=4, hidden=8, intermediate=8, labels=3, max_tokens=6, exits=rule)
    ids, segments = random_sentences(graph, [1, 6, 3, 2, 5, 4, 6, 1, 2, 3])
    want, got = golden.run(graph, ids, segments), OnnxReferee(to_onnx(graph), graph.hash).run(ids, segments)
    ramps = graph.nodes[-1].inputs
    assert {"answer", *ramps} <= set(got) and not [name for name in got if not np.array_equal(got[name], want[name])]
    exits = golden.exits(graph, want)
    assert len(set(exits)) > 1
    assert all(np.array_equal(want["answer"][s], want[ramps[e]][s]) for s, e in enumerate(exits))


def test_the_rule_is_in_the_hash():
    graph = random_encoder(4, layers=2, hidden=8, exits=(0.4, 1))
    other = replace(graph, params=graph.params | {"answer.threshold": graph.params["answer.threshold"] + 1})
    assert other.hash != graph.hash and golden.exits(random_encoder(4, layers=2, hidden=8), {}) is None


def test_what_is_refused():
    graph = random_encoder(4, layers=3, hidden=8, exits=(0.4, 1))

    def refused(match: str, **changes) -> None:
        with pytest.raises(GraphError, match=match):
            check(replace(graph, **changes))

    params = graph.params
    refused("threshold got shape", params=params | {"answer.threshold": np.zeros(3, dtype=np.int64)})
    refused("threshold got 0 .. 65537, must be within 0 .. 65536", params=params | {"answer.threshold": np.array([0, 65537])})
    refused("exit.1.logits got .* must be .* as all off-ramps", tensors=graph.tensors | {"exit.1.logits": replace(graph.tensors["exit.1.logits"], scale=2.0)})
    *nodes, gate = graph.nodes
    refused("patience got 4, must be 1 .. 3", nodes=(*nodes, replace(gate, attrs={"patience": 4})))
    refused("got 1 off-ramps, must be at least 2", nodes=(*nodes, replace(gate, inputs=gate.inputs[:1])))
