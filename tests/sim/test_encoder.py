# SPDX-License-Identifier: Apache-2.0
"""The whole-encoder bench on a small stand-in (chain.sv): it passes when all is well and names the place of each planted mistake."""

import re
from dataclasses import replace

import chain_encoder as chain
import numpy as np
import pytest
from sweep import plain_or_slow

from bitloom.hw.instance import Layout
from bitloom.hw.plan.streams import Stream
from bitloom.sim.bare import run_bare
from bitloom.sim.encoder import Options, run_encoder
from bitloom.sim.errors import SimulationError
from bitloom.sim.verify import compare, expected_last, locate

LENGTHS = [3, 1, 7, 2]
VALUES = sum(LENGTHS) * (4 + 2 + 2)  # double, logits, and logits at m_axis


def verify(folder, fault="none", beat=9, **settings):
    sentences = chain.sentences(LENGTHS)
    run = run_encoder(
        chain.write_build(folder / "build", fault, beat),
        sentences,
        Options(timeout_cycles=2000, drain_cycles=100, folder=folder / "work", **settings),
    )
    return run, compare(chain.graph(), chain.golden(sentences), run)


@pytest.mark.parametrize("stalls", plain_or_slow([(0.0, 0.0), (0.5, 0.5), (0.0, 0.9), (0.9, 0.0)], [(0.0, 0.0), (0.5, 0.5)]))
def test_all_equal(tmp_path, stalls):
    run, report = verify(tmp_path, stall_in=stalls[0], stall_out=stalls[1], seed=5)
    assert report.ok and report.values_compared == VALUES and report.mismatches == 0 and report.first is None
    assert str(report) == f"{VALUES} values compared, 0 mismatches"
    assert run.taps["double"].shape == (sum(LENGTHS) * 4,) and list(run.lengths) == LENGTHS


def test_cycles(tmp_path):
    """Two beats a token without a gap; two cycles from the last beat of a sentence to its last output: two FIFOs."""
    run, _ = verify(tmp_path)
    ends = np.cumsum(LENGTHS) * 2 - 1
    assert run.in_first_cycle.tolist() == [0, *(ends[:-1] + 1)]
    assert run.out_last_cycle.tolist() == (ends + 2).tolist()
    assert (run.streams["embeddings.sum"].cycle == np.arange(26)).all()
    assert run.cycles > ends[-1] and run.wall_seconds > 0


def test_wrong_value(tmp_path):
    _, report = verify(tmp_path, "value")
    first = report.first
    # beat 9 of 2 lanes: token 4 of the batch is token 0 of sentence 2; a changed value also reaches the logits, twice recorded
    assert not report.ok and report.mismatches == 3
    assert (first.tensor, first.what, first.sentence, first.token, first.channel, first.lane) == (
        "double",
        "value",
        2,
        0,
        2,
        0,
    )
    assert first.got == first.want ^ 1
    assert "first at double: sentence 2 token 0 channel 2 (lane 0)" in str(report)


@pytest.mark.parametrize("stall", [0.0, 0.6])
def test_lost_beat(tmp_path, stall):
    run, report = verify(tmp_path, "lost", stall_in=stall, stall_out=stall)
    double = report.per_tensor[0]
    assert not report.ok and double.tensor == "double" and double.lost == 2 and double.extra == 0
    assert (report.first.tensor, report.first.sentence, report.first.token) == ("double", 2, 0)
    assert "25 of 26 output beats came" in report.problem


def test_extra_beat(tmp_path):
    _, report = verify(tmp_path, "extra")
    assert not report.ok and report.per_tensor[0].extra == 2 and report.per_tensor[0].lost == 0
    assert (report.first.tensor, report.first.sentence, report.first.token) == ("double", 2, 1)


def test_endless_beats_end_at_once(tmp_path):
    run, report = verify(tmp_path, "endless")
    assert re.search(r"stream double: rule broken in cycle \d+: beat 27 came, must be at most 26", report.problem) and run.cycles < 60
    assert len(run.streams["double"].beats) <= 28


def test_loss_at_the_very_end_has_a_place(tmp_path):
    _, report = verify(tmp_path, "lost", beat=25)
    assert report.first.tensor == "double" and report.first.got is None and "nothing (lost)" in str(report)
    assert (report.first.sentence, report.first.token, report.first.channel) == (3, 1, 2)


def test_wrong_last(tmp_path):
    run, report = verify(tmp_path, "last")
    assert not report.ok and report.per_tensor[0].different == 0 and report.per_tensor[0].last_errors == 1
    assert (report.first.tensor, report.first.what, report.first.got, report.first.want) == ("double", "last", 1, 0)
    assert (report.first.sentence, report.first.token) == (2, 0)


