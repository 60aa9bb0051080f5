# SPDX-License-Identifier: Apache-2.0
"""Tokens that are taken out, through whole encoders: golden, ONNX Runtime, RTL with the predicted cycles, all layers in hardware or in turn."""

import re
from dataclasses import replace

import numpy as np
import pytest
from draws import draw_encoder, draw_rolled, draw_run
from encoder_bench import assert_cycles, assert_equal, assert_fills, assert_onnx_agrees, check_turns, make
from encoders import ALL_BITS, random_encoder
from sweep import plain_or_slow

from bitloom.hw import graph_file, image
from bitloom.hw.board import Board
from bitloom.hw.build import macs_per_sentence
from bitloom.hw.graph import GraphError
from bitloom.hw.plan.design import Design
from bitloom.hw.plan.folding import FoldingError
from bitloom.hw.plan.predict import predict
from bitloom.hw.plan.solve import HardwareConfig, MemoryConfig, solve

SMALL = dict(layers=2, hidden=16, heads=2, intermediate=24, max_tokens=11, **ALL_BITS)


def draw(seed: int) -> dict:
    """A drawn encoder whose layers keep drawn shares of their tokens."""
    drawn, rng = draw_encoder(seed), np.random.default_rng(6000 + seed)
    keep = tuple(None if rng.integers(4) == 0 else int(rng.integers(1, 257)) for _ in range(drawn["shape"]["layers"]))
    own = np.random.default_rng(6100 + seed)  # that of all else stays
    keys = tuple(str(own.choice(["T", f"window {own.integers(1, 9)}"])) for _ in keep) if seed % 2 else "T"
    return drawn | {"shape": drawn["shape"] | {"keep": keep, "keys": keys, "head": "sequence"}}


@pytest.mark.parametrize("seed", plain_or_slow(range(20), [1]))
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
    """Each turn keeps a share of its own, so sentences come back shorter; of even seeds, windows are of what is left."""
    monkeypatch.setenv("BITLOOM_BUILD", "quick")
    drawn, rng = draw_rolled(seed), np.random.default_rng(6500 + seed)
    keep = tuple(int(rng.integers(1, 257)) for _ in range(drawn["shape"]["layers"]))
    drawn["hardware"] = drawn["hardware"].model_copy(update={"layers": 1})
    encoder = make(tmp_path, **drawn | {"shape": drawn["shape"] | {"keep": keep, "keys": "T" if seed % 2 else "window 2", "head": "sequence"}})
    check_turns(encoder, seed=seed, resets=2, reset_within=2000)
    check_turns(encoder, seed=seed + 1, stall_in=0.4, stall_out=0.4)


@pytest.mark.parametrize("layers", [pytest.param(None, marks=pytest.mark.slow), pytest.param(1, marks=pytest.mark.slow)])
def test_weights_in_external_memory(layers, tmp_path, monkeypatch):
    """Blocks are of what is left, and so is what is fetched."""
    monkeypatch.setenv("BITLOOM_BUILD", "quick")
    hardware = HardwareConfig(multipliers=60, layers=layers, memory=MemoryConfig(data_bits=64, block=4))
    shape = dict(layers=3, hidden=24, heads=2, intermediate=40, max_tokens=13, keep=(200, 100, 80))
    encoder = make(tmp_path, 3, hardware, [13, 5, 1, 9, 13, 13, 2, 8], shape)
    for how in ({"seed": 3, "resets": 1}, {"seed": 4, "stall_in": 0.4, "stall_out": 0.4}):
        got, report = encoder.run(**how, timeout_cycles=100_000)
        assert report.ok and report.values_compared > 30_000, str(report)
        assert np.array_equal(got.fetched, image.reads(Design(encoder.graph, encoder.folding), encoder.lengths))
    whole = image.reads(Design(encoder.graph, encoder.folding), [13] * 8).sum()
    assert image.reads(Design(encoder.graph, encoder.folding), [1] * 8).sum() < whole


