# SPDX-License-Identifier: Apache-2.0
"""Whole encoders in simulation: golden model, ONNX Runtime and RTL agree on every value, the prediction on the cycles."""

from dataclasses import replace

import numpy as np
import pytest
from encoder_bench import TOLERANCE, Encoder, assert_cycles, assert_equal, assert_fills, assert_onnx_agrees, make
from encoders import ALL_BITS, random_sentences

from bitloom.hw import golden
from bitloom.hw.plan.design import Design
from bitloom.hw.plan.predict import predict
from bitloom.hw.plan.solve import HardwareConfig
from bitloom.sim.encoder_bench import promised_identity

# A target so tight that streams need two lanes; a budget of hardly more than a multiplier a unit.
CASES = {
    "sequence head, two lanes": {
        "seed": 7,
        "hardware": HardwareConfig(target_cycles=440),
        "lengths": [5, 1, 12, 7, 2, 12, 12, 9],
        "shape": dict(layers=2, hidden=24, heads=3, intermediate=40, max_tokens=12, labels=3, **ALL_BITS),
    },
    "token head, few multipliers": {
        "seed": 8,
        "hardware": HardwareConfig(multipliers=40),
        "lengths": [9, 3, 1, 9, 9, 1, 4, 7],
        "shape": dict(
            layers=1,
            hidden=15,
            heads=3,
            intermediate=21,
            max_tokens=9,
            labels=3,
            head="token",
            activation="relu",
            **ALL_BITS,
        ),
    },
    # Widths without divisors, weights of one bit among them: every group of streams has lanes of its own and is filled up.
    "odd widths, filled streams": {
        "seed": 13,
        "hardware": HardwareConfig(target_cycles=400),
        "lengths": [5, 1, 12, 7, 2, 12, 12, 9],
        "shape": dict(layers=1, hidden=23, heads=1, head_dim=19, intermediate=37, max_tokens=12, labels=3, **ALL_BITS),
    },
    "heads side by side": {
        "seed": 15,
        "hardware": HardwareConfig(target_cycles=250),
        "lengths": [9, 3, 1, 12, 9, 1, 12, 12],
        "shape": dict(layers=1, hidden=32, heads=4, intermediate=24, max_tokens=12, labels=3, **ALL_BITS),
    },
    "queries side by side": {
        "seed": 16,
        "hardware": HardwareConfig(target_cycles=60),
        "lengths": [9, 3, 1, 12, 9, 1, 12, 12, 7, 2, 2, 1],
        "shape": dict(layers=2, hidden=32, heads=2, intermediate=24, max_tokens=12, labels=3, **ALL_BITS),
    },
    "odd heads, one lane": {
        "seed": 14,
        "hardware": HardwareConfig(multipliers=150),
        "lengths": [9, 3, 1, 9, 9, 1, 4, 7],
        "shape": dict(layers=1, hidden=33, heads=3, intermediate=31, max_tokens=9, labels=3, activation="relu", **ALL_BITS),
    },
}


SLOW = (
    "odd heads, one lane",
    "queries side by side",
    "sequence head, two lanes",
    "heads side by side",  # those of test_rolled.py's queries are, too
)  # both sides of them have unit benches (tests/ops)


@pytest.fixture(scope="module", params=[pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in CASES])
def encoder(request, tmp_path_factory) -> Encoder:
    return make(tmp_path_factory.mktemp("encoder"), **CASES[request.param])


# Channels, elements in the stream and lanes of each case's token streams.
STREAMS = {
    "sequence head, two lanes": {(24, 24, 2), (40, 40, 2)},
    "token head, few multipliers": {(15, 15, 1), (15, 18, 1), (21, 22, 1), (3, 3, 1)},
    "odd widths, filled streams": {(23, 24, 1), (19, 20, 1), (37, 40, 2)},
    "heads side by side": {(32, 32, 2), (24, 24, 2)},
    "queries side by side": {(32, 32, 8), (24, 24, 8)},
    "odd heads, one lane": {(33, 33, 1), (33, 36, 1), (31, 32, 1)},
}


def test_the_cases_are_what_they_say(encoder):
    streams = Design(encoder.graph, encoder.folding).streams.values()
    assert {(s.channels, s.layout.width, s.lanes) for s in streams if s.kind == "token"} in STREAMS.values()
    assert len({n.attrs["weight_bits"] for n in encoder.graph.nodes if n.op == "linear"}) > 3
    assert {1, encoder.graph.max_tokens} <= set(encoder.lengths)


def test_heads_go_side_by_side_where_one_by_one_is_too_slow(encoder):
    rows = {(s.lanes, s.queries) for s in Design(encoder.graph, encoder.folding).streams.values() if s.kind == "row"}
    assert rows == {(4, 1) if encoder.graph.meta["heads"] == 4 else (6, 3) if encoder.folding.interval <= 60 else (1, 1)}


