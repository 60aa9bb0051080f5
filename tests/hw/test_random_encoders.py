# SPDX-License-Identifier: Apache-2.0
"""Random encoders in simulation: shape, heads, bits, sentences, folding, registers at power-up, stalls and resets are drawn by the seed.

One of them alone, whatever its seed: `BITLOOM_SEEDS=17 pytest tests/hw/test_random_encoders.py`; `BITLOOM_SEEDS=100-199` for another hundred.
"""

import numpy as np
import pytest
from draws import draw_encoder, draw_run
from encoder_bench import assert_cycles, assert_equal, assert_fills, assert_onnx_agrees, make
from sweep import random_seeds

from bitloom.hw.plan.design import Design
from bitloom.hw.plan.solve import HardwareConfig

ALL = 100


# As slow tests: the plain run has encoders of test_encoder_rtl.py, test_rolled.py, test_sparse.py, test_codebook.py.
@pytest.mark.parametrize("seed", random_seeds(ALL))
def test_random_encoder(seed, tmp_path, monkeypatch):
    monkeypatch.setenv("BITLOOM_BUILD", "quick")  # they simulate a moment
    encoder, how = make(tmp_path, **draw_encoder(seed)), draw_run(seed)
    print(f"run this one alone: BITLOOM_SEEDS={seed} pytest tests/hw/test_random_encoders.py; {how}")
    got, report = encoder.run(**how)
    assert_equal(encoder, report)
    assert_fills(encoder, got)
    if not how["stall_in"] and not how["stall_out"]:
        assert_cycles(encoder, got)
    assert_onnx_agrees(encoder)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_queries_side_by_side(seed, tmp_path, monkeypatch):
    """The same with a target that a key a cycle for one query would not meet."""
    monkeypatch.setenv("BITLOOM_BUILD", "quick")
    drawn, how = draw_encoder(seed), draw_run(seed)
    tokens = drawn["shape"]["max_tokens"] = max(drawn["shape"]["max_tokens"], 16)
    rng = np.random.default_rng(4000 + seed)
    drawn["hardware"] = HardwareConfig(target_cycles=max(tokens * tokens // int(rng.integers(2, 8)), 6 * tokens, 100))
    encoder = make(tmp_path, **drawn)
    assert {s.queries for s in Design(encoder.graph, encoder.folding).streams.values() if s.kind == "row"} != {1}
    got, report = encoder.run(**how)
    assert_equal(encoder, report)
    assert_fills(encoder, got)
    if not how["stall_in"] and not how["stall_out"]:
        assert_cycles(encoder, got)
