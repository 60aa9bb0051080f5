# SPDX-License-Identifier: Apache-2.0
"""Packs of sentences, each of which attends within itself: host, golden, RTL of all layers, of layers in turn and of weights in external memory, cycles."""

from dataclasses import replace

import numpy as np
import pytest
from draws import draw_encoder, draw_run
from encoder_bench import Encoder, assert_cycles, assert_fills, make
from encoders import ALL_BITS, random_bilstm, random_cnn, random_encoder, random_sentences

from bitloom.hw import golden, graph_file, image, pack
from bitloom.hw.emit import emit
from bitloom.hw.keys import Keys, runs_of
from bitloom.hw.plan.design import Design
from bitloom.hw.plan.folding import FoldingError
from bitloom.hw.plan.predict import predict
from bitloom.hw.plan.solve import HardwareConfig, MemoryConfig, solve
from bitloom.hw.plan.streams import wire
from bitloom.sim.encoder import EncoderRun
from bitloom.sim.verify import VerifyReport

SMALL = dict(hidden=16, heads=2, intermediate=24, max_tokens=12, **ALL_BITS)
PACKED = HardwareConfig(multipliers=40, pack=True)
# Packs of one sentence, of single tokens, of as many as may be; that end below max_tokens; one that begins with a single token
LENGTHS = [5, 3, 2, 12, 1, 1, 9, 3, 3, 3, 4, 7, *[1] * 13, 8]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setenv("BITLOOM_BUILD", "quick")


@pytest.mark.parametrize("seed", range(20))
def test_packs_keep_order_and_are_as_full_as_they_can_be(seed):
    rng = np.random.default_rng(seed)
    most = int(rng.integers(1, 40))
    lengths = rng.integers(1, most + 1, int(rng.integers(1, 60))).tolist()
    packs = pack.packs_of(lengths, most)
    assert [n for own in packs for n in own] == lengths and all(0 < sum(own) <= most for own in packs)
    assert all(sum(own) + behind[0] > most for own, behind in zip(packs, packs[1:], strict=False))
    assert runs_of(lengths, [sum(own) for own in packs]) == packs
    assert [lengths[first] for first in pack.firsts(packs)[:-1]] == [own[0] for own in packs] and pack.firsts(packs)[-1] == len(lengths)


def test_each_sentence_sees_its_own_keys():
    seen = Keys.parse("pack").seen(6, (1, 3, 2))[:, 0]
    assert np.array_equal(seen, np.kron(np.eye(3, dtype=bool)[[0, 1, 1, 1, 2, 2]][:, [0, 1, 1, 1, 2, 2]], [[True]]))
    assert Keys.parse("pack").spans(6, (1, 3, 2)).tolist() == [1, 3, 3, 3, 2, 2] and Keys.parse("pack").spans(3).tolist() == [3, 3, 3]


def test_what_is_sent_rounds_back_and_marks_the_ends():
    codes = [np.array([[-3, 5], [4, 0]]), np.array([[7, -8]])]
    (sent,) = pack.sent(codes, [(2, 1)])
    assert np.array_equal(sent + 1 >> 1, np.concatenate(codes)) and (sent & 1).tolist() == [[0, 0], [1, 1], [1, 1]]


@pytest.mark.parametrize("head", ["sequence", "token"])
def test_golden_of_packs_is_that_of_their_sentences(head):
    """The graph that is built, run on packs, makes what the graph of sentences makes of each alone; it tells whose it is."""
    graph = random_encoder(3, **SMALL, layers=2, head=head)
    made = graph_file.check(pack.pack(graph))
    want, packs = golden.run(graph, *random_sentences(graph, LENGTHS)), pack.packs_of(LENGTHS, graph.max_tokens)
    sent = np.concatenate(pack.sent(np.split(want[graph.entry], np.cumsum(LENGTHS)[:-1]), packs))
    got, want = golden.evaluate(made, {made.entry: sent}, np.array([sum(own) for own in packs])), pack.golden(graph, want, packs)
    assert made.hash == graph.hash and made.packed and len(packs) == 7
    for node in made.nodes:
        assert np.array_equal(got[node.name], want[node.name]), node.name


