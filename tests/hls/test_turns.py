# SPDX-License-Identifier: Apache-2.0
"""Layers that are used in turn as HLS projects: every tensor of every turn equals the golden model, and no turn is computed behind the one in which a sentence leaves."""

from pathlib import Path

import numpy as np
import pytest
from alike_layers import alike
from csim_networks import check, check_graph, in_turn
from draws import draw_off_ramps, draw_rolled
from encoders import random_encoder, random_sentences
from minilm import minilm_graph, needs_checkpoint

from bitloom.hls import csim
from bitloom.hls.project import to_hls4ml
from bitloom.hls.turns import sentence_alone
from bitloom.hw import golden, graph_file
from bitloom.hw.graph import Graph
from bitloom.hw.plan.design import Design
from bitloom.hw.plan.predict import predict
from bitloom.hw.plan.solve import HardwareConfig, solve

ROLLED = 10  # random encoders
OFF_RAMPS = (0, 1, 2, 4, 5, 6, 7, 8, 9)  # of those with off-ramps; 3 is so narrow that queries go side by side, which HLS refuses
SMALL = dict(layers=4, hidden=8, heads=2, intermediate=12, max_tokens=6)


def test_sentences_leave_in_their_turns(tmp_path):
    """Pairs whose layers see other keys in each turn, other bits in each layer."""
    design, (ids, segments) = in_turn()
    to_hls4ml(design, "pynq_z2", tmp_path).write()
    graph = design.graph.source
    want = golden.run(graph, ids, segments)
    exits = golden.exits(graph, want)
    assert set(exits) == {1, 2, 3}
    report = csim.verify(design, csim.compile_project(tmp_path), ids, segments)
    assert report.ok, str(report)
    assert np.array_equal(report.outputs, want["answer"].ravel())
    for layer in range(4):
        tokens = sum(len(sentence) for sentence, last in zip(ids, exits, strict=True) if last >= layer)
        assert report.per_tensor[f"layer.{layer}.ffn.norm"] == 8 * tokens
        assert report.per_tensor["logits" if layer == 3 else f"exit.{layer}.logits"] == 3 * sum(last >= layer for last in exits)


def _text(graph: Graph, folder: Path) -> str:
    to_hls4ml(Design(graph, solve(graph, HardwareConfig(multipliers=30, layers=1))), "pynq_z2", folder).write()
    return (folder / "firmware" / "parameters.h").read_text()


def test_turns_of_the_same_weights_share_a_bank(tmp_path):
    """One of all turns is read where it begins; of two groups of layers a turn has its group's."""
    graph = random_encoder(3, **SMALL)
    own, one, two = (_text(g, tmp_path / name) for name, g in (("own", graph), ("one", alike(graph, [0, 0, 0, 0])), ("two", alike(graph, [0, 0, 2, 2]))))
    size = 8 * 8
    assert f"layer_0_query_acc_weight + turn * {size}" in own and f"layer_0_query_acc_weight[{4 * size}]" in own
    assert "layer_0_query_acc_weight, layer_0_query_acc_bias)" in one and f"layer_0_query_acc_weight[{size}]" in one
    assert f"layer_0_query_acc_weight + layer_0_query_acc_weight_bank[turn] * {size}" in two and f"layer_0_query_acc_weight[{2 * size}]" in two
    assert "layer_0_query_acc_weight_bank[] = {0, 0, 1, 1};" in two


def test_cycles_of_a_sentence_alone():
    """Those of the RTL, and its 8 channels of 6 tokens once more into the first of four turns, between them and out."""
    graph = random_encoder(3, **SMALL)
    design = Design(graph, solve(graph, HardwareConfig(multipliers=30, layers=1)))
    assert sentence_alone(design) - predict(design, [6]).latency[0] == 5 * 6 * 8 // design.loop.entry.lanes


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(ROLLED))
def test_random_encoder(seed, tmp_path):
    """Those that the rolled RTL is tested with: several layers in hardware, codebooks, all bits."""
    check(tmp_path, **draw_rolled(seed))


@pytest.mark.slow
@pytest.mark.parametrize("seed", OFF_RAMPS)
def test_random_encoder_with_off_ramps(seed, tmp_path):
    drawn = draw_off_ramps(seed)
    graph = random_encoder(seed, **drawn["shape"])
    design = Design(graph, solve(graph, drawn["hardware"]))
    to_hls4ml(design, "pynq_z2", tmp_path).write()
    ids, segments = random_sentences(graph, drawn["lengths"], seed)
    report = csim.verify(design, csim.compile_project(tmp_path), ids, segments)
    assert report.ok and report.values_compared > 0, str(report)
    assert np.array_equal(report.outputs, golden.run(graph, ids, segments)["answer"].ravel())


@pytest.mark.slow
@pytest.mark.parametrize(
    "own",
    [
        {"keep": (200, 120, 256, 90)},
        {"patterns": ("left", "previous"), "heads": 1, "head_dim": 6},
        {"keys": "window 2"},
        {"keys": ("segment", "segment", "T", "T")},
        {"zero_tiles": (0.5,), "tile": (2, 2)},
    ],
)
def test_compressed_layers(own, tmp_path):
    """Tokens that are taken out, another share in each turn; fixed patterns; ranges of keys; pairs; zero weights."""
    graph = random_encoder(5, **SMALL | own)
    check_graph(tmp_path, 5, graph, HardwareConfig(multipliers=30, layers=1), [6, 1, 4, 2, 6, 3])


@pytest.mark.slow
@needs_checkpoint
def test_a_real_checkpoint(tmp_path):
    """All six layers of 384 channels, one in hardware, with every tensor of every turn."""
    whole, ids = minilm_graph()
    layers = graph_file.extract(whole, "embeddings.norm", "layer.5.ffn.norm")
    design = Design(layers, solve(layers, HardwareConfig(multipliers=2000, layers=1)))
    assert design.graph.count == 6
    to_hls4ml(design, "zcu104", tmp_path).write()
    lengths, want = [len(s) for s in ids], golden.run(whole, ids)
    made = csim.simulate(design, csim.compile_project(tmp_path), np.split(want[layers.entry], np.cumsum(lengths)[:-1]))
    assert made.pop("warnings") == []
    assert set(made) == {n.name for n in layers.nodes} | {"m_axis"}
    for name, got in made.items():
        tensor = layers.outputs[0] if name == "m_axis" else name
        for a, b in zip(got, csim.split(layers, tensor, want[tensor], lengths), strict=True):
            assert np.array_equal(a, b), name
