# SPDX-License-Identifier: Apache-2.0
"""Encoders of each kind with their weights in external memory: the same codes, every weight fetched as often as planned."""

import numpy as np
import pytest
from encoder_bench import TOLERANCE, make
from encoders import ALL_BITS, coded, random_encoder
from streamed_bench import check

from bitloom.hw.plan.design import Design
from bitloom.hw.plan.folding import FoldingError
from bitloom.hw.plan.solve import HardwareConfig, MemoryConfig, solve
from bitloom.sim.memory import MemoryOptions

SEEDS = 30  # of random encoders; FAST of them in the plain run
FAST = ()
SPARSE = (6,)  # of those with zero weights: whose tiles are surely left out


def draw(seed: int) -> dict:
    """A random encoder, rolled or not, and a memory of any width, blocks of any size."""
    rng = np.random.default_rng(9000 + seed)
    heads, turns, layers = int(rng.integers(1, 4)), int(rng.integers(1, 4)), int(rng.integers(1, 3))
    shape = dict(
        layers=layers * turns,
        heads=heads,
        hidden=heads * int(rng.integers(6, 17)),
        intermediate=int(rng.integers(20, 64)),
        max_tokens=int(rng.integers(2, 25)),
        head=str(rng.choice(["sequence", "token"])),
        **ALL_BITS,
        **coded(seed),
    )
    memory = MemoryConfig(data_bits=int(rng.choice([64, 128, 256, 512])), block=int(rng.integers(1, 30)), latency=int(rng.integers(1, 60)), outstanding=16)
    memory = memory.model_copy(update={"places": 2 - seed % 2})
    inside = (None, 1)[seed // 2 % 2] if turns > 1 else None
    memory = memory.model_copy(update={"by_turn": inside == 1 and seed % 8 < 4})
    hardware = HardwareConfig(multipliers=int(layers * rng.uniform(10, 60)) + 5, layers=layers if turns > 1 else None, inside=inside, memory=memory)
    lengths = rng.integers(1, shape["max_tokens"] + 1, int(rng.integers(2, 9))).tolist()
    return {"seed": seed, "hardware": hardware, "lengths": lengths, "shape": shape}


@pytest.mark.parametrize("seed", [seed if seed in FAST else pytest.param(seed, marks=pytest.mark.slow) for seed in range(SEEDS)])
def test_random_streamed_encoder(seed, tmp_path, monkeypatch):
    monkeypatch.setenv("BITLOOM_BUILD", "quick")
    encoder = make(tmp_path, **draw(seed))
    assert Design(encoder.graph, encoder.folding).fetching
    check(encoder, seed=seed, resets=2, reset_within=2000)
    rough = MemoryOptions(stall=0.3, busy=0.3, jitter=40, refresh_every=400, refresh_for=30)
    check(encoder, seed=seed + 1, stall_in=0.4, stall_out=0.4, memory=rough)


def draw_sparse(seed: int) -> dict:
    """One whose layers have zero tiles, each another share of them, or weights in groups."""
    drawn, rng = draw(seed), np.random.default_rng(14_000 + seed)
    drawn["shape"] |= {"zero_tiles": (0.0, 0.5, 0.8, 1.0), "tile": (int(rng.integers(1, 9)), int(rng.integers(1, 9)))}
    if seed % 2:
        drawn["shape"] |= {"balanced": ((2, 4), (1, 4), (1, 2)), "hidden": 8 * drawn["shape"]["heads"], "intermediate": 8 * int(rng.integers(3, 8))}
    return drawn


def test_constants_by_turn(tmp_path, monkeypatch):
    """Each turn's biases, multipliers and tables are loaded when its sentence comes, as often as planned."""
    monkeypatch.setenv("BITLOOM_BUILD", "quick")
    shape = dict(layers=3, hidden=16, heads=2, intermediate=16, max_tokens=6, **ALL_BITS)
    hardware = HardwareConfig(multipliers=20, layers=1, inside=1, memory=MemoryConfig(data_bits=64, block=4, places=1, by_turn=True))
    encoder = make(tmp_path, seed=3, hardware=hardware, lengths=[6, 1, 5, 3], shape=shape)
    units = Design(encoder.graph, encoder.folding).units
    assert {unit.by_turn for unit in units} == {False, True} and not any("TURNS" in u.instance.params for u in units if u.by_turn and not u.fold.block)
    check(encoder, seed=3, resets=2, reset_within=2000)
    got, _ = encoder.run(seed=3)
    for measured, predicted in encoder.cycles(got).values():
        assert measured > 0 and abs(measured - predicted) <= TOLERANCE * measured
    check(encoder, seed=4, stall_in=0.4, stall_out=0.4, memory=MemoryOptions(stall=0.3, busy=0.3, jitter=40))


def test_constants_by_turn_need_one_sentence_inside():
    graph, memory = random_encoder(layers=2), MemoryConfig(by_turn=True)
    with pytest.raises(FoldingError, match="got 6 sentences inside for hardware.memory.by_turn, must be layers in turn with one sentence inside; set"):
        solve(graph, HardwareConfig(multipliers=60, layers=1, memory=memory))
    with pytest.raises(FoldingError, match="got layers that are all in hardware for hardware.memory.by_turn, must be layers in turn with one sentence inside"):
        solve(graph, HardwareConfig(multipliers=60, memory=memory))
    sparse = random_encoder(6, layers=2, hidden=32, heads=2, intermediate=32, zero_tiles=(0.5,), tile=(4, 4))
    with pytest.raises(FoldingError, match="without its zero weights for hardware.memory.by_turn, must hold all; remove by_turn"):
        solve(sparse, HardwareConfig(multipliers=60, layers=1, inside=1, memory=memory))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(SEEDS))
