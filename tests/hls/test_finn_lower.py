# SPDX-License-Identifier: Apache-2.0
"""The integer graph through finn-plus: folded hardware nodes, reports and HDL, equal to the golden where FINN computes in integers."""

import json
import re
from types import SimpleNamespace

import onnx
import pytest
from encoders import random_encoder, random_sentences
from onnx import TensorProto, helper

from bitloom.hls.finn import mvu, tool
from bitloom.hls.finn.errors import FinnError
from bitloom.hls.finn.lower import lower
from bitloom.hls.finn.model import build
from bitloom.hls.finn.report import cycles
from bitloom.hls.finn.verify import compare
from bitloom.hls.finn.vivado import implement
from bitloom.hw.plan.design import Design
from bitloom.hw.plan.solve import HardwareConfig, solve

needs_finn = pytest.mark.skipif(tool.installed() != tool.VERSION, reason=f"no finn-plus {tool.VERSION}; {tool.INSTALL}")
TINY = dict(layers=1, hidden=16, heads=2, intermediate=32, max_tokens=8)
TOKENS = 8


def check_equal(graph, lowered, folder):
    with tool.session(folder):
        report = compare(graph, lowered.hardware, *random_sentences(graph, [TOKENS] * 3))
    assert report.broken == [] and sum(t.values for t in report.tensors if t.exact) > 1000
    return report


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    if tool.installed() != tool.VERSION:
        pytest.skip(f"no finn-plus {tool.VERSION}; {tool.INSTALL}")
    folder, graph = tmp_path_factory.mktemp("finn") / "build", random_encoder(3, **TINY)
    folding = solve(graph, HardwareConfig(target_cycles=2000))
    lowered = lower(build(graph, TOKENS), folder, part="xcvc1902-vsva2197-2MP-e-S", clock_mhz=100.0, folding=folding)
    return SimpleNamespace(graph=graph, folding=folding, lowered=lowered, folder=folder)


@needs_finn
def test_every_node_is_hardware_with_code(tiny):
    nodes = onnx.load(tiny.lowered.streamed).graph.node
    assert all(n.domain.startswith("finn.custom_op.fpgadataflow.") and n.op_type.endswith(("_rtl", "_hls")) for n in nodes)
    assert len([n for n in nodes if not n.op_type.startswith("Streaming")]) == len(tiny.lowered.nodes) > 40
    for node in nodes:
        (code,) = [a.s.decode() for a in node.attribute if a.name == "code_gen_dir_ipgen"]
        written = [p for p in (tiny.folder / "code").glob(f"{code.rsplit('/', 1)[1]}/*") if p.suffix in (".v", ".sv", ".cpp")]
        assert written and all(p.stat().st_size > 0 for p in written), node.name


@needs_finn
def test_integer_nodes_equal_the_golden(tiny):
    report = check_equal(tiny.graph, tiny.lowered, tiny.folder)
    assert {t.tensor for t in report.tensors} == {n.name for n in tiny.graph.nodes if n.op != "embed"}


@needs_finn
def test_the_solved_folding_is_applied(tiny):
    rows = {row.tensor: row for row in cycles(Design(tiny.graph, tiny.folding), tiny.lowered, TOKENS)}
    assert rows.keys() == {n.name for n in tiny.graph.nodes if n.op in ("linear", "scores", "context")}
    for name, row in rows.items():
        fold = tiny.folding.folds[name]
        assert (row.pe, row.simd) == (fold.pe, fold.simd)
        assert row.finn > 0 and row.rtl > 0
    up = rows["layer.0.ffn.up.acc"]
    assert up.finn == TOKENS * mvu.formula(16, 32, up.pe, up.simd)
    others = [n for n in tiny.lowered.nodes if not n.op.startswith("MVAU")]
    assert max(n.cycles for n in others) <= tiny.lowered.interval == max(row.finn for row in rows.values())


@needs_finn
def test_the_weights_that_finn_writes_are_the_golden_ones(tiny):
    found = 0
    for node in tiny.lowered.nodes:
        weight = tiny.graph.params.get(f"{node.tensor}.weight")
        if weight is not None and node.op == "MVAU_rtl":
            (file,) = (tiny.folder / "code").glob(f"code_gen_ipgen_{node.name}_*/memblock.dat")
            bits = tiny.graph.node(node.tensor).attrs["weight_bits"]
            assert file.read_text().split() == mvu.pack(weight, node.pe, node.simd, bits).text().split(), node.tensor
            found += 1
    assert found == sum(n.op == "linear" for n in tiny.graph.nodes)


VARIANTS = {
    "ReLU on 7-series": ({"activation": "relu"}, "Pynq-Z2", "thresholds"),
    "GELU on UltraScale+": ({"weight_bits": (2, 3, 8), "act_bits": (4, 8), "score_bits": (10,), "prob_bits": (6,)}, "KV260_SOM", "scaling"),
    "heads of fewer dimensions": ({"heads": 2, "head_dim": 4, "weight_bits": (3, 5)}, "KV260_SOM", "thresholds"),
    "token head, one bit": ({"weight_bits": (1,), "head": "token", "labels": 3}, "VCK190", "scaling"),
}


@needs_finn
@pytest.mark.parametrize("name", ["ReLU on 7-series", *(pytest.param(n, marks=pytest.mark.slow) for n in VARIANTS if n != "ReLU on 7-series")])
def test_variants_lower_and_stay_equal(tmp_path, name):
    shape, part, style = VARIANTS[name]
    graph = random_encoder(4, **TINY | shape)
    lowered = lower(build(graph, TOKENS, style), tmp_path, part=part, clock_mhz=100.0, target_cycles=2000, hdl=False)
    assert lowered.interval <= 2000
    assert not [n for n in lowered.nodes if n.op.startswith("PWPolyF")]
    assert (style == "scaling") == any(n.tensor == "layer.0.query" and n.op.startswith("Requant") for n in lowered.nodes)
    check_equal(graph, lowered, tmp_path)


