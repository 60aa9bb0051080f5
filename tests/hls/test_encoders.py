# SPDX-License-Identifier: Apache-2.0
"""Whole encoders as HLS projects: every tensor of the C simulation equals the golden model."""

import numpy as np
import pytest
from csim_networks import check
from draws import draw_encoder
from encoders import ALL_BITS
from minilm import minilm_graph, needs_checkpoint

from bitloom.hls import csim
from bitloom.hls.project import to_hls4ml
from bitloom.hw import golden, graph_file
from bitloom.hw.plan.design import Design
from bitloom.hw.plan.solve import HardwareConfig, solve

RANDOM_ENCODERS = 14
SMALL = {
    "seed": 7,
    "hardware": HardwareConfig(target_cycles=700),
    "lengths": [5, 1, 12, 7, 2, 12],
    "shape": dict(layers=1, hidden=24, heads=3, intermediate=40, max_tokens=12, labels=3, activation="relu", **ALL_BITS),
}


@pytest.mark.slow  # in the plain run all bits are in the operators' tests, a whole encoder in test_planted_faults.py
def test_small_encoder(tmp_path):
    graph, report = check(tmp_path, **SMALL)
    assert len({n.attrs["weight_bits"] for n in graph.nodes if n.op == "linear"}) > 3
    assert report.sentences == 6 and not graph.tensor("layer.0.ffn.act").signed


@pytest.mark.slow
@pytest.mark.parametrize("keys", ["causal", "window 2"])
def test_ranges_of_keys(keys, tmp_path):
    graph, _ = check(tmp_path, **SMALL | {"shape": SMALL["shape"] | {"keys": keys}})
    assert not graph.tensor("layer.0.probs").keys.all


@pytest.mark.slow
@pytest.mark.parametrize("keys", ["segment", ("T", "segment", "segment", "segment", "segment", "segment")])
def test_sentences_of_a_pair(keys, tmp_path):
    """Of more layers than a fork has branches the border is forked twice."""
    shape = SMALL["shape"] | ({"keys": keys} if isinstance(keys, str) else {"keys": keys, "layers": len(keys)})
    graph, _ = check(tmp_path, **SMALL | {"shape": shape})
    assert len(graph.readers("border")) == (2 if isinstance(keys, str) else 10)  # golden has softmax read it, too


@pytest.mark.slow
@pytest.mark.parametrize(
    "own", [{"patterns": ("left", "previous", "next"), "heads": 1, "head_dim": 6}, {"keep": (180, 100), "layers": 2, "keys": ("T", "window 2")}]
)
def test_compressed_layers(own, tmp_path):
    """Heads with fixed patterns; tokens that are taken out, with a window on what is left."""
    check(tmp_path, **SMALL | {"shape": SMALL["shape"] | own})


@pytest.mark.slow  # in the plain run those of test_networks.py are
def test_filled_streams(tmp_path):
    """Odd widths: tokens and heads are filled up with zeros, heads go side by side, of which no tensor and no answer tells."""
    hardware = HardwareConfig(target_cycles=120)
    shape = dict(layers=1, hidden=22, heads=2, intermediate=37, max_tokens=8, labels=3)
    graph, _ = check(tmp_path, 3, hardware, [5, 1, 8, 3], shape)
    streams = Design(graph, solve(graph, hardware)).streams
    assert streams["layer.0.probs"].lanes == streams["layer.0.query"].layout.side == 2
    filled = {name for name, stream in streams.items() if stream.layout.filled}
    assert {"layer.0.query", "layer.0.context.acc", "layer.0.ffn.act"} <= filled


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(RANDOM_ENCODERS))
def test_random_encoder(seed, tmp_path):
    """The encoders that the RTL is tested with, after them single tokens and a sentence in full length."""
    drawn = draw_encoder(seed)
    check(tmp_path, **drawn | {"lengths": [*drawn["lengths"], 1, drawn["shape"]["max_tokens"]]})


@pytest.mark.slow
@needs_checkpoint
def test_one_layer_of_a_real_checkpoint(tmp_path):
    whole, ids = minilm_graph()
    lengths, want = [len(s) for s in ids], golden.run(whole, ids)
    layer = graph_file.extract(whole, "embeddings.norm", "layer.0.ffn.norm")
    assert sum(n.op == "linear" for n in layer.nodes) == 6 and layer.tensor(layer.entry).channels == 384
    design = Design(layer, solve(layer, HardwareConfig(target_cycles=80_000)))
    to_hls4ml(design, "zcu104", tmp_path).write()
    made = csim.simulate(design, csim.compile_project(tmp_path), np.split(want[layer.entry], np.cumsum(lengths)[:-1]))
    assert made.pop("warnings") == []
    assert set(made) == {n.name for n in layer.nodes} | {"m_axis"}
    compared = 0
    for name, got in made.items():
        tensor = layer.outputs[0] if name == "m_axis" else name
        for a, b in zip(got, csim.split(layer, tensor, want[tensor], lengths), strict=True):
            assert np.array_equal(a, b), name
            compared += b.size
    assert compared > 500_000
