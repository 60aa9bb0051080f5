# SPDX-License-Identifier: Apache-2.0
"""Sentences of a pair that see themselves alone, through whole encoders; and first sentences that are kept: golden, ONNX Runtime, RTL, cycles."""

from dataclasses import replace

import numpy as np
import pytest
from draws import draw_encoder, draw_run
from encoder_bench import assert_cycles, assert_equal, assert_fills, assert_onnx_agrees, make
from encoders import ALL_BITS, random_encoder

from bitloom.hw import golden, graph_file, image, recall
from bitloom.hw.build import build
from bitloom.hw.graph import GraphError
from bitloom.hw.plan.design import Design
from bitloom.hw.plan.folding import FoldingError
from bitloom.hw.plan.predict import predict, stage_intervals
from bitloom.hw.plan.rolled import roll
from bitloom.hw.plan.solve import HardwareConfig, MemoryConfig, solve
from bitloom.hw.plan.streams import wire
from bitloom.sim.encoder import Options, run_encoder
from bitloom.sim.verify import compare

SMALL = dict(hidden=16, heads=2, intermediate=24, max_tokens=12, **ALL_BITS)
ROLLED = HardwareConfig(multipliers=30, layers=1, recall=True)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setenv("BITLOOM_BUILD", "quick")


def test_golden_is_attention_of_each_sentence_alone():
    """With all layers decomposed no code of one sentence depends on the other's tokens, and the border is where segment 1 begins."""
    graph = random_encoder(3, **SMALL, layers=2, keys="segment")
    ids, segments = [list(range(10))], [[0] * 4 + [1] * 6]
    values = golden.run(graph, ids, segments)
    assert golden.borders(graph, values).tolist() == [4]
    other = golden.run(graph, [[*ids[0][:4], *range(20, 26)]], segments)
    last = "layer.1.ffn.norm"
    assert np.array_equal(values[last][:4], other[last][:4]) and (values[last][4:] != other[last][4:]).any()
    one = golden.run(graph, ids, [[0] * 10])  # no second one: all keys
    assert golden.borders(graph, one).tolist() == [10] and (one["layer.0.probs"] != values["layer.0.probs"]).any()


def test_only_what_needs_marks_has_them():
    assert random_encoder(0, **SMALL, layers=2).entry == random_encoder(0, **SMALL, layers=2, keys="causal").entry == "embeddings.sum"
    marked = random_encoder(0, **SMALL, layers=2, keys=("T", "segment"))
    assert marked.entry == "embeddings.marked" and [n.name for n in marked.readers("border")] == ["layer.1.scores.acc", "layer.1.probs"]


@pytest.mark.slow
def test_an_encoder(tmp_path):
    """Pairs of all kinds: borders 0, T and between."""
    encoder = make(tmp_path, 3, HardwareConfig(multipliers=40), [5, 9, 1, 12, 3, 3, 8, 11, 2, 12], SMALL | {"layers": 2, "keys": ("segment", "T")})
    assert {0, 5, 1} <= set(golden.borders(encoder.graph, encoder.want).tolist())
    got, report = encoder.run(resets=2)
    assert_equal(encoder, report)
    assert_cycles(encoder, got)
    assert_fills(encoder, got)
    assert_onnx_agrees(encoder)


def pairs(graph, seed: int = 0) -> tuple[list, list]:
    """Whole pairs, most with the first sentence of the one before; one of other sentences, one first sentence alone, one pair as long as may be."""
    rng = np.random.default_rng(seed)
    first, other = rng.integers(0, 50, 5).tolist(), rng.integers(0, 50, 3).tolist()
    drawn = [(first, n) for n in (3, 4, 1, 7, 2)] + [(other, 4), (first, 2), (first, 0), (first, 5)] + [(other[:1], n) for n in (1, 1, 1, 9)]
    ids = [own + rng.integers(0, 50, n).tolist() for own, n in drawn]
    return ids, [[0] * len(own) + [1] * n for own, n in drawn]


def simulate(graph, folding, folder, kept: bool, **how):
    ids, segments = pairs(graph)
    want = golden.run(graph, ids, segments)
    borders = golden.borders(graph, want)
    missing = recall.left_out(ids, borders) if kept else [0] * len(ids)
    inputs = recall.sent(np.split(want[graph.entry], np.cumsum([len(row) for row in ids])[:-1]), missing)
    got = run_encoder(folder, inputs, Options(left_out=tuple(missing), **how))
    report = compare(graph, want, got)
    assert report.ok and report.values_compared > 1000, str(report)
    guess = predict(Design(graph, folding), [len(codes) for codes in inputs], borders=got.borders, left_out=missing)
    return got, guess, report


