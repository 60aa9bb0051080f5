# SPDX-License-Identifier: Apache-2.0
"""Rolled encoders: few layers of hardware in turn for all of the graph's give the same codes, in the cycles that are predicted."""

from dataclasses import replace

import numpy as np
import pytest
from draws import draw_rolled
from encoder_bench import check_turns, make
from encoders import ALL_BITS, random_encoder

from bitloom.hw.graph import Graph
from bitloom.hw.plan.design import Design
from bitloom.hw.plan.folding import FoldingError
from bitloom.hw.plan.predict import predict
from bitloom.hw.plan.rolled import layers_of, roll
from bitloom.hw.plan.solve import HardwareConfig, solve
from bitloom.sim.encoder import Options, run_encoder, visits
from bitloom.sim.errors import SimulationError

SEEDS = 30  # of rolled random encoders; FAST of them in the plain run
FAST = ()  # the same with zero tiles is
SPARSE = (18,)  # of those with zero tiles


@pytest.mark.parametrize("seed", [seed if seed in FAST else pytest.param(seed, marks=pytest.mark.slow) for seed in range(SEEDS)])
def test_random_rolled_encoder(seed, tmp_path, monkeypatch):
    monkeypatch.setenv("BITLOOM_BUILD", "quick")
    encoder = make(tmp_path, **draw_rolled(seed))
    check_turns(encoder, seed=seed, resets=2, reset_within=2000)
    check_turns(encoder, seed=seed + 1, stall_in=0.4, stall_out=0.4)


@pytest.mark.parametrize("seed", [seed if seed in SPARSE else pytest.param(seed, marks=pytest.mark.slow) for seed in range(SEEDS)])
def test_random_sparse_layers(seed, tmp_path, monkeypatch):
    """Each turn leaves out tiles of its own, and takes as many cycles as it has left."""
    monkeypatch.setenv("BITLOOM_BUILD", "quick")
    drawn = draw_rolled(seed)
    rng = np.random.default_rng(12_000 + seed)
    drawn["shape"] |= {"zero_tiles": (0.0, 0.5, 0.8, 1.0), "tile": (int(rng.integers(1, 9)), int(rng.integers(1, 9)))}
    encoder = make(tmp_path, **drawn)
    if seed in SPARSE:
        words = [fold.words for fold in encoder.folding.folds.values() if fold.words]
        assert len(words) > 2 and all(len(set(own)) > 1 for own in words)
    check_turns(encoder, seed=seed, resets=2, reset_within=2000)
    check_turns(encoder, seed=seed + 1, stall_in=0.4, stall_out=0.4)


def test_what_turns_add_alone_is_predicted_to_the_cycle(tmp_path, monkeypatch):
    """A sentence alone, sums that round by turn: their third cycle is within what is allowed to many sentences."""
    monkeypatch.setenv("BITLOOM_BUILD", "quick")
    shape = dict(layers=3, hidden=16, heads=2, intermediate=16, max_tokens=10, **ALL_BITS)
    encoder = make(tmp_path, seed=3, hardware=HardwareConfig(multipliers=60, layers=1), lengths=[5], shape=shape)
    design = Design(encoder.graph, encoder.folding)
    assert {u.name for u in design.units if "ROUND_FILE" in u.instance.params} >= {"layer.0.attention.sum", "layer.0.ffn.sum"}
    got = run_encoder(encoder.folder, [encoder.want[encoder.graph.entry]], Options(taps=False))
    assert list(got.out_last_cycle) == list(predict(design, [5]).out_last)


