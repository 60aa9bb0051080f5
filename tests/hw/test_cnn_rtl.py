# SPDX-License-Identifier: Apache-2.0
"""Convolutional networks, and hybrids of convolution and attention, in simulation, beside golden, ONNX Runtime and the predicted cycles.

One of the random ones alone, whatever its seed: `BITLOOM_SEEDS=17 pytest tests/hw/test_cnn_rtl.py`.
"""

from dataclasses import replace

import pytest
from draws import draw_network, draw_run, draw_strided
from encoder_bench import assert_cycles, assert_equal, assert_fills, assert_onnx_agrees, make_of
from encoders import random_cnn, random_hourglass, random_hybrid
from sweep import plain_or_slow, random_seeds

from bitloom.hw.plan.solve import HardwareConfig, MemoryConfig

ALL = 40
NETWORKS = {
    "kernels side by side": dict(hidden=12, kernels=(3, 4, 5), filters=10),
    "a dilated stack": dict(hidden=16, stack=((3, 1), (3, 2), (3, 4)), kernels=(), pooling="mean"),
    "both": dict(hidden=16, stack=((3, 1), (3, 3)), kernels=(2, 5), filters=7, pooling="mean"),
    "logits of tokens": dict(hidden=12, stack=((3, 2),), kernels=(3, 4), filters=6, head="token", labels=3),
    "one place in three": dict(hidden=12, kernels=(3, 4), filters=6, stride=3, pooling="mean"),
    "attention above": dict(hidden=16, stack=((3, 1), (2, 4)), layers=2, pooling="max"),
    "attention beside": dict(hidden=16, stack=(), beside=((3, 2), (4, 1)), layers=2, pooling="mean"),
    "hourglass": dict(hidden=16, layers=(1, 1, 1), returns=True, stride=2, pooling="mean"),
    "hourglass without a way back": dict(hidden=16, layers=(1, 2, 0), returns=False, stride=3, down="max"),
    "hourglass of tokens": dict(hidden=12, layers=(0, 2, 0), returns=True, stride=4, head="token", labels=3),
}
MAKERS = {"layers": random_hybrid, "returns": random_hourglass}
LENGTHS = [16, 1, 2, 9, 1, 1, 16, 5]


@pytest.mark.parametrize("name", plain_or_slow(list(NETWORKS), ["both"]))
@pytest.mark.parametrize("stalls", [(0.0, 0.0), pytest.param((0.4, 0.4), marks=pytest.mark.slow)])
def test_network(name, stalls, tmp_path):
    make = next((own for key, own in reversed(MAKERS.items()) if key in NETWORKS[name]), random_cnn)
    graph = make(5, **NETWORKS[name])
    encoder = make_of(tmp_path, 5, graph, HardwareConfig(multipliers=60), LENGTHS)
    got, report = encoder.run(stall_in=stalls[0], stall_out=stalls[1], resets=1)
    assert_equal(encoder, report)
    assert_fills(encoder, got)
    if stalls == (0.0, 0.0):
        assert_cycles(encoder, got)
    assert_onnx_agrees(encoder)


@pytest.mark.parametrize("draw", [draw_network, draw_strided], ids=["network", "strided"])
@pytest.mark.parametrize("seed", random_seeds(ALL))
def test_random_network(draw, seed, tmp_path, monkeypatch):
    monkeypatch.setenv("BITLOOM_BUILD", "quick")  # they simulate a moment
    encoder, how = make_of(tmp_path, **draw(seed)), draw_run(seed)
    print(f"run this one alone: BITLOOM_SEEDS={seed} pytest tests/hw/test_cnn_rtl.py; {how}")
    got, report = encoder.run(**how)
    assert_equal(encoder, report)
    assert_fills(encoder, got)
    if not how["stall_in"] and not how["stall_out"]:
        assert_cycles(encoder, got)
    assert_onnx_agrees(encoder)


@pytest.mark.slow
def test_a_stack_of_one_dilation_on_one_layer_of_hardware(tmp_path):
    graph = random_cnn(7, hidden=16, stack=((3, 2),) * 4, kernels=(), filters=8)
    encoder = make_of(tmp_path, 7, graph, HardwareConfig(multipliers=30, layers=1), LENGTHS)
    got, report = encoder.run(resets=1)
    assert_equal(encoder, report)
    assert_cycles(encoder, got)


@pytest.mark.slow
def test_an_hourglass_whose_middle_is_one_layer_of_hardware(tmp_path):
    """Sentences go round with the tokens that are left of them; what enters and leaves the loop is compared there, too."""
    graph = random_hourglass(7, hidden=16, layers=(1, 3, 0), returns=False, pooling="mean")
    encoder = make_of(tmp_path, 7, graph, HardwareConfig(multipliers=30, layers=1), LENGTHS)
    got, report = encoder.run(resets=1)
    assert report.ok and report.mismatches == 0 and report.values_compared > 50_000, str(report)
    measured, predicted = encoder.cycles(got)["end"]
    assert abs(measured - predicted) <= 0.01 * measured


@pytest.mark.slow
def test_an_hourglass_with_weights_from_memory(tmp_path):
    graph = random_hourglass(8, hidden=16, layers=(0, 2, 0), returns=True)
    encoder = make_of(tmp_path, 8, graph, HardwareConfig(multipliers=30, memory=MemoryConfig(data_bits=128, block=8)), LENGTHS)
    got, report = encoder.run(resets=1)
    assert_equal(encoder, report)


@pytest.mark.slow
def test_several_outputs(tmp_path):
    """A window and a vector that are read and given out."""
    graph = random_cnn(9, hidden=12, stack=((3, 1),), kernels=(3, 4), filters=6)
    graph = replace(graph, outputs=("logits", "layer.0.convolution.window", "branch.0.pool"))
    encoder = make_of(tmp_path, 9, graph, HardwareConfig(multipliers=40), LENGTHS)
    got, report = encoder.run()
    assert_equal(encoder, report)
    assert_cycles(encoder, got)