@pytest.mark.parametrize(
    ("turns", "inside"), [((2, 2), None), pytest.param((1, 2), 1, marks=pytest.mark.slow), pytest.param((3, 1), 2, marks=pytest.mark.slow)]
)
def test_a_first_sentence_that_is_kept(turns, inside, tmp_path):
    """The same answers as of whole pairs, in the predicted cycles, fewer of them; stalled, and after resets."""
    graph = random_encoder(7, **SMALL, layers=sum(turns), keys=("segment",) * turns[0] + ("T",) * turns[1])
    folding = build(graph, ROLLED.model_copy(update={"inside": inside}), tmp_path)
    whole, kept = (simulate(graph, folding, tmp_path, kept, resets=2) for kept in (False, True))
    assert np.array_equal(whole[0].outputs, kept[0].outputs) and whole[2].values_compared > kept[2].values_compared
    for got, guess, _ in (whole, kept):
        assert np.abs(got.out_last_cycle - guess.out_last).max() <= 0.01 * guess.out_last[-1]
    assert kept[0].out_last_cycle[-1] < whole[0].out_last_cycle[-1]
    simulate(graph, folding, tmp_path, True, stall_in=0.4, stall_out=0.4)


FETCHED = {
    "as fast as the multipliers": ({"data_bits": 128, "block": 4}, {}),
    "one place, constants by turn": ({"data_bits": 64, "block": 6, "places": 1, "by_turn": True}, {"inside": 1}),
}


@pytest.mark.slow
@pytest.mark.parametrize("how", FETCHED)
def test_a_first_sentence_that_is_kept_with_weights_in_external_memory(how, tmp_path):
    """What is kept is the same; of what is not sent no weight is fetched in the turns in front of it."""
    memory, more = FETCHED[how]
    graph = random_encoder(7, **SMALL | {"hidden": 24, "heads": 3, "intermediate": 40}, layers=4, keys=("segment", "segment", "T", "T"))
    folding = build(graph, ROLLED.model_copy(update=more | {"memory": MemoryConfig(**memory)}), tmp_path)
    whole, kept = (simulate(graph, folding, tmp_path, kept, resets=1, timeout_cycles=200_000) for kept in (False, True))
    assert np.array_equal(whole[0].outputs, kept[0].outputs)
    for got, guess, _ in (whole, kept):
        assert np.array_equal(got.fetched, image.reads(Design(graph, folding), got.whole, None, got.left_out))
        assert np.abs(got.out_last_cycle - guess.out_last).max() <= 0.01 * guess.out_last[-1]
    assert kept[0].fetched.sum() < whole[0].fetched.sum()
    simulate(graph, folding, tmp_path, True, stall_in=0.4, stall_out=0.4, timeout_cycles=200_000)


def test_what_may_be_left_out():
    ids = [[1, 2, 3], [1, 2, 4, 5], [1, 2], [1, 2, 9], [1, 2, 9], [1, 7], [1, 8]]
    assert recall.left_out(ids, [2, 2, 2, 2, 2, 1, 1]) == [0, 2, 0, 0, 2, 0, 1]
    assert recall.left_out([[1], [1], [1, 2], [1, 2]], [1, 1, 0, 0]) == [0, 0, 0, 0]


def refused(text: str, keys: tuple[str, ...], layers: int = 1, recall: bool = True) -> None:
    with pytest.raises(FoldingError, match=text):
        roll(random_encoder(1, **SMALL, layers=len(keys), keys=keys), layers, recall=recall)


def test_what_keeps_nothing_is_refused():
    refused("got no layers that see one sentence of a pair alone, must be the first ones for hardware.recall; remove it", ("T", "T"))
    refused("got keys of 3 turns, of which 1 see one sentence of a pair alone, for hardware.recall, must be the first ones", ("T", "segment", "T"))
    refused("got keys of 2 turns, of which 2 see one sentence of a pair alone, for hardware.recall", ("segment", "segment"))
    refused("got all layers in hardware for hardware.recall, must be layers in turn; lower hardware.layers", ("segment", "T"), layers=2)
    refused(r"layers cannot share hardware: those of turn 1 got keys T, segment, must all see the same", ("segment", "segment", "T", "segment"), 2, False)
    with pytest.raises(ValueError, match="hardware.recall: got all layers in hardware, must be layers in turn; set hardware.layers: 1"):
        HardwareConfig(multipliers=9, recall=True)


def test_plans_count_halves():
    """Where nothing is known of the data: a layer of pairs takes half the products of one that sees all keys; of layers in turn, the mean."""
    half, full, both = (random_encoder(1, **SMALL, layers=2, keys=keys) for keys in ("segment", "T", ("segment", "T")))
    macs = [
        sum(u.macs(12) for u in Design(g, solve(g, HardwareConfig(multipliers=40, layers=1))).units if not u.op.params and u.op.matrix)
        for g in (half, both, full)
    ]
    assert macs[0] * 2 == macs[2] and macs[1] * 2 == macs[0] + macs[2]


