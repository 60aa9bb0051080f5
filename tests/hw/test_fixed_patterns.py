# SPDX-License-Identifier: Apache-2.0
"""Heads with fixed patterns through whole encoders: golden, ONNX Runtime, RTL, cycles; and planted faults."""

from dataclasses import replace

import numpy as np
import pytest
from draws import draw_encoder, draw_run
from encoder_bench import assert_cycles, assert_equal, assert_fills, assert_onnx_agrees, make
from encoders import ALL_BITS, random_encoder

from bitloom.hw.ops.pattern import PATTERNS
from bitloom.hw.plan.folding import FoldingError
from bitloom.hw.plan.rolled import roll
from bitloom.hw.plan.solve import HardwareConfig

SMALL = dict(layers=2, heads=1, head_dim=4, hidden=16, intermediate=24, max_tokens=12, **ALL_BITS)
LENGTHS = [5, 9, 1, 12, 3, 3, 8, 11, 2, 12]
THREE = ("previous", "next", "left")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setenv("BITLOOM_BUILD", "quick")


def test_no_query_key_scores_or_softmax():
    """Where all heads are fixed, none of these operators is left; with one that is not, the others' matrices are as many rows smaller."""
    fixed, both = (random_encoder(1, **SMALL | {"heads": heads, "patterns": THREE}) for heads in (0, 1))
    assert not {"scores", "softmax", "context"} & {n.op for n in fixed.nodes} and "layer.0.attention.merged" not in fixed.tensors
    assert both.params["layer.0.query.acc.weight"].shape == (4, 16) and both.params["layer.0.fixed.value.acc.weight"].shape == (12, 16)


@pytest.mark.parametrize("heads", [1, pytest.param(0, marks=pytest.mark.slow)])
def test_an_encoder(heads, tmp_path):
    """Two layers in turn of one in hardware, resets in mid-run."""
    encoder = make(tmp_path, 3, HardwareConfig(multipliers=60, layers=1), LENGTHS, SMALL | {"heads": heads, "patterns": THREE})
    got, report = encoder.run(resets=2)
    assert report.ok and report.values_compared > 20_000, str(report)
    assert_cycles(encoder, got)
    assert_fills(encoder, got)
    assert_onnx_agrees(encoder)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_random_encoder(seed, tmp_path):
    drawn, rng, how = draw_encoder(seed), np.random.default_rng(9000 + seed), draw_run(seed)
    width = drawn["shape"]["hidden"] // drawn["shape"]["heads"]
    patterns = tuple(str(name) for name in rng.choice(list(PATTERNS), int(rng.integers(1, 5))))
    encoder = make(tmp_path, **drawn | {"shape": drawn["shape"] | {"patterns": patterns, "head_dim": width, "heads": int(rng.integers(0, 3))}})
    got, report = encoder.run(**how)
    assert_equal(encoder, report)
    assert_fills(encoder, got)
    if not how["stall_in"] and not how["stall_out"]:
        assert_cycles(encoder, got)
    assert_onnx_agrees(encoder)


def test_layers_of_other_patterns_do_not_share():
    graph = random_encoder(1, **SMALL | {"patterns": THREE})
    other = replace(graph, nodes=tuple(replace(n, attrs={"patterns": "next next left"}) if n.name == "layer.1.fixed.context.acc" else n for n in graph.nodes))
    with pytest.raises(FoldingError, match="layer.1.fixed.context.acc got patterns next next left, must be previous next left as layer.0.fixed.context.acc"):
        roll(other, 1)


FAULTS = (  # a window that is overwritten too early is seen by the unit's bench, with stalls (tests/ops/test_pattern.py)
    ("is_before ? before_q : behind", "behind"),
    ("SlotW'(far) > SlotW'(most) ? SlotW'(most) : SlotW'(far)", "SlotW'(far)"),
    ("before_q <= ends_q[slot] ? '0 :", "before_q <="),
    ("held > (SlotW + 1)'(k) &&", "held >= (SlotW + 1)'(k) &&"),
    ("tap[OFFSET_W +: WEIGHT_W];", "tap[OFFSET_W +: WEIGHT_W] ^ WEIGHT_W'(1);"),
)


@pytest.mark.slow
@pytest.mark.parametrize("fault", range(len(FAULTS)))
def test_planted_faults_are_found_and_named(fault, tmp_path):
    encoder = make(tmp_path, 3, HardwareConfig(multipliers=60), LENGTHS, SMALL | {"patterns": (*THREE, "right")})
    path, (right, wrong) = tmp_path / "rtl" / "pattern.sv", FAULTS[fault]
    text = path.read_text()
    assert text.count(right) == 1
    path.write_text(text.replace(right, wrong))
    report = encoder.run(timeout_cycles=20_000, stall_out=0.5)[1]
    assert "first at layer.0.fixed.context.acc: " in str(report)
