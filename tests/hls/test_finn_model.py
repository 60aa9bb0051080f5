# SPDX-License-Identifier: Apache-2.0
"""The integer graph as QONNX, run by the qonnx package, against the golden model."""

import re
from dataclasses import replace

import numpy as np
import onnx
import pytest
from csim_cases import cases
from encoders import random_bilstm, random_cnn, random_encoder, random_hybrid, random_sentences

from bitloom.hls.finn.errors import FinnError
from bitloom.hls.finn.model import build, finish
from bitloom.hls.finn.quant_export import export
from bitloom.hls.finn.verify import compare
from bitloom.hw import golden
from bitloom.hw.ops import OPS

TINY = dict(layers=1, hidden=16, heads=2, intermediate=32, max_tokens=8)
VARIANTS = {
    "gelu": TINY,
    "relu": TINY | {"activation": "relu"},
    "token head": TINY | {"head": "token", "labels": 3, "heads": 1},
    "codebooks": TINY | {"weight_bits": (3, 8), "index_bits": (0, 1, 2)},
    "mixed bits": TINY | {"layers": 2, "weight_bits": (1, 2, 3, 8), "act_bits": (4, 6, 8), "score_bits": (6, 10), "prob_bits": (4, 8), "residual_bits": (8, 10)},
}  # fmt: skip


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("style", ["thresholds", "scaling"])
def test_integer_nodes_equal_the_golden(name, style):
    graph = random_encoder(5, **VARIANTS[name])
    report = compare(graph, build(graph, 6, style), *random_sentences(graph, [6] * 4))
    assert {t.tensor for t in report.tensors} == {n.name for n in graph.nodes if n.op != "embed"}
    assert all(t.values > 0 for t in report.tensors) and report.sentences == 4
    if style == "thresholds":
        assert report.broken == []
    for tensor in report.tensors:  # QONNX computes a Requant in float32: off by one here and there; test_finn_lower has the RTL's arithmetic
        assert tensor.worst_alone <= (1 if tensor.exact else 2)
        assert not tensor.exact or tensor.alone <= tensor.values // 100


def test_one_token():
    graph = random_encoder(6, **TINY)
    assert compare(graph, build(graph, 1), *random_sentences(graph, [1, 1])).broken == []


def test_a_wrong_threshold_is_found():
    graph = random_encoder(5, **TINY)
    model = build(graph, 6)
    (wrong,) = [i for i in model.graph.initializer if i.name == "layer.0.query.thresholds"]
    values = onnx.numpy_helper.to_array(wrong) + 40
    wrong.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float32), wrong.name))
    broken = compare(graph, model, *random_sentences(graph, [6] * 2)).broken
    assert [t.tensor for t in broken] == ["layer.0.query"] and broken[0].worst_alone >= 1


def test_the_host_finishes_as_the_golden_does():
    graph = random_encoder(5, **TINY)
    want = golden.run(graph, *random_sentences(graph, [4, 7]))
    acc = want["logits.acc"] - graph.params["logits.acc.bias"]
    assert np.array_equal(finish(graph, acc), want["logits"])


def test_wide_activations_are_refused():
    graph = random_encoder(5, **TINY | {"residual_bits": (12,)})
    with pytest.raises(FinnError, match=r"finn: layer.0.attention.sum: got activations of 12 bits, must be at most 10 .* lower its bits in the recipe"):
        build(graph, 6)
    graph = random_encoder(5, **TINY | {"act_bits": (9,)})
    with pytest.raises(FinnError, match=r"got activations of 9 bits, must be at most 8 .* rtl or hls4ml backend"):
        build(graph, 6)


def test_lengths_are_checked():
    graph = random_encoder(5, **TINY)
    with pytest.raises(FinnError, match=re.escape("finn: got 9 tokens, must be 1 .. 8")):
        build(graph, 9)
    model = build(graph, 6)
    with pytest.raises(FinnError, match="got a sentence of 5 tokens, must be 6"):
        compare(graph, model, *random_sentences(graph, [6, 5]))
    with pytest.raises(FinnError, match="got 0 sentences to compare"):
        compare(graph, model, [])


def test_ranges_of_keys_are_refused(tmp_path):
    graph = random_encoder(1, **TINY, keys="window 3")
    for form in (lambda: build(graph, 4), lambda: export(graph, 4, tmp_path / "m.onnx")):
        with pytest.raises(FinnError, match=r"finn: layer.0.scores.acc: got keys 'window 3', must be all \(attention: full\); use the rtl or hls4ml backend"):
            form()
    with pytest.raises(FinnError, match=r"finn: layer.0.scores.acc: got keys 'segment', must be all \(attention: full\); use the rtl or hls4ml backend"):
        build(random_encoder(1, **TINY, keys="segment"), 4)


def off_ramps():
    """The operator alone, of a network with exits."""
    graph = random_encoder(1, **TINY | {"layers": 2}, exits=(0.5, 1))
    (node,) = [n for n in graph.nodes if n.op == "off_ramps"]
    return replace(graph, nodes=(node,), inputs=node.inputs, outputs=(node.name,))


@pytest.mark.parametrize("op", [name for name, op in OPS.items() if op.finn is None and not op.host])
def test_operators_that_finn_does_not_have_are_refused(op, tmp_path):
    """Each by its own name, by both forms."""
    graph = off_ramps() if op == "off_ramps" else cases(op)[0].graph
    for form in (lambda: build(graph, 1), lambda: export(graph, 1, tmp_path / "m.onnx")):
        with pytest.raises(FinnError) as error:
            form()
        assert (
            str(error.value)
            == f"finn: {graph.nodes[0].name}: got operator '{op}', must have a form in FINN's nodes (finn in hw/ops/{op}.py); use another backend"
        )


@pytest.mark.parametrize(
    ("graph", "first"),
    [
        (lambda: random_cnn(1, hidden=8, kernels=(2, 3), filters=4), "token_window' of branch.0.convolution.window"),
        (lambda: random_hybrid(1, hidden=8, stack=(), pooling="max"), "token_max' of pool"),
        (lambda: random_hybrid(1, hidden=8, stack=(), pooling="mean"), "token_mean' of pool"),
        (lambda: random_bilstm(1, hidden=8, units=4, classifier=4), "lstm' of layer.0.ahead"),
        (lambda: random_encoder(1, **TINY, patterns=("left",), head_dim=4), "pattern' of layer.0.fixed.context.acc"),
        (lambda: random_encoder(1, **TINY, keep=128), "keep_tokens' of layer.0.kept"),
    ],
)
def test_a_networks_first_one_is_named(graph, first):
    op, name = first.split("' of ")
    with pytest.raises(
        FinnError, match=rf"^finn: {re.escape(name)}: got operator '{op}', must have a form in FINN's nodes \(finn in hw/ops/{op}.py\); use another backend$"
    ):
        build(graph(), 6)


def test_a_model_of_another_graph_is_refused():
    model = build(random_encoder(5, **TINY), 6)
    other = random_encoder(6, **TINY)
    with pytest.raises(FinnError, match="got a model of graph .*, must be of .*; build again"):
        compare(other, model, *random_sentences(other, [6]))