def test_plans_count_what_the_data_is_known_to_have():
    """A quarter and the rest: 3**2 + 9**2 products a channel in the place of 2 * 6**2; cycles as of pairs with that border."""
    graph = random_encoder(1, **SMALL, layers=2, keys="segment")
    known = replace(graph, meta=graph.meta | {"first_share": 0.25})
    folding = solve(graph, HardwareConfig(multipliers=60))
    halves, quarter = (Design(g, folding) for g in (graph, known))
    macs = [sum(u.macs(12) for u in d.units if u.node.op == "scores") for d in (halves, quarter)]
    assert macs == [2 * 16 * 72, 2 * 16 * 90] and known.hash == graph.hash
    lengths = [12] * 6
    assert predict(quarter, lengths).out_last == predict(halves, lengths, borders=[3] * 6).out_last != predict(halves, lengths).out_last
    rows = [stage_intervals(design, 12)["layer.0.scores.acc"] for design in (halves, quarter)]
    assert rows[1] * 72 == rows[0] * 90


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_random_encoder(seed, tmp_path):
    """Any bits and folding, layers of both kinds; every third with layers in turn."""
    drawn, rng = draw_encoder(seed), np.random.default_rng(8000 + seed)
    if seed % 3 == 0:
        drawn["shape"]["layers"] *= 2
        drawn["hardware"] = HardwareConfig(multipliers=60, layers=1, inside=(None, 1)[seed % 2])
    drawn["shape"]["keys"] = tuple(str(rng.choice(["segment", "segment", "T"])) for _ in range(drawn["shape"]["layers"]))
    encoder, how = make(tmp_path, **drawn), draw_run(seed)
    got, report = encoder.run(**how)
    assert report.ok and report.values_compared > 0, str(report)
    if seed % 3:
        assert_equal(encoder, report)
    assert_fills(encoder, got)
    if not how["stall_in"] and not how["stall_out"]:
        assert_cycles(encoder, got)
    assert_onnx_agrees(encoder)


# What is planted in the RTL, and the stream in which it is first seen.
FAULTS = {
    "border.sv": ("!told_q && beat_q == '0 && s_data[0]", "beat_q == '0 && s_data[0]", "border"),
    "scores.sv": ("in_first && key_q + 1'b1 == b_data", "in_first && key_q == b_data", "layer.0.scores.acc"),
    "first_key.sv": ("border_end ? at : first_q", "border_end ? first_q : first_q", "layer.0.scores.acc"),
    "context_op.sv": ("if (en && issue && fresh) border_q", "if (en && issue) border_q", "layer.0.context.acc"),
}
KEPT = {
    "the border of the sentence behind": ("<= inside_q[0];", "<= inside_q[SENTENCES-1];"),
    "all keys in no turn": ("ALL[this_turn] ? '0 : border", "border"),
    "a token too few is kept": ("B_W'(token_q) < own", "B_W'(token_q) + 1'b1 < own"),
    "the kept beat before": ("kept[AtW'(at)]", "kept[AtW'(at_q)]"),
    "kept in another turn": ("this_turn == TurnW'(RECALL)", "this_turn == TurnW'(RECALL + 1)"),
}


def plant(folder, file: str, right: str, wrong: str) -> None:
    path = folder / "rtl" / file
    text = path.read_text()
    assert text.count(right) == 1, f"{file}: {right}"
    path.write_text(text.replace(right, wrong))


def told(run) -> str:
    try:
        return str(run())
    except Exception as error:  # noqa: BLE001  # whatever it is, it has been found
        return str(error)


@pytest.mark.slow
@pytest.mark.parametrize("file", FAULTS)
def test_planted_faults_are_found_and_named(file, tmp_path):
    encoder = make(tmp_path, 3, HardwareConfig(multipliers=40), [5, 9, 1, 12, 3, 3, 8, 11, 2, 12], SMALL | {"layers": 2, "keys": ("segment", "T")})
    *change, where = FAULTS[file]
    plant(tmp_path, file, *change)
    found = told(lambda: encoder.run(timeout_cycles=20_000)[1])
    assert f"first at {where}: " in found or f"stream {wire(where)}: rule broken" in found, found  # a beat too many ends the simulation at once


@pytest.mark.slow
@pytest.mark.parametrize("fault", KEPT)
def test_planted_faults_of_what_is_kept_are_found(fault, tmp_path):
    graph = random_encoder(7, **SMALL, layers=4, keys=("segment", "segment", "T", "T"))
    folding = build(graph, ROLLED, tmp_path)
    plant(tmp_path, "loop.sv", *KEPT[fault])
    found = told(lambda: simulate(graph, folding, tmp_path, True, timeout_cycles=20_000))
    assert "first at " in found or "loop: visit" in found, found


def test_a_saved_encoder_is_checked_for_its_border():
    graph = random_encoder(1, **SMALL, layers=1, keys="segment")
    wrong = replace(graph, nodes=tuple(replace(n, inputs=n.inputs[:1]) if n.name == "layer.0.probs" else n for n in graph.nodes))
    with pytest.raises(GraphError, match=r"softmax layer.0.probs: got 1 inputs, must be 2, the last one a border \(1, 1\) for keys 'segment'"):
        graph_file.check(wrong)