LAYERS = dict(hidden=16, heads=2, intermediate=24, max_tokens=13, labels=3, **ALL_BITS)
TOGETHER = {  # with heads of fixed patterns; sentences that leave early, with windows too; lower layers that see each sentence of a pair alone
    "patterns": (LAYERS | dict(layers=3, head_dim=4, keep=(200, 120, 60), patterns=("previous", "left")), HardwareConfig(multipliers=50, layers=1)),
    "exits": (LAYERS | dict(layers=4, keep=(220, 180, 120, 200), exits=(0.7, 1)), HardwareConfig(multipliers=40, layers=1)),
    "exits and windows": (LAYERS | dict(layers=5, keep=(120, 250, 200, 256, 40), exits=(0.5, 1), keys="window 3"), HardwareConfig(multipliers=60, layers=1)),
    "pairs": (LAYERS | dict(layers=3, keep=(None, 150, 60), keys=("segment", "T", "window 2")), HardwareConfig(multipliers=40)),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", TOGETHER)
def test_together_with(case, tmp_path, monkeypatch):
    monkeypatch.setenv("BITLOOM_BUILD", "quick")
    shape, hardware = TOGETHER[case]
    encoder = make(tmp_path, 3, hardware, [13, 5, 1, 9, 13, 13, 2, 8, 3, 11, 12, 7], shape)
    for how in ({"resets": 1}, {"stall_in": 0.3, "stall_out": 0.4}):
        got, report = encoder.run(**how)
        assert report.ok and report.values_compared > 30_000, str(report)
        if "resets" in how:
            assert_cycles(encoder, got)
            assert_fills(encoder, got)
    assert encoder.exits is None or len(set(encoder.exits)) > 2
    assert_onnx_agrees(encoder)


def test_what_is_taken_out_costs_nothing():
    """With the same multipliers; rings, FIFOs and operators behind are for what is left of the longest sentence."""
    shape, config = dict(layers=2, hidden=32, heads=2, intermediate=128, max_tokens=32), HardwareConfig(multipliers=60)
    designs = [Design(graph, solve(graph, config)) for graph in (random_encoder(2, **shape, keep=keep) for keep in (None, (64, 32)))]
    whole, less = ([predict(design, [n] * 6).interval for n in (32, 12)] for design in designs)
    assert (whole, less) == ([16384.0, 6144.0], [6656.0, 4096.0])
    assert sum(unit.macs(32) for unit in designs[1].units) == macs_per_sentence(designs[1].graph, 32) == designs[1].work(32)
    params = {unit.name: unit.instance.params for unit in designs[1].units}
    assert [params[f"layer.{i}.scores.acc"]["MAX_TOKENS"] for i in (0, 1)] == [32, 8] and params["layer.1.kept"]["MOST"] == 1
    assert [designs[1].streams[name].carries(np.array([32, 5]), 0).tolist() for name in ("layer.0.probs", "layer.0.kept", "layer.1.probs", "layer.1.kept")] == [
        [32, 5],
        [8, 2],
        [8, 2],
        [1, 1],
    ]


def test_a_saved_graph_keeps_its_shares(tmp_path):
    graph = random_encoder(0, **SMALL, keep=(200, None))
    graph_file.save(graph, tmp_path)
    again = graph_file.load(tmp_path)
    assert again.hash == graph.hash != random_encoder(0, **SMALL).hash and again.tensor("layer.1.probs").tokens.of(11) == 9


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"attrs": {"keep": 257}}, "keep got 257, must be 1 .. 256"),
        ({"attrs": {"keep": 12}}, r"output got shape \('T 200', 16\), must be \('T 12', 16\)"),
        ({"inputs": ("layer.0.attention.norm", "layer.0.scores")}, "layer.0.scores got signed, must be unsigned"),
        ({"inputs": ("layer.0.attention.norm", "layer.0.query")}, r"layer.0.query got shape \('T', 16\), must be \('T', 0, KEYS\)"),
    ],
)
def test_graphs_that_are_refused(changed, text):
    graph = random_encoder(0, **SMALL, keep=200)
    nodes = tuple(replace(n, **changed) if n.name == "layer.0.kept" else n for n in graph.nodes)
    with pytest.raises(GraphError, match=f"keep_tokens layer.0.kept: {text}"):
        graph_file.check(replace(graph, nodes=nodes))