def one_node(op, x_type, folder):
    """A model of one operator that FINN has no hardware for."""
    from qonnx.core.datatype import DataType
    from qonnx.core.modelwrapper import ModelWrapper

    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 4, 8]) for n in "xy"]
    model = ModelWrapper(helper.make_model(helper.make_graph([helper.make_node(op, ["x"], ["y"], name="odd")], "g", values[:1], values[1:])))
    model.set_tensor_datatype("x", DataType[x_type])
    return lower(model.model, folder, part="VCK190", clock_mhz=100.0, target_cycles=100)


@needs_finn
def test_an_unmapped_node_is_named(tmp_path):
    with pytest.raises(FinnError, match=r"finn: node Sin_0 \(Sin, inputs .* FLOAT32\): got no hardware node for it, must have one; .* rtl or hls4ml"):
        one_node("Sin", "FLOAT32", tmp_path)


@needs_finn
def test_gelu_in_float_needs_a_versal(tmp_path):
    from qonnx.core.modelwrapper import ModelWrapper

    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 4, 8]) for n in "xy"]
    graph = helper.make_graph([helper.make_node("Gelu", ["x"], ["y"])], "g", values[:1], values[1:])
    model = ModelWrapper(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])).model
    with pytest.raises(FinnError, match=r"got part xck26-sfvc784-2LV-c, must be a Versal part .* thresholds of them on every part, train with ReLU"):
        lower(model, tmp_path, part="KV260_SOM", clock_mhz=100.0, target_cycles=100)


@needs_finn
def test_without_vivado_it_ends_with_the_hdl(tiny, monkeypatch):
    monkeypatch.delenv("XILINX_VIVADO", raising=False)
    with pytest.raises(FinnError, match="finn: got no XILINX_VIVADO in the environment, must name a Vivado installation .* source its settings64.sh"):
        implement(tiny.lowered, tiny.folder, clock_mhz=100.0)


@needs_finn
def test_unknown_parts_and_targets_are_refused(tmp_path):
    graph = random_encoder(3, **TINY)
    with pytest.raises(FinnError, match=r"finn: got part 'Pynq-Z3', must be a part number .*; did you mean 'Pynq-Z[12]'\? Boards: AUP-ZU3_8GB, "):
        lower(build(graph, TOKENS), tmp_path, part="Pynq-Z3", clock_mhz=100.0, target_cycles=2000)
    with pytest.raises(FinnError, match="finn: got neither of folding and target_cycles, must be exactly one"):
        lower(build(graph, TOKENS), tmp_path, part="Pynq-Z2", clock_mhz=100.0)
    with pytest.raises(FinnError, match=r"finn: got target_cycles 3, must be at least \d+ for 'layer.0.query.acc'; raise the target"):
        lower(build(graph, TOKENS), tmp_path, part="Pynq-Z2", clock_mhz=100.0, target_cycles=3)


@pytest.mark.parametrize(("found", "got"), [("", "no finn-plus"), ("1.5.0", "version 1.5.0")])
def test_finn_missing_or_of_another_version(monkeypatch, tmp_path, found, got):
    monkeypatch.setattr(tool, "installed", lambda: found)
    text = f"finn: got {got}, must be finn-plus 1.6.1; pip install --no-deps finn-plus==1.6.1"
    with pytest.raises(FinnError, match=re.escape(text)):
        lower(onnx.ModelProto(), tmp_path, part="VCK190", clock_mhz=100.0, target_cycles=100)


@needs_finn
def test_the_environment_is_left_as_it_was(tmp_path, monkeypatch):
    import os

    monkeypatch.delenv("XILINX_VIVADO", raising=False)
    monkeypatch.setenv("FINN_BUILD_DIR", "before")
    with tool.session(tmp_path):
        assert os.environ["FINN_BUILD_DIR"] == str(tmp_path / "code") and os.environ["XILINX_VIVADO"]
    assert os.environ["FINN_BUILD_DIR"] == "before" and "XILINX_VIVADO" not in os.environ


@needs_finn
def test_fifos_hold_a_sentence_where_paths_meet(tiny):
    sizing = json.loads((tiny.folder / "report" / "fifo_sizing.json").read_text())
    graph = onnx.load(tiny.lowered.streamed).graph
    source = {n.output[0]: n for n in graph.node}
    assert len(sizing["fifo_depths"]) == sum(n.op_type == "StreamingFIFO_rtl" for n in graph.node) > 40
    joins = [n for n in graph.node if n.output[0] in ("layer.0.attention.sum.total", "layer.0.scores.acc", "layer.0.context.acc")]
    assert len(joins) == 3
    for join in joins:  # the shorter path waits while the longer one holds at least a sentence
        assert max(sizing["fifo_depths"][source[i].name] for i in join.input if source.get(i)) > TOKENS
    assert tiny.lowered.fifo_kib == sizing["total_fifo_size_kiB"] > 0


@needs_finn
def test_reports_are_json(tiny):
    names = {p.name for p in (tiny.folder / "report").glob("*.json")}
    assert {"estimate_layer_cycles.json", "estimate_layer_resources.json", "estimate_network_performance.json", "applied_folding_config.json"} <= names
    assert json.loads((tiny.folder / "report" / "estimate_network_performance.json").read_text())["max_cycles"] == tiny.lowered.interval