@pytest.mark.parametrize(("fault", "what"), [("unstable", "data changed while stalled"), ("dropped", "valid dropped")])
def test_broken_stream_rule(tmp_path, fault, what):
    _, report = verify(tmp_path, fault, stall_out=0.95, seed=1)
    assert not report.ok and "stream double: rule broken in cycle" in report.problem and what in report.problem


def test_reset_in_mid_run(tmp_path):
    """What was broken off does not show, but for the cycles that it took; a register without reset does."""
    run, report = verify(tmp_path, resets=3, reset_within=20, stall_in=0.3, stall_out=0.3)
    plain, _ = verify(tmp_path, stall_in=0.3, stall_out=0.3)
    assert report.ok and report.values_compared == VALUES and plain.cycles < run.cycles <= plain.cycles + 3 * 21
    assert (run.streams["double"].cycle == plain.streams["double"].cycle).all()
    with pytest.raises(SimulationError, match=r"stream double: run \d of 4: beat 0: got data .* as after the last reset"):
        verify(tmp_path, "kept", resets=3, reset_within=20)


def test_hang(tmp_path):
    run, report = verify(tmp_path, "hang")
    assert not report.ok and "9 of 26 output beats came, 2 of 4 sentences were taken, then nothing moved" in report.problem
    assert report.first.tensor == "double" and report.first.got is None
    assert len(run.out_last_cycle) == 2


@pytest.mark.parametrize("cocotb", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_without_taps_and_without_cocotb(tmp_path, cocotb):
    """Fewer taps or another main loop change speed, not results."""
    sentences = chain.sentences([5] * 40)
    build = chain.write_build(tmp_path / "build")
    want = chain.golden(sentences)["logits"].reshape(-1)
    run = run_encoder(build, sentences, Options(taps=False, timeout_cycles=2000))
    assert run.outputs.tolist() == want.tolist()
    if not cocotb:
        bare = run_bare(build, sentences, timeout_cycles=2000)
        assert bare.outputs.tolist() == want.tolist() and run.cycles == bare.cycles
    with pytest.raises(SimulationError, match="no record of tensor 'double'"):
        compare(chain.graph(), chain.golden(sentences), run)


@pytest.mark.slow
def test_waves(tmp_path):
    _, report = verify(tmp_path, waves=tmp_path / "waves.vcd")
    text = (tmp_path / "waves.vcd").read_text()
    assert report.ok and "$var" in text and "double_data" in text
    with pytest.raises(SimulationError, match="must end in .vcd or .fst"):
        verify(tmp_path, waves=tmp_path / "waves.png")


def test_identity(tmp_path):
    assert verify(tmp_path, identity="0123456789abcdef")[1].ok
    with pytest.raises(SimulationError, match="identity: got 0123456789abcdef, must be 00000000deadbeef"):
        verify(tmp_path, identity="00000000deadbeef")


def test_nothing_compared(tmp_path):
    run, _ = verify(tmp_path)
    with pytest.raises(SimulationError, match="compared 0 values"):
        compare(chain.graph(), {}, run)


@pytest.mark.parametrize(
    ("sentences", "message"),
    [
        ([], "got no sentence"),
        ([np.zeros((2, 5), dtype=np.int64)], r"sentence 0: got shape \(2, 5\), must be \[T, 4\]"),
        ([np.zeros((0, 4), dtype=np.int64)], "with T >= 1"),
        ([np.full((1, 4), 512)], "got codes 512 .. 512, must be -512 .. 511"),
    ],
)
def test_bad_sentences(tmp_path, sentences, message):
    with pytest.raises(SimulationError, match=message):
        run_encoder(chain.write_build(tmp_path), sentences)


def test_missing_streams(tmp_path):
    with pytest.raises(SimulationError, match=r"streams.json: not a list of streams .*bitloom build"):
        run_encoder(tmp_path, chain.sentences([1]))


def test_places_in_row_streams():
    """Order sentence, token i, head, token j; `last` ends each row."""
    info = Stream(tensor="p", wire="p", lanes=1, bits=8, signed=False, kind="row", layout=Layout(channels=1), heads=2)
    lengths = np.array([2, 3])
    values = 2 * (4 + 9)  # 2 heads
    assert np.flatnonzero(expected_last(values, info, lengths)).tolist() == [1, 3, 5, 7, 10, 13, 16, 19, 22, 25]
    assert locate(3, info, lengths, values) == (0, 0, 3)  # head 1, j 1
    assert locate(8 + 6 + 4, info, lengths, values) == (1, 1, 4)
    assert np.flatnonzero(expected_last(values, replace(info, keys="causal"), lengths)).tolist() == [0, 1, 3, 5, 6, 7, 9, 11, 14, 17]
    info = Stream(tensor="x", wire="x", lanes=2, bits=8, signed=False, kind="sentence", layout=Layout(channels=4))
    assert np.flatnonzero(expected_last(8, info, lengths)).tolist() == [1, 3]
    assert locate(6, info, lengths, 8) == (1, 0, 2)
