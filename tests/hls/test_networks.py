# SPDX-License-Identifier: Apache-2.0
"""Recurrent and convolutional networks, networks of cells, and hybrids with attention, as HLS projects: every tensor of the C simulation equals the golden model.

One of the random ones alone, whatever its seed: `BITLOOM_SEEDS=17 pytest tests/hls/test_networks.py`.
"""

import pytest
from csim_networks import check_graph
from draws import draw_bilstm, draw_cells, draw_network
from encoders import random_bilstm, random_hourglass, random_hybrid
from sweep import random_seeds

from bitloom.hw.plan.design import Design
from bitloom.hw.plan.solve import HardwareConfig, solve

ALL = 24
LENGTHS = [9, 1, 2, 12, 5]


def test_convolution_below_attention_in_filled_streams(tmp_path):
    """Odd widths: tokens and heads are filled up with zeros, heads go side by side, of which no tensor and no answer tells."""
    hardware = HardwareConfig(target_cycles=144)
    graph = random_hybrid(5, max_tokens=12, hidden=14, stack=((3, 1), (2, 4)), pooling="max", intermediate=13)
    assert {"token_window", "scores", "token_max"} <= {n.op for n in graph.nodes}
    streams = Design(graph, solve(graph, hardware)).streams
    assert streams["layer.0.probs"].lanes == streams["layer.0.query"].layout.side == 2
    assert {"layer.0.query", "layer.0.context.acc", "layer.0.ffn.act"} <= {name for name, stream in streams.items() if stream.layout.filled}
    check_graph(tmp_path, 5, graph, hardware, LENGTHS)


@pytest.mark.slow
def test_both_directions(tmp_path):
    graph = random_bilstm(5, max_tokens=12, hidden=6, units=4, classifier=4, layers=2)
    assert {"lstm", "concat"} <= {n.op for n in graph.nodes} and {n.attrs["direction"] for n in graph.nodes if n.op == "lstm"} == {"forward", "backward"}
    check_graph(tmp_path, 5, graph, HardwareConfig(multipliers=200), LENGTHS)


@pytest.mark.slow
def test_an_hourglass(tmp_path):
    """Fewer tokens in the middle layers, and all of them again behind."""
    graph = random_hourglass(5, max_tokens=12, hidden=8, returns=True)
    assert {"window_mean", "upsample", "scores"} <= {n.op for n in graph.nodes}
    check_graph(tmp_path, 5, graph, HardwareConfig(multipliers=60), LENGTHS)


@pytest.mark.parametrize("draw", [draw_network, draw_bilstm, draw_cells])
@pytest.mark.parametrize("seed", random_seeds(ALL))
def test_random_network(draw, seed, tmp_path):
    check_graph(tmp_path, **draw(seed))
