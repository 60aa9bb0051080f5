# SPDX-License-Identifier: Apache-2.0
"""Simulation of the synthesized netlist: the encoder as ECP5 cells, under the same bench as its RTL."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from bitloom.hw.synth.netlist import netlist, yosys_share
from bitloom.sim.encoder import EncoderRun, Options, check_sentences, simulate
from bitloom.sim.encoder_bench import bench_text, load_streams, longest_pause, promised_identity, read_folding
from bitloom.sim.runner import BENCH_FILES, HDL, QUICK, Model

# Yosys's models without those of other names for the same cells; how they are written, and a netlist is, are no mistakes.
ACCEPTED = ("-DNO_INCLUDES", "-Wno-WIDTH", "-Wno-UNOPTFLAT", "-Wno-PINMISSING", "-Wno-MULTITOP", "-Wno-TIMESCALEMOD", "-Wno-IMPLICIT")


def run_netlist(
    build_dir: Path,
    sentences: Sequence[np.ndarray],
    out: Path,
    *,
    timeout_cycles: int | None = None,
    wall_seconds: float = 3600.0,
    progress: Callable[[str], None] = lambda step: None,
) -> EncoderRun:
    """Synthesize a built encoder for ECP5 and simulate the netlist on sentences; its streams are gone, so only outputs are recorded.

    sentences  codes of `embeddings.sum`, int64 [T, C] each
    out        folder for the netlist; one that is there for the same sources is taken
    Raises SynthError: no Yosys, or it fails. SimulationError: as `bitloom.sim.encoder.run_encoder`.
    """
    build_dir = Path(build_dir)
    infos = load_streams(build_dir)
    check_sentences(sentences, infos[0])
    progress("synthesis")
    made = netlist(build_dir, Path(out))
    progress("simulation")
    share = yosys_share() / "lattice"
    bench = Model(
        sources=(*BENCH_FILES, share / "common_sim.vh", share / "ccu2c_sim.vh", HDL / "ecp5_cells.v", made),
        generated={"bench.sv": bench_text(infos, taps=False)},
        options=ACCEPTED,
        effort=QUICK,
    )
    pause = timeout_cycles or longest_pause(read_folding(build_dir))
    options = Options(taps=False, resets=1, timeout_cycles=pause, wall_seconds=wall_seconds, identity=promised_identity(build_dir))
    return simulate(bench, infos, sentences, options, memories=[])
