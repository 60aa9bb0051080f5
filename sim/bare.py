# SPDX-License-Identifier: Apache-2.0
"""The same encoder, source and sink under a plain C++ main loop: the yardstick for the cocotb simulation's speed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bitloom.hw import process
from bitloom.hw.plan.design import SINK, SOURCE
from bitloom.sim.encoder import expected_beats, link_memories, write_sentences
from bitloom.sim.encoder_bench import encoder_model, load_streams, longest_pause, read_folding, sinks
from bitloom.sim.errors import SimulationError
from bitloom.sim.plusargs import arguments, settings
from bitloom.sim.records import cycles_of, read_tap
from bitloom.sim.runner import HDL, TOP, compile_model


@dataclass(frozen=True, kw_only=True)
class BareRun:
    """outputs: int64, what left at m_axis, flat; cycles simulated; seconds of the simulation without the build."""

    outputs: np.ndarray
    cycles: int
    wall_seconds: float


def run_bare(build_dir: Path, sentences: Sequence[np.ndarray], *, timeout_cycles: int | None = None, wall_seconds: float = 3600.0) -> BareRun:
    """Simulate as `bitloom.sim.encoder.run_encoder` does without taps and stalls, but with no cocotb. timeout_cycles: as there.

    Raises SimulationError: the build fails, the simulation dies or takes longer than wall_seconds, outputs are missing.
    """
    infos = load_streams(build_dir)
    bench, main = encoder_model(build_dir, infos, taps=False, clock=False), HDL / "bare_main.cpp"
    executable = compile_model(replace(bench, generated=bench.generated | {main.name: main.read_text()}), "bare", [])  # the cache sees a change of it
    lengths = np.array([len(s) for s in sentences])
    beats = {s.port: expected_beats(s, lengths) for s in infos if s.port}
    expect = {s.port: beats[s.port] for s in sinks(infos)}
    pause = timeout_cycles or longest_pause(read_folding(build_dir))
    plusargs = settings(stall_in=0.0, stall_out=0.0, seed=0, beats=beats, expect=sum(expect.values()), timeout_cycles=pause, drain_cycles=2000)
    with process.scratch("bare") as work:
        link_memories(sorted(build_dir.glob("*.hex")), work)
        write_sentences(work / f"{SOURCE}.in", sentences, infos[0])
        began = time.monotonic()
        try:
            done = process.run([executable, *arguments(plusargs)], cwd=work, timeout=wall_seconds)
        except process.TimeoutExpired:
            raise SimulationError(f"{TOP} without cocotb: still running after {wall_seconds:.0f} s; give it more time or fewer sentences") from None
        if done.returncode:
            raise SimulationError(f"{TOP} without cocotb: got exit code {done.returncode}, must be 0")
        seconds = time.monotonic() - began
        sink = read_tap(work / f"{SINK}.tap", infos[-1].lanes, infos[-1].io_bits, True)
        if len(sink.beats) != expect[SINK]:
            raise SimulationError(f"{TOP} without cocotb: {len(sink.beats)} output beats came, must be {expect[SINK]}")
        return BareRun(outputs=sink.beats.reshape(-1), cycles=cycles_of(work)[0], wall_seconds=seconds)