def assert_equal(encoder: Encoder, got: EncoderRun, report: VerifyReport) -> None:
    """Every golden value of the sentences, those of the keys that are seen, and what tells where they begin."""
    graph, lengths = encoder.graph, np.array(encoder.lengths)
    assert report.ok and report.mismatches == 0, str(report)
    assert len(got.packs) < len(lengths) == len(got.out_last_cycle) == len(got.in_first_cycle)
    tensors = [n.name for n in graph.nodes] + list(graph.outputs)  # the embeddings' sums too, which are no host's here
    made = Design(graph, encoder.folding).graph.source
    told = sum(name not in graph.tensors for name in (n.name for n in made.nodes)) * len(lengths)
    turns = len(got.infos["turns"].turns) - 1 if "turns" in got.infos else 0  # more, in which a pack's lengths are told, and what goes round is taken
    again = turns * (len(lengths) + int(lengths.sum()) * graph.tensor("embeddings.norm").channels)
    assert report.values_compared == sum(encoder.want[name].size for name in tensors) + told + again
    assert np.array_equal(got.outputs, encoder.want[graph.outputs[0]].ravel())


TURNS = {
    "all layers": (2, PACKED),
    "one layer in turn": (3, HardwareConfig(multipliers=40, pack=True, layers=1)),
    "two in turn": (4, HardwareConfig(multipliers=40, pack=True, layers=2)),
    "one pack inside": (3, HardwareConfig(multipliers=40, pack=True, layers=1, inside=1)),  # of twelve single tokens, which fill the fifo of lengths
}


@pytest.mark.parametrize("how", ["one layer in turn", *(pytest.param(how, marks=pytest.mark.slow) for how in TURNS if how != "one layer in turn")])
def test_an_encoder(how, tmp_path):
    layers, hardware = TURNS[how]
    encoder = make(tmp_path, 3, hardware, LENGTHS, SMALL | {"layers": layers})
    got, report = encoder.run(resets=2)
    assert_equal(encoder, got, report)
    assert_cycles(encoder, got)
    assert_fills(encoder, got)
    got, report = encoder.run(stall_in=0.4, stall_out=0.4, seed=1)
    assert_equal(encoder, got, report)


@pytest.mark.slow
def test_answers_of_each_token(tmp_path):
    encoder = make(tmp_path, 4, TURNS["one layer in turn"][1], LENGTHS, SMALL | {"layers": 2, "head": "token"})
    got, report = encoder.run(resets=1)
    assert_equal(encoder, got, report)
    assert_cycles(encoder, got)


FETCHED = {
    "all layers": (2, PACKED, {"data_bits": 128, "block": 12}),
    "one layer in turn": (3, HardwareConfig(multipliers=20, pack=True, layers=1), {"data_bits": 128, "block": 12, "latency": 5}),
    "one place, constants by turn": (4, TURNS["one layer in turn"][1].model_copy(update={"inside": 1}), {"block": 5, "places": 1, "by_turn": True}),
}