def test_what_is_refused():
    for keys in ("causal", "window 0", "segment"):
        with pytest.raises(GraphError, match=f"keep_tokens layer.0.kept: layer.0.probs got keys '{keys}', must be 'T' or a window of 1 or more: a row tells"):
            random_encoder(0, **SMALL, keep=200, keys=keys)
    four = random_encoder(0, **SMALL | {"layers": 4}, keep=200)
    with pytest.raises(
        FoldingError, match=r"got several layers in hardware, in turn, .* \(layer.1.scores.acc has tokens 'T 200'\), must be one; set hardware.la"
    ):
        solve(four, HardwareConfig(multipliers=60, layers=2))
    assert solve(four, HardwareConfig(board="ulx3s_85f"), Board.load("ulx3s_85f")).multipliers
    mixed = random_encoder(0, **SMALL | {"layers": 3}, keep=(200, 100, None))  # alike from the first feed-forward on, but with rows that get shorter
    assert solve(mixed, HardwareConfig(board="ulx3s_85f"), Board.load("ulx3s_85f")).multipliers


FAULTS = {
    "of two alike the later one": ("least_q >= seen_quota_q;", "1'b0;"),
    "a share rounded down": ("step_q == '0 ? QuotaW'(255)", "step_q == '0 ? QuotaW'(0)"),
    "the first token counts like others": ("(!seen_ends_q && sum >= tried)", "(sum >= tried)"),
    "sums of the sentence before": ("first_q[Delay-1] ? '0 : word", "first_q[Delay-1] && at_q[(Delay-1)*AtW +: AtW] != AtW'(1) ? '0 : word"),
    "a token beside another": ("at_word_q <= at_word - WordW'(Beats);", "at_word_q <= at_word - WordW'(2 * Beats);"),
    "the lowest bit of the threshold": ("level_q <= tried;", "level_q <= tried & ~SUM_W'(1);"),
    "tokens that are not there": ("< (SeenW + 1)'(span);", "< (SeenW + 1)'(MAX_TOKENS);"),
    "a window's key that comes in last": ("== (SeenW + 1)'(seen_q) + (SeenW + 1)'(AHEAD)", "== (SeenW + 1)'(seen_q) + (SeenW + 1)'(AHEAD + 1)"),
    "a window that stays": ("row_end ? first : key_q", "row_end ? '0 : key_q"),
    "a sentence that ends a token late": (">= (SeenW + 1)'(key_end)", "> (SeenW + 1)'(key_end)"),
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_are_found(fault, tmp_path, monkeypatch):
    """And the tensor is named; a fault that makes streams longer or shorter ends the simulation."""
    monkeypatch.setenv("BITLOOM_BUILD", "quick")
    right, wrong = FAULTS[fault]
    shape = dict(layers=2, hidden=8, heads=2, intermediate=8, max_tokens=16, keep=(130, 60), prob_bits=(4,), score_bits=(4,))
    shape |= {"keys": "window 3"} if "window" in fault else {}
    encoder = make(tmp_path, 1, HardwareConfig(target_cycles=130), [16, 7, 12, 3, 16, 15, 9, 16, 5, 14], shape)
    assert encoder.run()[1].ok
    path = tmp_path / "rtl" / "keep_tokens.sv"
    assert path.read_text().count(right) == 1
    path.write_text(path.read_text().replace(right, wrong))
    report = encoder.run(timeout_cycles=20_000)[1]
    assert not report.ok and (report.problem or re.fullmatch(r"layer\.[01]\.kept", report.first.tensor)), str(report)
    print(fault, report)
