# SPDX-License-Identifier: Apache-2.0
"""The bench of single modules must fail: one planted mistake at a time in a module that passes beats through."""

from pathlib import Path

import numpy as np
import pytest
from chain_encoder import FAULTS
from sweep import plain_or_slow

from bitloom.hw.hexfile import Hex
from bitloom.sim.compare import assert_equal_streams
from bitloom.sim.errors import MismatchError, SimulationError
from bitloom.sim.records import RESET, Record, from_words, read_tap, to_words, write_source
from bitloom.sim.unit import OutSpec, Stimulus, UnitCase, run_units

FAULTY = [Path(__file__).parent / "faulty.sv"]
BEATS, AT = 400, 123
STALLS = plain_or_slow([0.0, 0.5], [0.5])  # of each mistake


def case(fault: str = "none", n_out: int = BEATS, seed: int = 0) -> UnitCase:
    rng = np.random.default_rng(seed)
    beats, last = rng.integers(-512, 512, size=(BEATS, 3)), rng.random(BEATS) < 0.2
    return UnitCase(
        "faulty",
        {"WIDTH": 30, "FAULT_FILE": Hex.pack([[FAULTS[fault]], [AT]], 16)},
        {"s": Stimulus(beats, last, 10)},
        OutSpec("m", 3, 10, True),
        n_out,
    )


def simulate(cases: list[UnitCase], folder: Path, **stalls) -> list:
    return run_units(cases, FAULTY, folder=folder, timeout_cycles=500, drain_cycles=50, **stalls)


def check(cases: list[UnitCase], folder: Path, **stalls) -> None:
    for one, result in zip(cases, simulate(cases, folder, **stalls), strict=True):
        assert_equal_streams(one.module, result, one.inputs["s"].beats, one.inputs["s"].last)


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_no_fault_passes(stall, tmp_path):
    check([case(), case(seed=1)], tmp_path, stall_in=stall, stall_out=stall)


def test_cycle_0_is_each_case_s_first_beat(tmp_path):
    for result in simulate([case(), case(seed=1)], tmp_path):
        assert (result.cycle == np.arange(BEATS)).all()
    for result in simulate([case(), case(seed=1)], tmp_path, stall_in=0.9):
        assert result.inputs["s"].cycle[0] == 0 and (result.cycle == result.inputs["s"].cycle).all()


def test_stalls_are_random_seeded_and_as_frequent_as_asked(tmp_path):
    def gaps(**settings):
        result, other = simulate([case(), case()], tmp_path, **settings)
        assert (result.cycle != other.cycle).any(), "each stream stalls on its own"
        return result.cycle

    first, again, else_seed = gaps(stall_in=0.5, seed=3), gaps(stall_in=0.5, seed=3), gaps(stall_in=0.5, seed=4)
    assert (first == again).all() and (first != else_seed).any()
    for settings in ({"stall_in": 0.5}, {"stall_out": 0.5}, {"stall_out": 0.75}):
        share = 1 - BEATS / gaps(**settings)[-1]
        assert abs(share - max(settings.values())) < 0.1, settings


@pytest.mark.parametrize("stall", STALLS)
def test_wrong_value(stall, tmp_path):
    wrong = rf"faulty: 1 of {3 * BEATS} values differ; first: beat {AT} lane 0 got -?\d+, must be -?\d+"
    with pytest.raises(MismatchError, match=wrong):
        check([case("value"), case(seed=1)], tmp_path, stall_in=stall, stall_out=stall)


@pytest.mark.parametrize("stall", STALLS)
def test_wrong_last(stall, tmp_path):
    with pytest.raises(MismatchError, match=f"`last` differs on 1 of {BEATS} beats; first: beat {AT}"):
        check([case(), case("last", seed=1)], tmp_path, stall_in=stall, stall_out=stall)


@pytest.mark.parametrize("stall", STALLS)
def test_lost_beat(stall, tmp_path):
    with pytest.raises(SimulationError, match=rf"faulty \(case 1\) port m: {BEATS - 1} of {BEATS} beats came"):
        check([case(), case("lost", seed=1)], tmp_path, stall_in=stall, stall_out=stall)


def test_lost_beat_is_found_even_if_fewer_are_expected(tmp_path):
    with pytest.raises(MismatchError, match=f"{BEATS - 1} beats of 3 came, must be {BEATS}"):
        check([case(), case("lost", n_out=BEATS - 1, seed=1)], tmp_path)


@pytest.mark.parametrize("stall", STALLS)
def test_extra_beat(stall, tmp_path):
    with pytest.raises(
        SimulationError, match=rf"faulty \(case 0\) port m: stream rule broken in cycle \d+ after reset: beat {BEATS + 1} came, must be at most {BEATS}"
    ):
        check([case("extra"), case(seed=1)], tmp_path, stall_in=stall, stall_out=stall)


def test_endless_beats_end_at_once(tmp_path):
    """A stream that never falls silent is cut off behind its last beat, and so is its record."""
    with pytest.raises(SimulationError, match=rf"faulty \(case 1\) port m: .* beat {BEATS + 1} came, must be at most {BEATS}"):
        check([case(), case("endless", seed=1)], tmp_path, resets=0)
    assert len(np.fromfile(tmp_path / "c1_m.tap", dtype=np.uint32)) in (2 * (BEATS + 1), 2 * (BEATS + 2))


