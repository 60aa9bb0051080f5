# SPDX-License-Identifier: Apache-2.0
"""Whole encoders in simulation: golden model, ONNX Runtime and RTL agree on every value, the prediction on the cycles."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from encoders import ALL_BITS, draw_encoder, random_encoder, random_sentences

from bitloom.hw import golden
from bitloom.hw.build import build
from bitloom.hw.graph import Graph
from bitloom.hw.onnx_export import OnnxReferee, to_onnx
from bitloom.hw.plan.design import Design
from bitloom.hw.plan.folding import Folding
from bitloom.hw.plan.predict import predict
from bitloom.hw.plan.solve import HardwareConfig
from bitloom.sim.encoder import EncoderRun, Options, promised_identity, run_encoder
from bitloom.sim.verify import VerifyReport, compare

TOLERANCE = 0.01  # of a whole encoder's cycles; single operators are exact
RANDOM_ENCODERS = 20
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
        "shape": dict(layers=2, hidden=23, heads=1, head_dim=19, intermediate=37, max_tokens=12, labels=3, **ALL_BITS),
    },
    "heads side by side": {
        "seed": 15,
        "hardware": HardwareConfig(target_cycles=250),
        "lengths": [9, 3, 1, 12, 9, 1, 12, 12],
        "shape": dict(layers=1, hidden=32, heads=4, intermediate=24, max_tokens=12, labels=3, **ALL_BITS),
    },
    "odd heads, one lane": {
        "seed": 14,
        "hardware": HardwareConfig(multipliers=150),
        "lengths": [9, 3, 1, 9, 9, 1, 4, 7],
        "shape": dict(layers=1, hidden=33, heads=3, intermediate=31, max_tokens=9, labels=3, activation="relu", **ALL_BITS),
    },
}


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """A built encoder, sentences for it, and what all its tensors must be (bitloom.hw.golden.run's layout)."""

    graph: Graph
    folding: Folding
    folder: Path
    ids: list[list[int]]
    segments: list[list[int]]
    want: dict[str, np.ndarray]

    @property
    def lengths(self) -> list[int]:
        return [len(s) for s in self.ids]

    def run(self, **settings) -> tuple[EncoderRun, VerifyReport]:
        inputs = np.split(self.want[self.graph.entry], np.cumsum(self.lengths)[:-1])
        got = run_encoder(self.folder, inputs, Options(identity=self.graph.hash[:16], **settings))
        return got, compare(self.graph, self.want, got)

    def cycles(self, got: EncoderRun) -> dict[str, tuple[float, float]]:
        """(measured, predicted) of the first sentence's latency, the mix's mean interval and its end."""
        guess, last = predict(Design(self.graph, self.folding), self.lengths), got.out_last_cycle
        return {
            "latency": (int(last[0]), guess.out_last[0]),
            "interval": (int(last[-1] - last[0]) / (len(last) - 1), guess.interval),
            "end": (int(last[-1]), guess.out_last[-1]),
        }


def make(folder: Path, seed: int, hardware: HardwareConfig, lengths: list[int], shape: dict, outputs: tuple[str, ...] = ("logits",)) -> Encoder:
    graph = replace(random_encoder(seed, **shape), outputs=outputs)
    ids, segments = random_sentences(graph, lengths, seed)
    return Encoder(
        graph=graph,
        folding=build(graph, hardware, folder),
        folder=folder,
        ids=ids,
        segments=segments,
        want=golden.run(graph, ids, segments),
    )


def assert_equal(encoder: Encoder, report: VerifyReport) -> None:
    """No mismatch, and nothing left out: all tensors but the host's, and the output once more where it leaves."""
    made = [n.name for n in encoder.graph.nodes if n.op != "embed"]
    values = sum(encoder.want[name].size for name in [*made, *encoder.graph.outputs])
    assert report.ok and report.mismatches == 0, str(report)
    assert report.values_compared == values > 0


def assert_cycles(encoder: Encoder, got: EncoderRun) -> None:
    for what, (measured, predicted) in encoder.cycles(got).items():
        assert abs(measured - predicted) <= TOLERANCE * measured, f"{what}: {measured} cycles, {predicted} predicted"


def assert_onnx_agrees(encoder: Encoder) -> None:
    referee = OnnxReferee(to_onnx(encoder.graph), encoder.graph.hash).run(encoder.ids, encoder.segments)
    assert len(referee) >= 3
    for name, value in referee.items():
        assert value.size and np.array_equal(value, encoder.want[name]), name


@pytest.fixture(scope="module", params=CASES)
def encoder(request, tmp_path_factory) -> Encoder:
    return make(tmp_path_factory.mktemp("encoder"), **CASES[request.param])


# Channels, elements in the stream and lanes of each case's token streams.
STREAMS = {
    "sequence head, two lanes": {(24, 24, 2), (40, 40, 2)},
    "token head, few multipliers": {(15, 15, 1), (15, 18, 1), (21, 22, 1), (3, 3, 1)},
    "odd widths, filled streams": {(23, 24, 1), (19, 20, 1), (37, 40, 2)},
    "heads side by side": {(32, 32, 2), (24, 24, 2)},
    "odd heads, one lane": {(33, 33, 1), (33, 36, 1), (31, 32, 1)},
}


def test_the_cases_are_what_they_say(encoder):
    streams = Design(encoder.graph, encoder.folding).streams.values()
    assert {(s.channels, s.layout.width, s.lanes) for s in streams if s.kind == "token"} in STREAMS.values()
    assert len({n.attrs["weight_bits"] for n in encoder.graph.nodes if n.op == "linear"}) > 3
    assert {1, encoder.graph.max_tokens} <= set(encoder.lengths)


def test_heads_go_side_by_side_where_one_by_one_is_too_slow(encoder):
    rows = {s.lanes for s in Design(encoder.graph, encoder.folding).streams.values() if s.kind == "row"}
    assert rows == {4 if encoder.graph.meta["heads"] == 4 else 1}


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
    assert measured > without


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


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(RANDOM_ENCODERS))
def test_random_encoder(seed, tmp_path):
    encoder = make(tmp_path, **draw_encoder(seed))
    got, report = encoder.run()
    assert_equal(encoder, report)
    assert_cycles(encoder, got)
    assert_onnx_agrees(encoder)
