# SPDX-License-Identifier: Apache-2.0
"""The golden model: ragged batches, bad input, and ONNX Runtime as a referee."""

import numpy as np
import pytest
from encoders import random_encoder, random_sentences

from bitloom.hw import golden
from bitloom.hw.onnx_export import OnnxReferee, observed, to_onnx

MIXES = [
    dict(layers=1, hidden=16, heads=1, intermediate=24, max_tokens=5),
    dict(
        layers=2, hidden=48, heads=4, intermediate=40, max_tokens=33, weight_bits=(1, 2, 3, 8), act_bits=(2, 5, 8), score_bits=(4, 10), residual_bits=(10, 16)
    ),
    dict(layers=1, hidden=64, heads=2, intermediate=96, max_tokens=512, activation="relu", prob_bits=(4, 8, 12)),
    dict(layers=1, hidden=24, heads=3, intermediate=24, max_tokens=17, head="token", labels=2, weight_bits=(2, 4)),
]


@pytest.mark.parametrize("seed, mix", list(enumerate(MIXES)))
def test_golden_equals_onnx_runtime(seed, mix):
    graph = random_encoder(seed, **mix)
    ids, segments = random_sentences(graph, [1, 2, graph.max_tokens, 4], seed)
    values = golden.run(graph, ids, segments)
    referee = OnnxReferee(to_onnx(graph), graph.hash).run(ids, segments)
    assert set(referee) == set(observed(graph)) and len(referee) >= 4
    for name, got in referee.items():
        assert got.size and np.array_equal(got, values[name]), name


def test_only_standard_onnx_operators():
    model = to_onnx(random_encoder(1, **MIXES[1]))
    assert {n.domain for n in model.graph.node} == {""}
    assert [o.domain for o in model.opset_import] == [""]


def test_a_batch_is_its_sentences():
    graph = random_encoder(3, **MIXES[1])
    ids, segments = random_sentences(graph, [7, 1, 33], 3)
    together = golden.run(graph, ids, segments)
    alone = [golden.run(graph, [i], [s]) for i, s in zip(ids, segments, strict=True)]
    for name, value in together.items():
        assert np.array_equal(value, np.concatenate([a[name] for a in alone])), name


def test_every_tensor_stays_in_its_width():
    graph = random_encoder(5, **MIXES[1])
    for name, value in golden.run(graph, *random_sentences(graph, [33, 3], 5)).items():
        assert graph.tensor(name).low <= value.min() and value.max() <= graph.tensor(name).high, name


def test_outputs_alone():
    graph = random_encoder(5, **MIXES[1])
    sentences = random_sentences(graph, [3, 9], 5)
    alone = golden.run(graph, *sentences, keep_all=False)
    assert set(alone) == {"logits"} and np.array_equal(alone["logits"], golden.run(graph, *sentences)["logits"])


@pytest.mark.parametrize(
    "ids, segments, text",
    [
        ([], None, "got no sentence"),
        ([[]], None, "sentence 0: got 0 tokens, must be 1 .. 5"),
        ([[1], [1] * 6], None, "sentence 1: got 6 tokens"),
        ([[99]], None, "input_ids got 99 .. 99, must be within 0 .. 49"),
        ([[1, 2]], [[0]], "got 1 segment ids, must be 2"),
        ([[1]], [[2]], "token_type_ids got 2"),
    ],
)
def test_bad_input(ids, segments, text):
    with pytest.raises(golden.InputError, match=text):
        golden.run(random_encoder(0, **MIXES[0]), ids, segments)


def test_a_model_of_another_graph_is_refused():
    with pytest.raises(Exception, match="got graph hash .* must be other; run `bitloom export` again"):
        OnnxReferee(to_onnx(random_encoder(0, **MIXES[0])), "other")
