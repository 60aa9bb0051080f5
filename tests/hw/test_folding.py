# SPDX-License-Identifier: Apache-2.0
"""The folding solver: legality, optimality, monotony, clear refusals."""

from dataclasses import replace

import numpy as np
import pytest
from encoders import random_encoder
from pydantic import ValidationError

from bitloom.hw.build import macs_per_sentence
from bitloom.hw.instance import Fold
from bitloom.hw.ops import OPS
from bitloom.hw.plan.design import Design
from bitloom.hw.plan.folding import Folding, FoldingError
from bitloom.hw.plan.groups import groups
from bitloom.hw.plan.lanes import QUERIES, Lanes
from bitloom.hw.plan.solve import HardwareConfig, solve


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
    """Sizes that divide well leave little idle: the interval the matrix units allow uses over 97 % of their cycles. A budget between them is used, too."""
    graph = random_encoder(0, layers=2, hidden=128, heads=2, intermediate=512, max_tokens=64)
    work = macs_per_sentence(graph, 64)
    for budget in (106, 210, 837):
        folding = solve(graph, HardwareConfig(multipliers=budget))
        assert work / (folding.multipliers * folding.interval) > 0.97
    for budget in (150, 256, 400, 1024):
        assert solve(graph, HardwareConfig(multipliers=budget)).interval <= 1.1 * work / budget, budget


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


def odd(**shape):
    return random_encoder(1, layers=2, max_tokens=64, weight_bits=(4,), **shape)


ODD = {
    "feed-forward 437": dict(hidden=128, heads=2, intermediate=437),
    "heads of 23, hidden 92, feed-forward 311": dict(hidden=92, heads=4, intermediate=311),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_widths_cost_a_few_per_cent(name):
    """For budgets and for the fastest target: an interval within 10 % of the multiply-accumulates over the multipliers."""
    graph = odd(**ODD[name])
    work = macs_per_sentence(graph, 64)
    with pytest.raises(FoldingError) as caught:
        solve(graph, HardwareConfig(target_cycles=10))
    fastest = int(str(caught.value).split("at least ")[1].split()[0])
    assert fastest == 64 * 64 // QUERIES  # a score a cycle for each head and query side by side: no stream and no width is slower
    for hardware in (*(HardwareConfig(multipliers=n) for n in (150, 210, 400, 840)), HardwareConfig(target_cycles=fastest)):
        folding = solve(graph, hardware)
        assert folding.interval <= 1.1 * work / folding.multipliers, hardware
        assert folding.multipliers <= (hardware.multipliers or folding.multipliers)


def test_groups_of_streams():
    graph = odd(hidden=46, heads=2, intermediate=31)
    by_tensor = {name: group for group in groups(graph) for name in group.tensors}
    hidden, heads = by_tensor["embeddings.sum"], by_tensor["layer.0.query.acc"]
    assert {"layer.1.ffn.norm", "layer.0.attention.output.acc", "pooler.first"} <= set(hidden.tensors) and hidden.fillable and hidden.blocks == 1
    assert set(heads.tensors) == {f"layer.0.{n}" for n in ("query.acc", "query", "key.acc", "key")} and heads.blocks == 2
    assert set(by_tensor["layer.0.value"].tensors) == {f"layer.0.{n}" for n in ("value.acc", "value", "context.acc", "context")}
    assert by_tensor["logits"].narrow and not by_tensor["logits"].fillable and by_tensor["pooler.acc"].narrow
    assert "layer.0.probs" not in by_tensor


def test_what_could_hold_no_zero_is_not_filled():
    """An output of the graph; a table that makes something of zero in front of weights of one bit; one multiplier for accumulators of such weights."""
    graph = random_encoder(0, layers=1, hidden=14, heads=2, intermediate=11, max_tokens=8, weight_bits=(1,))
    fillable = {group.tensors[0]: group.fillable for group in groups(graph)}
    assert fillable["embeddings.sum"] and fillable["layer.0.ffn.up.acc"]
    given = replace(graph, outputs=("logits", "layer.0.ffn.norm"))
    assert not next(g for g in groups(given) if graph.entry in g.tensors).fillable
    table = graph.params["layer.0.ffn.act.table"] + 1
    for change in ({"layer.0.ffn.act.table": table}, {"layer.0.ffn.up.mult": np.array([3])}):
        broken = replace(graph, params=graph.params | change)
        assert not next(g for g in groups(broken) if "layer.0.ffn.up" in g.tensors).fillable


def test_a_layout_is_saved_and_loaded(tmp_path):
    folding = solve(odd(**ODD["feed-forward 437"]), HardwareConfig(multipliers=400))
    assert folding.folds["layer.0.ffn.up.acc"].layout_out.width > 437
    folding.save(tmp_path / "folding.json")
    assert Folding.load(tmp_path / "folding.json") == folding


def test_equal_layers_cost_as_one():
    """Twelve layers take hardly more frontiers of foldings than one."""
    counts = []
    for layers in (1, 12):
        lanes = Lanes(random_encoder(1, layers=layers, hidden=46, heads=2, intermediate=31, max_tokens=16, head="token", weight_bits=(4,)))
        lanes.grouped(20_000)
        counts.append(len(lanes._frontiers))
    assert counts[0] == counts[1]
