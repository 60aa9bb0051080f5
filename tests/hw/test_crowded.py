# SPDX-License-Identifier: Apache-2.0
"""External memory that cannot keep up: layers, sentences and packs wait for each other's weights, and still come when predicted."""

import numpy as np
import pytest
from encoder_bench import TOLERANCE, Encoder, make
from sweep import random_seeds

from bitloom.hw.parts.axi_fetch import ExternalMemory
from bitloom.hw.plan.design import Design
from bitloom.hw.plan.predict import predict
from bitloom.hw.plan.solve import HardwareConfig, MemoryConfig

SMALL = dict(layers=2, hidden=24, heads=2, intermediate=48, max_tokens=12)
WIDE = dict(layers=2, hidden=32, heads=4, intermediate=64, max_tokens=16)
SHORT, LONG = [6, 3, 12, 5, 2, 8, 12, 1, 7, 4], [16, 16, 3, 16, 9, 12, 16, 1, 7, 14]
CASES = {
    "all layers": (SMALL, {}, {"data_bits": 64, "block": 12, "cycles": 4}, SHORT),
    "a layer in turn": (SMALL | {"layers": 3}, {"layers": 1}, {"data_bits": 64, "block": 12, "cycles": 4}, SHORT),
    "in packs": (SMALL | {"layers": 3}, {"layers": 1, "pack": True}, {"data_bits": 64, "block": 12, "cycles": 4}, SHORT),
    "blocks of few tokens": (WIDE, {"layers": 1}, {"data_bits": 64, "block": 4, "cycles": 2}, LONG),
    "one place, constants by turn": (WIDE, {"layers": 1, "inside": 1}, {"data_bits": 64, "block": 4, "places": 1, "by_turn": True, "cycles": 3}, LONG),
    "far away": (WIDE, {}, {"data_bits": 64, "block": 8, "latency": 60, "cycles": 3, "beats": 2}, LONG),
}


def check(encoder: Encoder) -> None:
    """No mismatch, and each sentence's end as predicted, but for a share of the whole run."""
    got, report = encoder.run(seed=1)
    design = Design(encoder.graph, encoder.folding)
    guess, ends = predict(design, encoder.lengths), got.out_last_cycle - got.in_first_cycle[0]
    assert report.ok and report.mismatches == 0, str(report)
    assert np.abs(ends - guess.out_last).max() <= TOLERANCE * ends[-1], (ends, guess.out_last)


@pytest.mark.parametrize("case", [name if name == "all layers" else pytest.param(name, marks=pytest.mark.slow) for name in CASES])
def test_a_memory_that_cannot_keep_up(case, tmp_path, monkeypatch):
    monkeypatch.setenv("BITLOOM_BUILD", "quick")
    shape, hardware, memory, lengths = CASES[case]
    encoder = make(tmp_path, 1, HardwareConfig(multipliers=120, memory=MemoryConfig(**memory), **hardware), lengths, shape)
    check(encoder)
    quick = ExternalMemory(latency=1)
    design = Design(encoder.graph, encoder.folding)
    assert predict(design, lengths).out_last[-1] > 1.2 * predict(design, lengths, external=quick).out_last[-1], "it binds"


@pytest.mark.parametrize("seed", random_seeds(40))
def test_random_memories(seed, tmp_path, monkeypatch):
    """Shape, memory, layers in hardware, packs and lengths are drawn by the seed."""
    monkeypatch.setenv("BITLOOM_BUILD", "quick")
    rng = np.random.default_rng(seed)
    heads, tokens = int(rng.integers(2, 5)), int(rng.integers(2, 6)) * 4
    hidden, layers = heads * int(rng.choice([8, 12])), int(rng.integers(2, 5))
    shape = dict(layers=layers, hidden=hidden, heads=heads, intermediate=hidden * int(rng.integers(2, 5)), max_tokens=tokens)
    memory = dict(data_bits=int(rng.choice([64, 128])), block=int(rng.choice([tokens // 4, tokens // 2, tokens])), cycles=int(rng.integers(1, 7)))
    memory |= dict(latency=int(rng.choice([4, 20, 60])), burst=int(rng.choice([4, 16])), outstanding=int(rng.choice([2, 4, 8])), places=int(rng.integers(1, 3)))
    hardware = dict(multipliers=int(rng.choice([30, 60, 120, 240])), pack=bool(rng.random() < 0.4))
    if rng.random() < 0.6:
        hardware["layers"] = 1
        if rng.random() < 0.3:
            hardware["inside"], memory["by_turn"] = 1, bool(rng.random() < 0.5)
    lengths = [int(n) for n in np.where(rng.random(10) < 0.4, tokens, rng.integers(1, tokens + 1, 10))]
    check(make(tmp_path, seed, HardwareConfig(memory=MemoryConfig(**memory), **hardware), lengths, shape))