@pytest.mark.parametrize(("fault", "what"), [("unstable", "data changed while stalled"), ("dropped", "valid dropped before the beat moved")])
def test_broken_stream_rule(fault, what, tmp_path):
    with pytest.raises(SimulationError, match=rf"faulty \(case 1\) port m: stream rule broken in cycle \d+ after reset: {what}"):
        check([case(), case(fault, seed=1)], tmp_path, stall_out=0.95)


def test_registers_begin_with_random_bits(tmp_path):
    """One that has no reset shows it: by the seed, and each instance has its own."""
    starts = set()
    for seed in range(4):
        both = simulate([case("kept"), case("kept", seed=1)], tmp_path, seed=seed, resets=0)
        starts.add(tuple(int(r.beats[0, 0] & 1) for r in both))
    assert len(starts) > 2


@pytest.mark.parametrize("stall", STALLS)
def test_register_without_reset(stall, tmp_path):
    """Random at power-up, and what it was at each reset: the runs before the last one are not as that one is."""
    where = (
        r"faulty \(case 1\) port m: run \d of 6: beat 0: got data [0-9a-f]+, last [01] in cycle \d+, must be data [0-9a-f]+, last [01] in cycle \d+, as after"
    )
    with pytest.raises(SimulationError, match=where):
        check([case(), case("kept", seed=1)], tmp_path, stall_in=stall, stall_out=stall)


def test_resets_come_in_random_cycles_and_do_not_show(tmp_path):
    """The records of the last run are all that comes back; those before it are read from the file."""

    def run(**settings):
        (result, _), raw = simulate([case(), case(seed=1)], tmp_path, stall_out=0.5, **settings), np.fromfile(tmp_path / "c0_m.tap", dtype=np.uint32)
        return result, raw.reshape(-1, 2)

    (plain, alone), (result, raw), (_, other) = run(resets=0), run(resets=4), run(resets=4, seed=1)
    marks, others = (np.flatnonzero(r[:, 0] == RESET) for r in (raw, other))
    assert len(marks) == len(others) == 4 and len(set(raw[marks, 1])) > 2 and max(raw[marks, 1]) <= BEATS
    assert raw[marks, 1].tolist() != other[others, 1].tolist() and len(raw) > len(alone) + 4
    for key in ("beats", "last", "cycle"):
        assert (getattr(plain, key) == getattr(result, key)).all()


def test_hang(tmp_path):
    with pytest.raises(SimulationError, match=rf"faulty \(case 0\) port s: accepted {AT} of {BEATS} beats.*{AT} of {BEATS} at m"):
        check([case("hang"), case(seed=1)], tmp_path)


def test_old_records_do_not_pass_for_new(tmp_path):
    check([case(), case(seed=1)], tmp_path)
    with pytest.raises(SimulationError, match="accepted"):
        check([case("hang"), case(seed=1)], tmp_path)


def test_comparing_nothing_is_a_failure():
    empty = Record(np.zeros((0, 2), dtype=np.int64), np.zeros(0, dtype=bool), np.zeros(0, dtype=np.int64))
    with pytest.raises(MismatchError, match="0 values to compare"):
        assert_equal_streams("x", empty, np.zeros((0, 2)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"beats": np.full((4, 3), 1024)}, "got codes 1024 .. 1024, must be -512 .. 1023 for 10 bits"),
        ({"beats": np.zeros((4, 3))}, "must be integers"),
        ({"last": np.zeros(3, dtype=bool)}, "must be integers"),
        ({"bits": 70}, "got 70 bits, must be 1 .. 62"),
    ],
)
def test_bad_stimulus(change, message):
    good = {"beats": np.zeros((4, 3), dtype=np.int64), "last": np.zeros(4, dtype=bool), "bits": 10}
    bad = UnitCase("faulty", {}, {"s": Stimulus(**(good | change))}, OutSpec("m", 3, 10, True), 4)
    with pytest.raises(SimulationError, match=message):
        run_units([bad], FAULTY)


def test_bad_arguments():
    with pytest.raises(SimulationError, match="got no case"):
        run_units([], FAULTY)
    with pytest.raises(SimulationError, match="0 beats expected"):
        run_units([case(n_out=0)], FAULTY)
    with pytest.raises(SimulationError, match="stall_out: got 1.0, must be"):
        run_units([case(), case(seed=1)], FAULTY, stall_out=1.0)


@pytest.mark.parametrize("bits", [1, 2, 7, 8, 13, 31, 32, 33, 61, 62])
@pytest.mark.parametrize("lanes", [1, 3, 9])
def test_words_hold_any_lanes(bits, lanes):
    rng = np.random.default_rng(bits)
    for signed in (True, False):
        low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
        beats = rng.integers(low, high, size=(50, lanes), endpoint=True)
        beats[0], beats[1] = low, high
        words = to_words(beats, bits)
        value = sum((int(code) & (1 << bits) - 1) << i * bits for i, code in enumerate(beats[5]))
        assert sum(int(w) << 32 * i for i, w in enumerate(words[5])) == value, "lane i at bit i * bits"
        assert (from_words(words, lanes, bits, signed) == beats).all()


def test_source_file(tmp_path):
    """Most significant byte first: zeros, last, lane 1, lane 0."""
    write_source(tmp_path / "x.in", np.array([[1, -1], [2, 3]]), np.array([False, True]), 12)
    assert (tmp_path / "x.in").read_bytes() == bytes([0, 0xFF, 0xF0, 0x01, 1, 0x00, 0x30, 0x02])


def test_cut_off_record(tmp_path):
    (tmp_path / "x.tap").write_bytes(bytes(20))
    with pytest.raises(SimulationError, match="got 5 words, must be a multiple of 2"):
        read_tap(tmp_path / "x.tap", 1, 8, False)
