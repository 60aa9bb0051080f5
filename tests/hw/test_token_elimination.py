# SPDX-License-Identifier: Apache-2.0
"""Tokens that are taken out, through whole encoders: golden, ONNX Runtime, RTL with the predicted cycles, all layers in hardware or in turn."""

import numpy as np
import pytest
from encoder_bench import assert_cycles, assert_equal, assert_fills, assert_onnx_agrees, check_turns, make
from encoders import ALL_BITS, draw_encoder, draw_rolled, draw_run

SMALL = dict(layers=2, hidden=16, heads=2, intermediate=24, max_tokens=11, **ALL_BITS)


def draw(seed: int) -> dict:
    """A drawn encoder whose layers keep drawn shares of their tokens."""
    drawn, rng = draw_encoder(seed), np.random.default_rng(6000 + seed)
    keep = tuple(None if rng.integers(4) == 0 else int(rng.integers(1, 257)) for _ in range(drawn["shape"]["layers"]))
    return drawn | {"shape": drawn["shape"] | {"keep": keep, "head": "sequence"}}


@pytest.mark.parametrize("seed", [1, 2, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (0, *range(3, 20)))])
def test_random_encoder(seed, tmp_path, monkeypatch):
    monkeypatch.setenv("BITLOOM_BUILD", "quick")
    encoder, how = make(tmp_path, **draw(seed)), draw_run(seed)
    got, report = encoder.run(**how)
    assert_equal(encoder, report)
    assert_fills(encoder, got)
    if not how["stall_in"] and not how["stall_out"]:
        assert_cycles(encoder, got)
    assert_onnx_agrees(encoder)


@pytest.mark.parametrize("seed", [2, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (0, 1, *range(3, 16)))])
def test_layers_in_turn(seed, tmp_path, monkeypatch):
    """Each turn keeps a share of its own, so sentences come back shorter."""
    monkeypatch.setenv("BITLOOM_BUILD", "quick")
    drawn, rng = draw_rolled(seed), np.random.default_rng(6500 + seed)
    keep = tuple(int(rng.integers(1, 257)) for _ in range(drawn["shape"]["layers"]))
    drawn["hardware"] = drawn["hardware"].model_copy(update={"layers": 1})
    encoder = make(tmp_path, **drawn | {"shape": drawn["shape"] | {"keep": keep, "head": "sequence"}})
    check_turns(encoder, seed=seed, resets=2, reset_within=2000)
    check_turns(encoder, seed=seed + 1, stall_in=0.4, stall_out=0.4)
