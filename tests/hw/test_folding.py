# SPDX-License-Identifier: Apache-2.0
"""The folding solver: legality, optimality, monotony, clear refusals."""

import pytest
from bitloom.hw.build import macs_per_sentence
from bitloom.hw.instance import Fold
from bitloom.hw.ops import OPS
from bitloom.hw.plan.design import Design
from bitloom.hw.plan.folding import Folding, FoldingError
from bitloom.hw.plan.solve import HardwareConfig, solve
from encoders import random_encoder
from pydantic import ValidationError


@pytest.fixture(scope="module")
def graph():
    return random_encoder(0, layers=2, hidden=48, heads=3, intermediate=96, max_tokens=20)


@pytest.mark.parametrize("budget", [40, 100, 333, 1000])
def test_a_budget_is_kept_and_the_next_step_would_break_it(graph, budget):
    folding = solve(graph, HardwareConfig(multipliers=budget))
    assert folding.multipliers == sum(folding.per_node.values()) <= budget
    try:
        assert solve(graph, HardwareConfig(target_cycles=folding.interval - 1)).multipliers > budget
    except FoldingError as error:
        assert "must be at least" in str(error)


def test_a_target_is_met_with_divisors(graph):
    folding = solve(graph, HardwareConfig(target_cycles=30000))
    assert folding.interval <= 30000
    for node in graph.nodes:
        if OPS[node.op].matrix:
            fold = folding.folds[node.name]
            assert OPS[node.op].interval(graph, node, fold, graph.max_tokens) <= 30000
            assert graph.tensor(node.inputs[-1]).channels % fold.simd == 0 and graph.tensor(node.name).channels % fold.pe == 0


def test_no_folding_of_a_stage_is_cheaper(graph):
    folding = solve(graph, HardwareConfig(target_cycles=30000))
    node = graph.node("layer.1.ffn.up.acc")
    cheaper = [f for f in OPS["linear"].foldings(graph, node, Fold()) if f.pe * f.simd < folding.per_node[node.name]]
    assert cheaper and all(OPS["linear"].interval(graph, node, f, 20) > 30000 for f in cheaper)


def test_saved_and_loaded(graph, tmp_path):
    folding = solve(graph, HardwareConfig(multipliers=200))
    folding.save(tmp_path / "folding.json")
    assert Folding.load(tmp_path / "folding.json") == folding


def test_balanced_multipliers_are_busy():
    """Sizes that divide well leave little idle: the interval the matrix units allow uses over 97 % of their cycles."""
    graph = random_encoder(0, layers=2, hidden=128, heads=2, intermediate=512, max_tokens=64)
    for budget in (106, 256, 1024):
        folding = solve(graph, HardwareConfig(multipliers=budget))
        assert macs_per_sentence(graph, 64) / (folding.multipliers * folding.interval) > 0.97


def test_impossible_targets_name_the_stage_and_the_nearest(graph):
    with pytest.raises(FoldingError, match=r"got target_cycles 10, must be at least (\d+) for this encoder") as caught:
        solve(graph, HardwareConfig(target_cycles=10))
    nearest = int(str(caught.value).split("at least ")[1].split()[0])
    assert solve(graph, HardwareConfig(target_cycles=nearest)).interval <= nearest
    with pytest.raises(FoldingError, match="got a budget of 5 multipliers, must be at least 18"):
        solve(graph, HardwareConfig(multipliers=5))


def test_exactly_one_goal():
    for values, got in ((dict(), "neither"), (dict(target_cycles=9, multipliers=9), "both")):
        with pytest.raises(ValidationError, match=f"got {got} of target_cycles and multipliers"):
            HardwareConfig(**values)


def test_fifos_hold_a_sentence_where_attention_waits_for_it(graph):
    folding = solve(graph, HardwareConfig(multipliers=200))
    deep = {(p.unit, p.index): p.depth for unit in Design(graph, folding).units for p in unit.ports}
    beats = 48 // folding.lanes["embeddings.norm"]
    assert deep["layer.0.attention.sum", 1] >= (graph.max_tokens + 1) * beats
    assert deep["layer.0.scores.acc", 0] >= graph.max_tokens * beats
    assert deep["layer.0.query.acc", 0] == 2