@pytest.mark.parametrize("how", ["all layers", *(pytest.param(how, marks=pytest.mark.slow) for how in FETCHED if how != "all layers")])
def test_weights_in_external_memory(how, tmp_path):
    """A block holds tokens of several sentences: each weight is fetched as often as planned, less often than for sentences alone."""
    layers, hardware, memory = FETCHED[how]
    hardware = hardware.model_copy(update={"memory": MemoryConfig(**{"data_bits": 64} | memory)})
    encoder = make(tmp_path, 3, hardware, LENGTHS, SMALL | {"layers": layers})
    got, report = encoder.run(resets=1, reset_within=20_000)
    assert_equal(encoder, got, report)
    design = Design(encoder.graph, encoder.folding)
    assert np.array_equal(got.fetched, image.reads(design, LENGTHS))
    alone = Design(encoder.graph, solve(encoder.graph, hardware.model_copy(update={"pack": False})))
    assert got.fetched.sum() < 0.7 * image.reads(alone, LENGTHS).sum()
    assert predict(design, LENGTHS).out_last[-1] < 0.95 * predict(alone, LENGTHS).out_last[-1]
    assert_cycles(encoder, got)
    got, report = encoder.run(stall_in=0.4, stall_out=0.4, seed=1)
    assert_equal(encoder, got, report)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_random_encoder(seed, tmp_path):
    """Any bits, folding and lengths; every second with layers in turn."""
    drawn = draw_encoder(seed)
    drawn["hardware"] = drawn["hardware"].model_copy(update={"pack": True})
    if seed % 2:
        drawn["shape"]["layers"] *= 2
        drawn["hardware"] = HardwareConfig(multipliers=60, layers=1, inside=(None, 1)[seed // 2 % 2], pack=True)
    rng = np.random.default_rng(8000 + seed)
    drawn["lengths"] += rng.integers(1, 1 + max(1, drawn["shape"]["max_tokens"] // 3), 12).tolist()
    encoder, how = make(tmp_path, **drawn), draw_run(seed)
    got, report = encoder.run(**how)
    assert report.ok and report.values_compared > 0, str(report)
    assert_fills(encoder, got)
    if not how["stall_in"] and not how["stall_out"]:
        assert_cycles(encoder, got)


# What is planted in the RTL, and the stream in which it is first seen.
FAULTS = {
    "a sentence's end is not seen": ("border.sv", "tokens_q <= s_last || ends ?", "tokens_q <= s_last ?", "embeddings.sum.runs"),
    "the mark of the beat before": ("border.sv", "beat_q == '0 ? s_data[0] : marked_q", "marked_q", "embeddings.sum.runs"),
    "a row ends a key too early": ("scores.sv", "in_first && key_q + 1'b1 == b_data", "in_first && key_q == b_data", "layer.0.scores.acc"),
    "the next sentence's keys begin where they began": ("first_key.sv", "border_end ? at : first_q", "first_q", "layer.0.scores.acc"),
    "tokens are counted on": ("first_key.sv", "sentence_last || (SEGMENT > 1 && border_end) ?", "sentence_last ?", "layer.0.scores.acc"),
    "lengths are taken at the pack's end": ("scores.sv", "(PACK != 0 ? token_end && border_end : all_end)", "all_end", "layer.0.scores.acc"),
    "values begin where they began": ("context_op.sv", ".SEGMENT(SEGMENT)", ".SEGMENT(0)", "layer.0.context.acc"),
    "first tokens of packs alone": ("first_token.sv", "ends = token_q + 1'b1 == b_data", "ends = s_last", "pooler.first"),
    "an answer ends a pack": ("first_token.sv", "pack_last = last_q", "pack_last = 1'b1", "pooler.first"),
}
ROUND = {
    "lengths of the pack behind": ("take_new ? n_data : again_data", "n_data"),
    "lengths of what leaves stay": ("this_turn != TurnW'(TURNS - 1)", "1'b1"),
    "a pack's last length is told twice": ("(busy_q && told_q) || (tell && told_last)", "(busy_q && told_q)"),
}


def plant(folder, file: str, right: str, wrong: str) -> None:
    path = folder / "rtl" / file
    text = path.read_text()
    assert text.count(right) == 1, f"{file}: {right}"
    path.write_text(text.replace(right, wrong))


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_are_found_and_named(fault, tmp_path):
    encoder = make(tmp_path, 3, PACKED, LENGTHS, SMALL | {"layers": 2})
    *change, where = FAULTS[fault]
    plant(tmp_path, *change)
    found = told(encoder)
    assert f"first at {where}: " in found or f"stream {wire(where)}: rule broken" in found, found


@pytest.mark.slow
@pytest.mark.parametrize("fault", ROUND)
def test_planted_faults_of_what_goes_round_are_found(fault, tmp_path):
    encoder = make(tmp_path, 3, TURNS["one layer in turn"][1], LENGTHS, SMALL | {"layers": 2})
    plant(tmp_path, "loop.sv", *ROUND[fault])
    found = told(encoder)
    assert "first at " in found or "rule broken" in found or "loop: visit" in found, found


def told(encoder: Encoder) -> str:
    try:
        return str(encoder.run(timeout_cycles=20_000)[1])
    except Exception as error:  # noqa: BLE001  # whatever it is, it has been found
        return str(error)


def refused(text: str, graph, **hardware) -> None:
    with pytest.raises(FoldingError, match=text):
        solve(graph, HardwareConfig(**{"multipliers": 40, "pack": True} | hardware))


def test_what_sentences_cannot_share_is_refused():
    keys = "got keys '{}' .layer.0.scores.acc. for hardware.pack, must be all, 'T'; remove hardware.pack"
    for own in ("causal", "window 2", "segment"):
        refused(keys.format(own), random_encoder(1, **SMALL, layers=2, keys=own))
    other = "got {} .* for hardware.pack, must be attention and what works on each token alone; remove hardware.pack"
    refused(other.format("off_ramps"), random_encoder(1, **SMALL, layers=2, exits=(0.5, 1)), layers=1)
    refused(other.format("keep_tokens"), random_encoder(1, **SMALL, layers=2, keep=128))
    refused(other.format("pattern"), random_encoder(1, **SMALL, layers=2, patterns=("left",)))
    refused(other.format("lstm"), random_bilstm(1, hidden=8, units=4, classifier=4))
    refused(other.format("token_window"), random_cnn(1, hidden=8, stack=((3, 1),), kernels=(2, 3), filters=4, pooling="max"))
    with pytest.raises(ValueError, match="hardware.recall: got hardware.pack as well, must be one of them; remove one"):
        HardwareConfig(multipliers=9, layers=1, recall=True, pack=True)


def test_the_top_says_what_it_takes(tmp_path):
    graph = random_encoder(1, **SMALL, layers=1)
    for hardware, what in ((PACKED, "a pack is 1 .. 12 tokens"), (PACKED.model_copy(update={"pack": False}), "a sentence is 1 .. 12 tokens")):
        emit(Design(graph, solve(graph, hardware)), tmp_path)
        text = (tmp_path / "encoder.sv").read_text()
        assert what in text and ("// Packs  :" in text) == hardware.pack


def test_plans_count_one_sentence_in_a_pack():
    """So a packed encoder of max_tokens has the cycles and products of one that is not; packs of given sentences have fewer products."""
    graph = random_encoder(1, **SMALL, layers=2)
    packed, alone = (Design(graph, solve(graph, replace_pack(own))) for own in (True, False))
    assert packed.work(12) == alone.work(12) and packed.folding.interval == alone.folding.interval
    assert predict(packed, [12] * 6).interval == predict(alone, [12] * 6).interval
    one, two, four = (packed.work(12, border=(12 // count,) * count) for count in (1, 2, 4))  # a query's keys: 12, 6, 3
    assert one == packed.work(12) and one - two == 2 * (two - four) > 0


def replace_pack(own: bool) -> HardwareConfig:
    return PACKED.model_copy(update={"pack": own})


def test_folding_says_so(tmp_path):
    graph = random_encoder(1, **SMALL, layers=2)
    folding = solve(graph, PACKED)
    folding.save(tmp_path / "folding.json")
    assert type(folding).load(tmp_path / "folding.json") == folding and folding.pack
    assert Design(graph, replace(folding, board=None)).entry.pack == 12
