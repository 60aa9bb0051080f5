# SPDX-License-Identifier: Apache-2.0
"""QONNX with Quant nodes: weights and scales of the integer graph, run by the qonnx package."""

from collections import Counter
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from random_models import random_model, random_sentences

from bitloom.hls.finn import tool
from bitloom.hls.finn.errors import FinnError
from bitloom.hls.finn.lower import lower
from bitloom.hls.finn.quant_export import FinnEncoder, export, weight_scale
from bitloom.hls.finn.verify import Runner, compare
from bitloom.hw import golden
from bitloom.hw.graph import Graph
from bitloom.hw.ops.table import function_of
from bitloom.qat.config import QuantConfig
from bitloom.qat.export import to_graph
from bitloom.qat.networks import ModelConfig

TOKENS = 6
QUANTIZED = ("requant", "softmax", "layernorm", "table", "first_token")


def frozen(activation="gelu", head="sequence", **quant) -> Graph:
    shape = ModelConfig(layers=1, hidden=16, heads=2, intermediate=32, max_tokens=8, activation=activation, head=head)
    return to_graph(random_model(shape, QuantConfig(**quant)), "random")


def sentences(graph):
    ids, segments = random_sentences(3, 12, graph.max_tokens)
    ids, segments = ([(row * TOKENS)[:TOKENS] for row in rows] for rows in (ids, segments))
    return ids, segments


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    graph, path = frozen(), tmp_path_factory.mktemp("qonnx") / "encoder.onnx"
    return graph, export(graph, TOKENS, path)


def test_weights_and_scales_are_the_integer_graphs(exported):
    graph, model = exported
    values = {i.name: onnx.numpy_helper.to_array(i) for i in model.graph.initializer}
    quants = [n for n in model.graph.node if n.op_type == "Quant"]
    weights = [n for n in quants if n.input[0] in values]
    linears = [n for n in graph.nodes if n.op == "linear"]
    assert len(weights) == len(linears) > 0
    for quant, node in zip(weights, linears, strict=True):
        codes = np.rint(values[quant.input[0]].astype(np.float64) / values[quant.input[1]])
        assert np.array_equal(codes, graph.param(node, "weight"))
        assert np.array_equal(values[quant.input[1]].ravel(), weight_scale(graph, node).astype(np.float32))
    named = {n.output[0]: n for n in quants if n.output[0] in graph.tensors}
    assert set(named) == {n.name for n in graph.nodes if n.op in QUANTIZED} - {"logits"}
    for name, quant in named.items():
        tensor = graph.tensor(name)
        assert values[quant.input[1]] == tensor.scale and values[quant.input[3]] == tensor.bits
        (signed,) = [a.i for a in quant.attribute if a.name == "signed"]
        assert bool(signed) == tensor.signed


def test_the_form_that_finn_takes(exported):
    _, model = exported
    assert next(o.version for o in model.opset_import if o.domain == "") == 20
    counts = Counter(n.op_type for n in model.graph.node)
    assert counts["Gelu"] == 1 and counts["LayerNormalization"] == 3 and counts["Softmax"] == 1
    assert [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim] == [1, TOKENS, 16]


def test_qonnx_computes_what_the_modules_do(exported):
    graph, model = exported
    ids, segments = sentences(graph)
    want = golden.run(graph, ids[:1], segments[:1])
    x = torch.tensor(want["embeddings.sum"][None] * graph.tensor("embeddings.sum").scale, dtype=torch.float32)
    with torch.no_grad():
        logits = FinnEncoder(graph, TOKENS).eval()(x).numpy()
    codes = np.floor(logits.astype(np.float64) / graph.tensor("logits").scale + 0.5)
    assert np.abs(Runner(graph, model).run(want, alone=False)["logits"] - codes).max() <= 1  # two float32 implementations


@pytest.mark.parametrize(
    ("activation", "head", "quant"),
    [
        ("gelu", "sequence", {}),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in (("relu", "token", {"weights": 8}), ("gelu", "sequence", {"weights": 1}))),
    ],
)
def test_close_to_the_golden(tmp_path, activation, head, quant):
    """Half to even, float softmax and LayerNorm, and no rounding of residual sums: codes differ, but by little."""
    graph = frozen(activation, head, **quant)
    report = compare(graph, export(graph, TOKENS, tmp_path / "m.onnx"), *sentences(graph))
    rows = {t.tensor: t for t in report.tensors}
    assert report.sentences == 12 and rows.keys() == {n.name for n in graph.nodes if n.op in QUANTIZED}
    first = rows["embeddings.norm"]
    assert first.worst_chained <= 1 and first.chained < first.values / 10
    assert rows["layer.0.query"].worst_chained <= 3
    if head == "sequence":
        assert report.labels_differ <= 2


@pytest.mark.skipif(tool.installed() != tool.VERSION, reason=f"no finn-plus {tool.VERSION}; {tool.INSTALL}")
@pytest.mark.slow
def test_finn_streamlines_it_whole(exported, tmp_path):
    """GELU in FINN's float32 hardware (Versal), every scale moved into thresholds: no node left unmapped, logits near QONNX's."""
    graph, model = exported
    lowered = lower(model, tmp_path, part="VCK190", clock_mhz=100.0, target_cycles=2000, streamline=True, hdl=False)
    assert lowered.interval <= 2000 and sum(n.op.startswith("MVAU") for n in lowered.nodes) == 10
    assert any(n.op == "PWPolyF_rtl" for n in lowered.nodes)
    ids, segments = sentences(graph)
    with tool.session(tmp_path):
        report = compare(graph, lowered.hardware, ids, segments)
    near = compare(graph, model, ids, segments)
    difference = np.abs(np.concatenate(report.outputs) - np.concatenate(near.outputs))
    assert difference.size > 0 and difference.mean() < 0.05 * np.abs(np.concatenate(near.outputs)).mean()


def test_more_than_eight_bits_are_refused(tmp_path):
    graph = frozen(scores=10)
    with pytest.raises(FinnError, match=r"finn export: layer.0.scores: got 10 bits, must be at most 8 for FINN's thresholds"):
        export(graph, TOKENS, tmp_path / "m.onnx")
    with pytest.raises(FinnError, match="finn export: got 9 tokens, must be 1 .. 8"):
        export(frozen(), 9, tmp_path / "m.onnx")


def test_the_function_of_a_table_is_read_from_its_entries(tmp_path):
    graph = frozen("relu")
    assert [function_of(graph.param(n, "table"), graph.tensor(n.inputs[0]), graph.tensor(n.name)) for n in graph.nodes if n.op == "table"] == ["relu", "tanh"]
    changed = graph.params | {"layer.0.ffn.act.table": graph.params["layer.0.ffn.act.table"][::-1]}
    with pytest.raises(FinnError, match=r"finn export: layer.0.ffn.act: got a table of no known function, must be one of gelu, relu, tanh"):
        export(replace(graph, params=changed), TOKENS, tmp_path / "m.onnx")