def test_random_sparse_streamed_encoder(seed, tmp_path, monkeypatch):
    """What is left of the weights is fetched, as often as planned, and nothing else."""
    monkeypatch.setenv("BITLOOM_BUILD", "quick")
    encoder = make(tmp_path, **draw_sparse(seed))
    fetching = Design(encoder.graph, encoder.folding).fetching
    if seed in SPARSE:
        assert any(unit.fold.words for unit in fetching)
    check(encoder, seed=seed, resets=2, reset_within=2000)
    rough = MemoryOptions(stall=0.3, busy=0.3, jitter=40, refresh_every=400, refresh_for=30)
    check(encoder, seed=seed + 1, stall_in=0.4, stall_out=0.4, memory=rough)


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "keys"), [(1, "window 2"), (4, "causal")])
def test_ranges_of_keys(seed, keys, tmp_path, monkeypatch):
    monkeypatch.setenv("BITLOOM_BUILD", "quick")
    drawn = draw(seed)
    encoder = make(tmp_path, **drawn | {"shape": drawn["shape"] | {"keys": keys}})
    check(encoder, seed=seed, resets=2, reset_within=2000)
    check(encoder, seed=seed + 1, stall_in=0.4, stall_out=0.4)


@pytest.mark.slow
@pytest.mark.parametrize("turns", [1, 3])
def test_queries_side_by_side(turns, tmp_path, monkeypatch):
    monkeypatch.setenv("BITLOOM_BUILD", "quick")
    shape = dict(layers=turns, hidden=16, heads=2, intermediate=16, max_tokens=10, **ALL_BITS)
    memory = MemoryConfig(data_bits=256, block=4, outstanding=16)
    hardware = HardwareConfig(target_cycles=50 * turns, layers=1 if turns > 1 else None, memory=memory)
    encoder = make(tmp_path, seed=3, hardware=hardware, lengths=[10, 1, 3, 10, 7, 2, 5, 10, 4], shape=shape)
    assert {s.queries for s in Design(encoder.graph, encoder.folding).streams.values() if s.kind == "row"} == {2}
    check(encoder, seed=3, resets=2, reset_within=2000)
    check(encoder, seed=4, stall_in=0.4, stall_out=0.4)


@pytest.mark.parametrize("layers", [None, 1], ids=["all layers", "in turn"])
@pytest.mark.slow
def test_a_projection_in_front_of_the_layers(layers, tmp_path, monkeypatch):
    """Its folded stream is brought in order, then joined by what comes back."""
    monkeypatch.setenv("BITLOOM_BUILD", "quick")
    shape = dict(layers=2, hidden=32, heads=2, intermediate=48, max_tokens=8, embedding=40)
    hardware = HardwareConfig(multipliers=60, layers=layers, memory=MemoryConfig(data_bits=64, block=3))
    encoder = make(tmp_path, 6, hardware, [5, 8, 1, 7, 8, 3], shape)
    assert Design(encoder.graph, encoder.folding).unit("embeddings.project.acc").fold.block == 3
    check(encoder, resets=1)
