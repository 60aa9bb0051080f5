# SPDX-License-Identifier: Apache-2.0
"""Layers in turn that hold the same share a bank of a memory: the same codes in the same cycles, less block RAM."""

from pathlib import Path

import numpy as np
import pytest
from alike_layers import UNITS, alike
from encoder_bench import Encoder, check_turns
from encoders import random_encoder, random_sentences

from bitloom.hw import golden, image
from bitloom.hw.board import Board
from bitloom.hw.build import build
from bitloom.hw.cost.resources import estimate
from bitloom.hw.graph import Graph
from bitloom.hw.instance import Instance
from bitloom.hw.parts import shared
from bitloom.hw.plan import streamed
from bitloom.hw.plan.design import Design
from bitloom.hw.plan.predict import predict
from bitloom.hw.plan.solve import HardwareConfig, MemoryConfig, solve


def encoder_of(graph: Graph, hardware: HardwareConfig, folder: Path, lengths: list[int]) -> Encoder:
    ids, segments = random_sentences(graph, lengths, 1)
    folding = build(graph, hardware, folder)
    return Encoder(graph=graph, folding=folding, folder=folder, ids=ids, segments=segments, want=golden.run(graph, ids, segments))


SHAPE = dict(layers=4, hidden=24, heads=2, intermediate=40, max_tokens=12)


def instances(graph: Graph, **hardware) -> dict[str, Instance]:
    return {unit.name: unit.instance for unit in Design(graph, solve(graph, HardwareConfig(multipliers=60, layers=1, **hardware))).units}


def test_which_turns_share():
    graph = random_encoder(1, **SHAPE)
    own = instances(graph)
    assert not [name for name, made in own.items() if name.endswith(".acc") and "BANKS" in made.params]
    both = instances(alike(graph, [0, 0, 2, 2]))
    for name in ("layer.0.query.acc", "layer.0.ffn.down.acc", "layer.0.query", "layer.0.ffn.norm"):
        assert both[name].params["BANKS"] == 2 and both[name].params["BANK_OF"] == 0x01010000, name
        assert shared.of_turns(both[name].params, "X_FILE") == [0, 0, 1, 1]
    assert both["layer.0.ffn.act"].params["BANKS"] == 1  # one function on one grid
    assert len(both["layer.0.query.acc"].params["WEIGHT_FILE"].words) * 2 == len(own["layer.0.query.acc"].params["WEIGHT_FILE"].words)
    one = instances(alike(graph, [0, 0, 0, 0], ops=("linear",), keys=("weight",)))["layer.0.query.acc"].params
    assert (one["BANKS"], one["BANK_OF"]) == (1, 0) and "BIAS_BANKS" not in one
    cross = instances(alike(graph, [0, 1, 0, 1]))["layer.0.query.acc"].params
    assert (cross["BANKS"], cross["BANK_OF"], cross["BIAS_BANK_OF"]) == (2, 0x01000100, 0x01000100)


def test_what_is_shared_is_counted_once():
    """Memories of the cost model have the words of the memory files; interval and latency are as without."""
    graph, board = random_encoder(1, **SHAPE | {"hidden": 64, "heads": 2, "intermediate": 256}, weight_bits=(8,)), Board.load("ulx3s_85f")
    one = alike(graph, [0, 0, 0, 0], ops=("linear",), keys=("weight",))
    folding = solve(graph, HardwareConfig(multipliers=60, layers=1))
    designs = [Design(g, folding) for g in (graph, one)]
    rams = [estimate(design, board).total.block_ram for design in designs]
    assert rams[1] < 0.6 * rams[0], rams
    assert predict(designs[0], [12, 3, 7] * 4) == predict(designs[1], [12, 3, 7] * 4)
    weights = [m for m in designs[1].unit("layer.0.query.acc").op.module.memories(designs[1].unit("layer.0.query.acc").instance.params) if m.name == "weight"]
    assert weights[0].depth == len(designs[1].unit("layer.0.query.acc").instance.params["WEIGHT_FILE"].words)


