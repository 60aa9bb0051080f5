# SPDX-License-Identifier: Apache-2.0
"""fifo and stream_fork: every beat once, in order, in the cycle that the headers promise."""

from pathlib import Path

import numpy as np
import pytest
from sweep import STALLS

from bitloom.sim.compare import assert_equal_streams
from bitloom.sim.errors import SimulationError
from bitloom.sim.unit import OutSpec, Stimulus, UnitCase, run_units

RTL = sorted((Path(__file__).parents[2] / "hw" / "rtl").glob("*.sv")) + [Path(__file__).parent / f"{unit}_unit.sv" for unit in ("fork", "fifo")]
FIFOS = [(2, 1, 1), (3, 8, 1), (4, 8, 1), (5, 8, 4), (16, 33, 1), (7, 61, 2), (64, 4, 5), (65, 8, 1), (300, 8, 1), (520, 20, 1)]  # depth, bits, lanes
BEATS = 600
ULTRA = {"RAM_STYLE": "ultra"}


def stimulus(bits: int, lanes: int, seed: int = 0, beats: int = BEATS) -> Stimulus:
    rng = np.random.default_rng(seed)
    return Stimulus(rng.integers(0, 1 << bits, size=(beats, lanes)), rng.random(beats) < 0.1, bits)


def fifo_cases() -> list[UnitCase]:
    return [
        UnitCase(
            "fifo_unit",
            {"WIDTH": bits * lanes, "DEPTH": depth, **style},
            {"s": stimulus(bits, lanes, depth)},
            OutSpec("m", lanes, bits, False),
            BEATS,
        )
        for depth, bits, lanes in FIFOS
        for style in ({}, ULTRA)[: 1 + (depth > 64)]
    ]


def fork_cases() -> list[UnitCase]:
    outs = [OutSpec(f"m{i}", 2, 9, False) for i in range(3)]
    return [UnitCase("fork_unit", {"WIDTH": 18}, {"s": stimulus(9, 2)}, outs[0], BEATS, tuple((o, BEATS) for o in outs[1:]))]


def simulate(stall_in: float = 0.0, stall_out: float = 0.0, seed: int = 0):
    """All cases in one simulation (one build for this file): [(case, result)], the fork's last."""
    cases = fifo_cases() + fork_cases()
    results = run_units(cases, RTL, stall_in=stall_in, stall_out=stall_out, seed=seed)
    for case, result in zip(cases, results, strict=True):
        for part in (result, *result.more):
            assert_equal_streams(f"{case.module} {dict(case.params)}", part, case.inputs["s"].beats, case.inputs["s"].last)
    return list(zip(cases, results, strict=True))


def test_cycles_without_stalls():
    *fifos, (_, fork) = simulate()
    for case, result in fifos:
        assert (result.cycle == np.arange(BEATS) + 1).all(), f"{dict(case.params)}: latency 1, II 1"
    for part in (fork, *fork.more):
        assert (part.cycle == np.arange(BEATS)).all(), "latency 0, II 1"


@pytest.mark.parametrize(("stall_in", "stall_out"), [*STALLS[1:], (0.0, 0.95), (0.95, 0.0)])
def test_stalls_lose_nothing(stall_in, stall_out):
    simulate(stall_in, stall_out, seed=7)


def test_fifo_holds_depth_beats():
    """Under a slow reader the fill level reaches DEPTH and never passes it."""
    for case, result in simulate(stall_out=0.95)[:-1]:
        events = np.arange(int(result.cycle[-1]) + 1)
        taken = np.searchsorted(result.inputs["s"].cycle, events, side="right")
        left = np.searchsorted(result.cycle, events, side="right")
        assert (taken - left).max() == case.params["DEPTH"], dict(case.params)


@pytest.mark.slow  # one memory of the kind goes round in the tests above
def test_a_fifo_in_several_ultrarams_goes_round():
    """Three chunks, two of them side by side in the first memory; the slow reader fills all, and the addresses go round."""
    beats = 12_000
    case = UnitCase("fifo_unit", {"WIDTH": 30, "DEPTH": 9_000, **ULTRA}, {"s": stimulus(30, 1, beats=beats)}, OutSpec("m", 1, 30, False), beats)
    (result,) = run_units([case], RTL, stall_out=0.9, resets=0)
    assert_equal_streams("fifo_unit", result, case.inputs["s"].beats, case.inputs["s"].last)


def test_fork_branches_are_independent():
    """A branch takes its beat without waiting; the input beat moves with the last branch."""
    _, result = simulate(stall_out=0.5)[-1]
    branches = np.stack([result.cycle, *(part.cycle for part in result.more)])
    assert (result.inputs["s"].cycle == branches.max(axis=0)).all()
    for branch in branches:
        assert (branch < branches.max(axis=0)).any() and (branch > branches.min(axis=0)).any()


def test_fifo_refuses_depth_1(tmp_path):
    """A $fatal in the hardware ends in an error that quotes it."""
    case = UnitCase("fifo", {"WIDTH": 8, "DEPTH": 1}, {"s": stimulus(8, 1)}, OutSpec("m", 1, 8, False), BEATS)
    with pytest.raises(SimulationError, match="DEPTH must be at least 2"):
        run_units([case], RTL, folder=tmp_path)
