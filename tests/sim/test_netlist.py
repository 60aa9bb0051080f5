# SPDX-License-Identifier: Apache-2.0
"""The synthesized netlist against the golden model: what is in the bitstream computes what was trained."""

import numpy as np
import pytest
from encoders import random_encoder, random_sentences

from bitloom.hw import golden
from bitloom.hw.build import build
from bitloom.hw.plan.design import Design
from bitloom.hw.plan.predict import predict
from bitloom.hw.plan.solve import HardwareConfig
from bitloom.hw.synth import SynthError
from bitloom.hw.synth.tools import find
from bitloom.sim.netlist import run_netlist
from bitloom.sim.runner import cache_dir


@pytest.mark.slow
@pytest.mark.parametrize("style", ["two", "lut"])
def test_the_netlist_of_an_encoder_gives_every_output_in_the_predicted_cycles(style, tmp_path):
    try:
        find("yosys")
    except SynthError as error:
        pytest.skip(str(error))
    bits = (4,) if style == "two" else (2,)
    graph = random_encoder(3, layers=1, hidden=16, heads=2, intermediate=32, max_tokens=12, weight_bits=bits)
    folding = build(graph, HardwareConfig(multipliers=40), tmp_path)
    lengths = [12, 1, 7]
    ids, segments = random_sentences(graph, lengths)
    want = golden.run(graph, ids, segments)
    sentences = np.split(want["embeddings.sum"], np.cumsum(lengths)[:-1])
    result = run_netlist(tmp_path, sentences, cache_dir() / "synth-tests" / f"netlist-{style}")
    assert result.problem == ""
    np.testing.assert_array_equal(result.outputs, want["logits"].reshape(-1))
    predicted = predict(Design(graph, folding), lengths)
    assert result.out_last_cycle.tolist() == pytest.approx(predicted.out_last, rel=0.01)