@pytest.mark.slow  # in the plain run units have several queries (tests/ops)
def test_queries_side_by_side(tmp_path, monkeypatch):
    """Rows of several tokens at once, also of fewer at a sentence's end, in the turn that is theirs."""
    monkeypatch.setenv("BITLOOM_BUILD", "quick")
    shape = dict(layers=3, hidden=16, heads=2, intermediate=16, max_tokens=10, **ALL_BITS)
    encoder = make(tmp_path, seed=3, hardware=HardwareConfig(target_cycles=150, layers=1), lengths=[10, 1, 3, 10, 7, 2, 5, 10, 4], shape=shape)
    assert {s.queries for s in Design(encoder.graph, encoder.folding).streams.values() if s.kind == "row"} == {2}
    check_turns(encoder, seed=3, resets=2, reset_within=2000)
    check_turns(encoder, seed=4, stall_in=0.4, stall_out=0.4)


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "keys"), [(0, ("window 2",)), (2, ("causal", "window 0")), (5, ("window 1", "T"))])
def test_ranges_of_keys(seed, keys, tmp_path, monkeypatch):
    """Those of a layer of hardware are the same in all turns; layers that stand beside each other may differ."""
    monkeypatch.setenv("BITLOOM_BUILD", "quick")
    drawn = draw_rolled(seed)
    own = [keys[i % len(keys)] for i in range(drawn["hardware"].layers)]
    turns = drawn["shape"]["layers"] // len(own)
    encoder = make(tmp_path, **drawn | {"shape": drawn["shape"] | {"keys": tuple(own * turns)}})
    check_turns(encoder, seed=seed, resets=2, reset_within=2000)
    check_turns(encoder, seed=seed + 1, stall_in=0.4, stall_out=0.4)


def test_layers_that_see_different_keys_are_refused():
    with pytest.raises(FoldingError, match=r"layers cannot share hardware: .* got shape \('T', 2, 'causal'\), must be \('T', 2, 'T'\) as"):
        solve(random_encoder(layers=2, keys=("T", "causal")), HardwareConfig(multipliers=60, layers=1))


def test_one_graph_unrolled_and_rolled():
    """The same codes, hash and multiply-accumulates; a third of the multipliers' memories' units."""
    graph = random_encoder(layers=3)
    whole, rolled = (Design(graph, solve(graph, HardwareConfig(target_cycles=60_000, layers=n))) for n in (None, 1))
    assert rolled.graph.hash == whole.graph.hash == graph.hash and rolled.identity == whole.identity
    assert len(rolled.units) < len(whole.units) and layers_of(graph) == 3
    assert sum(u.macs(16) for u in rolled.units) == sum(u.macs(16) for u in whole.units)
    assert roll(graph, 3) is graph


def test_alike_layers_cost_no_constants_by_turn():
    """Where all turns shift and saturate alike, nothing is chosen by turn."""
    graph = random_encoder(layers=2)
    same = replace(graph, nodes=tuple(_as_in_first_layer(graph, n) for n in graph.nodes))
    units = Design(same, solve(same, HardwareConfig(multipliers=60, layers=1))).units
    assert not [u.name for u in units if "ROUND_FILE" in u.instance.params]


def _as_in_first_layer(graph: Graph, node):
    return replace(node, attrs=graph.node(node.name.replace("layer.1.", "layer.0.")).attrs)


def test_layers_that_cannot_share():
    graph = random_encoder(layers=4)
    with pytest.raises(FoldingError, match=r"got 3 layers in hardware for the 4 of the graph, must be one of 1, 2, 4; change hardware.layers"):
        roll(graph, 3)
    with pytest.raises(FoldingError, match=r"an output of the graph takes layer.1.ffn.norm, must be the last layer's output; remove hardware.layers"):
        roll(replace(graph, outputs=("logits", "layer.1.ffn.norm")), 1)
    with pytest.raises(FoldingError, match=r"got no layers that follow each other and are made alike"):
        roll(random_encoder(layers=1), 1)
    tensors = {name: replace(t, shape=("T", 48)) if name.startswith("layer.2.ffn.up") else t for name, t in graph.tensors.items()}
    with pytest.raises(FoldingError, match=r"layer.2.ffn.up.acc got shape \('T', 48\), must be \('T', 64\) as layer.0.ffn.up.acc"):
        roll(replace(graph, tensors=tensors), 1)


def test_order_of_visits():
    assert visits([0, 0, 1, 1, 0, 1], 2, 3) == ((0, 0), (1, 0), (0, 1), (1, 1), (2, 0), (2, 1))
    assert visits([0, 1], 2, 2) == ((0, 0), (0, 1), (1, 0), (1, 1))  # what did not come stands behind
    with pytest.raises(SimulationError, match="visit 2 of the layers: got turn 1, in which no sentence can be"):
        visits([0, 1, 1], 2, 2)
    with pytest.raises(SimulationError, match="visit 0 of the layers: got turn 2"):
        visits([2], 2, 2)