def test_the_header_states_what_may_come_in(encoder):
    entry, text = Design(encoder.graph, encoder.folding).entry, (encoder.folder / "encoder.sv").read_text()
    assert f"// Input  : a sentence is 1 .. {encoder.graph.max_tokens} tokens of {entry.layout.width // entry.lanes} beats; s_axis_tlast on" in text


def test_onnx_runtime_equals_golden(encoder):
    assert_onnx_agrees(encoder)


def test_bits_and_cycles(encoder):
    got, report = encoder.run()
    assert_equal(encoder, report)
    assert_cycles(encoder, got)
    assert promised_identity(encoder.folder) == encoder.graph.hash[:16]


@pytest.mark.parametrize(("stall_in", "stall_out"), [(0.4, 0.3), (0.0, 0.9), (0.9, 0.0)])
def test_stalls_cost_no_bit(encoder, stall_in, stall_out):
    """Both sides stall, a slow consumer, a slow source: the same values, later."""
    got, report = encoder.run(stall_in=stall_in, stall_out=stall_out, seed=5)
    assert_equal(encoder, report)
    measured, without = encoder.cycles(got)["latency"]  # the first sentence: a later one may wait for others in any case
    hidden = encoder.folding.interval <= 60 and stall_in < 0.5  # so few beats of so many lanes may hide behind LayerNorm's digits
    assert measured > without or hidden and measured == without
    assert_fills(encoder, got)


@pytest.mark.parametrize("stall", [0.0, 0.3])
def test_a_reset_in_mid_sentence_leaves_nothing(encoder, stall):
    """Bits and cycles of every stream are those after power-up, which finds random bits in all registers."""
    plain, _ = encoder.run(stall_in=stall, stall_out=stall, seed=4)
    got, report = encoder.run(stall_in=stall, stall_out=stall, seed=4, resets=3, reset_within=2 * encoder.folding.interval)
    assert_equal(encoder, report)
    assert got.cycles > plain.cycles
    for name, record in plain.streams.items():
        assert np.array_equal(record.cycle, got.streams[name].cycle), name


def test_one_sentence_alone_takes_what_is_predicted(encoder):
    """Latency without company, for the shortest, a middle and the longest sentence."""
    for length in (1, encoder.graph.max_tokens // 2, encoder.graph.max_tokens):
        ids, segments = random_sentences(encoder.graph, [length], length)
        alone = replace(encoder, ids=ids, segments=segments, want=golden.run(encoder.graph, ids, segments))
        got, report = alone.run()
        assert_equal(alone, report)
        measured, predicted = int(got.out_last_cycle[0]), predict(Design(encoder.graph, encoder.folding), [length]).latency[0]
        assert abs(measured - predicted) <= TOLERANCE * measured, f"{length} tokens: {measured}, {predicted} predicted"


@pytest.mark.slow
def test_every_output_leaves(tmp_path):
    """An early exit: a tensor that is read inside leaves at a port of its own as well, and is compared there; cycles are predicted for each."""
    exit = "layer.0.ffn.norm"
    encoder = make(
        tmp_path, 3, HardwareConfig(multipliers=60), [4, 1, 6, 6], dict(layers=2, hidden=12, heads=2, intermediate=20, max_tokens=6), ("logits", exit)
    )
    assert "output logic [7:0] m_layer_0_ffn_norm_tdata" in (tmp_path / "encoder.sv").read_text()
    for stall in (0.0, 0.5):
        got, report = encoder.run(stall_out=stall)
        assert_equal(encoder, report)
        assert [t.tensor for t in report.per_tensor[-2:]] == ["m_layer_0_ffn_norm", "m_axis"] and np.array_equal(got.outputs, encoder.want["logits"].ravel())
        if not stall:
            guess, left = predict(Design(encoder.graph, encoder.folding), encoder.lengths).all, got.left[exit]
            assert_cycles(encoder, got)
            assert left.cycle[left.last].tolist() == pytest.approx(guess[exit], rel=TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize("intermediate", [311, 437])
def test_larger_encoders_with_odd_widths(intermediate, tmp_path):
    shape = dict(layers=1, hidden=92, heads=4, intermediate=intermediate, max_tokens=32, weight_bits=(1, 4), act_bits=(8,))
    encoder = make(tmp_path, 5, HardwareConfig(multipliers=400), [32, 7, 1, 32, 32, 20], shape)
    assert {s.channels for s in Design(encoder.graph, encoder.folding).streams.values() if s.layout.filled} >= {92, intermediate}
    got, report = encoder.run()
    assert_equal(encoder, report)
    assert_cycles(encoder, got)