CASES = [("all alike", [0, 0, 0, 0], UNITS), ("two groups", [0, 1, 0, 1], UNITS), ("weights alone", [0, 0, 0, 3], ("linear",))]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "of", "ops"), CASES)
def test_rtl(name, of, ops, tmp_path, monkeypatch):
    monkeypatch.setenv("BITLOOM_BUILD", "quick")
    encoder = encoder_of(alike(random_encoder(1, **SHAPE), of, ops), HardwareConfig(multipliers=60, layers=1), tmp_path, [12, 3, 7, 1, 12, 9])
    check_turns(encoder, seed=1, resets=2, reset_within=2000)
    check_turns(encoder, seed=2, stall_in=0.4, stall_out=0.4)


def test_the_image_holds_them_once():
    """And each turn fetches them, from where the first one's lie."""
    config = HardwareConfig(multipliers=60, layers=1, memory=MemoryConfig(data_bits=64, block=4))
    graphs = [alike(random_encoder(1, **SHAPE), of, ("linear",), ("weight",)) for of in ([0, 1, 2, 3], [0, 1, 0, 1])]
    own, two = (Design(graph, solve(graph, config)) for graph in graphs)
    sizes = [{u.name: streamed.size(u.graph, u.node, u.fold) for u in design.fetching} for design in (own, two)]
    assert {name: size / sizes[1][name] for name, size in sizes[0].items()} == {u.name: 2 if u.turns > 1 else 1 for u in own.fetching}
    assert len(image.make(own)) - len(image.make(two)) == sum(sizes[0].values()) - sum(sizes[1].values()) > 5000
    assert image.reads(two, [12, 5]).sum() - image.reads(own, [12, 5]).sum() < 0.01 * image.reads(own, [12, 5]).sum()
    unit = two.unit("layer.0.query.acc")
    begins = streamed.begins(unit.graph, unit.node, unit.fold)
    assert begins[0] == begins[2] == 0 and begins[1] == begins[3] == streamed.size(unit.graph, unit.node, unit.fold) // 2
    assert predict(own, [12, 3, 7]).out_last == predict(two, [12, 3, 7]).out_last


@pytest.mark.slow
@pytest.mark.parametrize("by_turn", [False, True])
def test_loaded_memories(by_turn, tmp_path, monkeypatch):
    """From an image; where each turn's constants are loaded alone, nothing is shared."""
    monkeypatch.setenv("BITLOOM_BUILD", "quick")
    graph = alike(random_encoder(1, **SHAPE), [0, 1, 0, 1])
    memory = MemoryConfig(data_bits=64, block=4, **({"places": 1, "by_turn": True} if by_turn else {}))
    encoder = encoder_of(graph, HardwareConfig(multipliers=60, layers=1, memory=memory, **({"inside": 1} if by_turn else {})), tmp_path, [12, 3, 7, 1])
    got, report = encoder.run(timeout_cycles=100_000)
    assert report.ok and np.array_equal(got.fetched, image.reads(Design(graph, encoder.folding), encoder.lengths)), str(report)


@pytest.mark.slow
def test_a_wrong_bank_is_found(tmp_path, monkeypatch):
    """In the turn that reads it."""
    monkeypatch.setenv("BITLOOM_BUILD", "quick")
    encoder = encoder_of(alike(random_encoder(1, **SHAPE), [0, 0, 2, 2]), HardwareConfig(multipliers=60, layers=1), tmp_path, [12, 3, 7, 1])
    path = tmp_path / "encoder.sv"
    text = path.read_text()
    query = next(line for line in text.splitlines() if " u_layer_0_query_acc " in line)
    wrong = query.replace(f".BANK_OF({0x01010000})", f".BANK_OF({0x01000100})", 1)
    assert wrong != query
    path.write_text(text.replace(query, wrong))
    report = encoder.run()[1]
    (found,) = [t for t in report.per_tensor if t.tensor == "layer.0.query.acc"]
    assert not report.ok and found.first.tensor == "layer.1.query.acc"
