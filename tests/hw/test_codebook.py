# SPDX-License-Identifier: Apache-2.0
"""Encoders some of whose layers have codebooks: the same codes in simulation, on fewer layers of hardware and with weights in external memory too."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from encoder_bench import assert_cycles, assert_equal, assert_onnx_agrees, make
from encoder_units import units
from encoders import ALL_BITS, random_encoder
from operator_bench import RTL_FILES, check_units

from bitloom.hw.build import build
from bitloom.hw.graph import Graph, GraphError
from bitloom.hw.graph_file import check, load, save
from bitloom.hw.memory_files import MemoryFileError, check_memory_files
from bitloom.hw.plan.design import Design
from bitloom.hw.plan.solve import HardwareConfig, MemoryConfig, solve

MIXED = ALL_BITS | {"weight_bits": (1, 3, 5, 8), "index_bits": (0, 1, 1, 2, 3, 4)}
SHAPE = dict(layers=2, hidden=24, heads=3, intermediate=40, max_tokens=12, labels=3, **MIXED)
STREAMED = MemoryConfig(data_bits=128, block=5, latency=20, outstanding=16)
LENGTHS = [5, 1, 12, 7, 2, 12, 12, 9]


def indices(graph: Graph) -> set[int]:
    return {n.attrs.get("index_bits", 0) for n in graph.nodes if n.op == "linear"}


@pytest.mark.parametrize("layers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_bits_and_cycles(layers, tmp_path, monkeypatch):
    monkeypatch.setenv("BITLOOM_BUILD", "quick")
    encoder = make(tmp_path, 7, HardwareConfig(target_cycles=440), LENGTHS, SHAPE | {"layers": layers})
    assert indices(encoder.graph) == {0, 1, 2, 3, 4}
    got, report = encoder.run(resets=1, reset_within=2000)
    assert_equal(encoder, report)
    assert_cycles(encoder, got)
    assert_equal(encoder, encoder.run(stall_in=0.4, stall_out=0.3, seed=5)[1])
    assert_onnx_agrees(encoder)


def test_memories_hold_indices(tmp_path):
    graph = random_encoder(7, **SHAPE)
    save(graph, tmp_path)
    assert load(tmp_path).hash == graph.hash
    design = Design(graph, solve(graph, HardwareConfig(multipliers=60)))
    seen = 0
    for unit in design.units:
        if index := unit.node.attrs.get("index_bits"):
            words, book = (unit.instance.params[key] for key in ("WEIGHT_FILE", "CODEBOOK_FILE"))
            assert words.bits == index and words.source().max() < 1 << index
            if index > 1:
                assert np.array_equal(book.source, graph.param(unit.node, "codebook"))
                assert {*book.source[0][words.source()].ravel()} == {*graph.param(unit.node, "weight").ravel()}
            seen += 1
    assert seen > 3


def test_codebooks_that_do_not_fit():
    graph = random_encoder(7, **SHAPE)
    node = next(n for n in graph.nodes if n.attrs.get("index_bits") == 2)
    book, weight = graph.param(node, "codebook"), graph.param(node, "weight")

    def refused(match: str, attrs: dict | None = None, **params) -> None:
        changed = replace(node, attrs=node.attrs | (attrs or {}))
        nodes = tuple(changed if n is node else n for n in graph.nodes)
        with pytest.raises(GraphError, match=rf"linear {node.name}: {match}"):
            check(replace(graph, nodes=nodes, params=graph.params | {f"{node.name}.{key}": value for key, value in params.items()}))

    refused("index_bits got 5, must be 1 .. 4 where there is a codebook", {"index_bits": 5})
    refused(r"codebook got shape \(1, 4\), must be \(1, 8\)", {"index_bits": 3})
    refused(r"codebook got \[.*\], must be sorted", codebook=book[:, ::-1])
    refused("codebook got .* must be within", codebook=book + np.array([0, 0, 0, 500]))
    other = weight.copy()
    other[1, 2] = np.setdiff1d(np.arange(-4, 4), book)[0]
    refused(rf"weight got {other[1, 2]} at channel 1, input 2 \(1 of {weight.size}\), must be in its codebook", weight=other)
    plain = next(n for n in graph.nodes if n.op == "linear" and "index_bits" not in n.attrs)
    nodes = tuple(replace(n, attrs=n.attrs | {"index_bits": 2}) if n is plain else n for n in graph.nodes)
    with pytest.raises(GraphError, match="index_bits got 2 without a codebook, must have both or neither"):
        check(replace(graph, nodes=nodes))


@pytest.mark.slow
@pytest.mark.parametrize("memory", [pytest.param(None, id="rolled"), pytest.param(STREAMED, id="streamed")])
def test_one_layer_in_turn(memory, tmp_path, monkeypatch):
    """Turns whose codebooks differ in their bits; units some of whose turns have none hold values."""
    monkeypatch.setenv("BITLOOM_BUILD", "quick")
    shape = SHAPE | {"layers": 3, "hidden": 32, "heads": 2, "index_bits": (1, 2, 4), "weight_bits": (3, 8)}
    encoder = make(tmp_path, 17, HardwareConfig(multipliers=60, layers=1, memory=memory), [5, 12, 1, 9], shape)
    design = Design(encoder.graph, encoder.folding)
    turns = {
        u.name: (u.instance.params.get("INDEX_W", 0), [n.attrs["index_bits"] for _, n in u.graph.turns(u.node)])
        for u in design.units
        if u.op.matrix and u.op.weights
    }
    assert {0, 1, 4} <= {index for index, _ in turns.values()} and all(index in (0, max(own)) for index, own in turns.values())
    assert any(index == 4 and len({*own}) > 1 for index, own in turns.values())
    if memory:
        assert design.fetching
    for how in (dict(resets=1, reset_within=20_000), dict(stall_in=0.4, stall_out=0.4)):
        got, report = encoder.run(seed=4, **how)
        assert report.ok and report.mismatches == 0, str(report)
        if memory is None and "resets" in how:
            assert_cycles(encoder, got)


FAULTS = {
    "index off by one": ("decode.sv", "book_q[index_q[i*INDEX_W +: INDEX_W]*W +: W]", "book_q[(index_q[i*INDEX_W +: INDEX_W] ^ 1'b1)*W +: W]", 2),
    "values swapped": ("two_values.sv", ".b(values[2*i*W +: W])", ".b(values[(2*i+1)*W +: W])", 1),
    "a step taken as signed": ("two_values.sv", ".b({1'b0, values[(2*Own+1)*W +: W]})", ".b((W+1)'($signed(values[(2*Own+1)*W +: W])))", 1),
    "a channel's sum for the total": ("linear.sv", "total_q <= acc[PE*SumW +: SumW]", "total_q <= acc[0 +: SumW]", 1),
    "channels' values of the beat before": ("two_values.sv", ".en, .addr(at), .q(read)", ".en, .addr(at - 1'b1), .q(read)", 1),
    "all inputs but where there is a 0": ("linear.sv", "assign w = {{SIMD{1'b1}}, stored};", "assign w = {stored[SIMD-1:0], stored};", 1),
}


@pytest.mark.parametrize("fault", [name if name == "values swapped" else pytest.param(name, marks=pytest.mark.slow) for name in FAULTS])
def test_planted_faults_are_found(fault, tmp_path):
    file, right, wrong, index = FAULTS[fault]
    shape = dict(layers=1, hidden=12, heads=2, intermediate=20, max_tokens=6, weight_bits=(8,), index_bits=(index,))
    case = next(
        c
        for c in units(random_encoder(2 if "beat" in fault else 5, **shape), [1, 6, 4])
        if c.node.op == "linear" and (len(c.graph.param(c.node, "codebook")) > 1) == ("beat" in fault)
    )
    files = [Path(shutil.copy(path, tmp_path)) for path in RTL_FILES]
    text = (tmp_path / file).read_text()
    assert text.count(right) == 1 and check_units([case]) > 50
    (tmp_path / file).write_text(text.replace(right, wrong))
    with pytest.raises(AssertionError, match=r"linear case 0: value \[beat, lane\]: \d+ of \d+ differ, first at"):
        check_units([case], rtl_files=files)


def test_a_wrong_entry_is_named(tmp_path):
    """Before anything is simulated."""
    graph = random_encoder(7, **SHAPE)
    folding = build(graph, HardwareConfig(multipliers=60), tmp_path)
    design = Design(graph, folding)
    check_memory_files(design, tmp_path)
    name = next(unit.name for unit in design.units if graph.index_bits(unit.node) == 2 and unit.op.weights)
    path = tmp_path / f"{name}.codebook.hex"
    path.write_text("0" + path.read_text()[1:])
    with pytest.raises(MemoryFileError, match=rf"{name}.codebook.hex: word 0: got '0.*', must be '.*' \(1 of 1 words differ\)"):
        check_memory_files(design, tmp_path)
