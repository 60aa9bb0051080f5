# SPDX-License-Identifier: Apache-2.0
"""A real checkpoint in hardware: one encoder layer of the 6x384 MiniLM, simulated on sentences of real lengths."""

import numpy as np
import pytest
from minilm import minilm_graph, needs_checkpoint

from bitloom.hw import golden, graph_file
from bitloom.hw.build import build
from bitloom.hw.plan.design import Design
from bitloom.hw.plan.predict import predict
from bitloom.hw.plan.solve import HardwareConfig
from bitloom.sim.encoder import Options, run_encoder
from bitloom.sim.verify import compare

pytestmark = [pytest.mark.slow, needs_checkpoint]
TARGET_CYCLES = 80_000


@pytest.fixture(scope="module")
def minilm():
    return minilm_graph()


def test_one_layer_equals_golden(minilm, tmp_path):
    whole, ids = minilm
    lengths = [len(s) for s in ids]
    layer, want = graph_file.extract(whole, "embeddings.norm", "layer.0.ffn.norm"), golden.run(whole, ids)
    assert sum(n.op == "linear" for n in layer.nodes) == 6 and layer.tensor(layer.entry).channels == 384
    folding = build(layer, HardwareConfig(target_cycles=TARGET_CYCLES), tmp_path)
    inputs = np.split(want[layer.entry], np.cumsum(lengths)[:-1])
    got = run_encoder(tmp_path, inputs, Options(identity=layer.hash[:16]))
    report = compare(layer, want, got)
    assert report.ok and report.mismatches == 0, str(report)
    output = layer.outputs[0]
    assert report.values_compared == sum(want[n.name].size for n in layer.nodes) + want[output].size > 500_000
    guess = predict(Design(layer, folding), lengths)
    for measured, predicted in zip(got.out_last_cycle[[0, -1]], (guess.out_last[0], guess.out_last[-1]), strict=True):
        assert abs(int(measured) - predicted) <= 0.01 * measured, f"{measured} cycles, {predicted} predicted"
