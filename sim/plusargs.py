# SPDX-License-Identifier: Apache-2.0
"""Arguments of a simulation: the settings of bench_control, and what is in the registers at power-up."""

from __future__ import annotations

from collections.abc import Mapping

from bitloom.sim.errors import SimulationError

SEEDS = 2**31 - 1  # Verilator takes 1 .. that; 0 is another one each time


def settings(
    *,
    stall_in: float,
    stall_out: float,
    seed: int,
    beats: Mapping[str, int],
    expect: int,
    timeout_cycles: int,
    drain_cycles: int,
    resets: int = 0,
    reset_within: int = 1,
    reset_cycles: int = 1,
) -> dict[str, int]:
    """The plusargs of bench_control and of the taps.

    beats   tap -> beats of a run that it may see; more end the simulation
    expect  beats at all sinks together, after which a run is over
    Raises SimulationError: a stall probability outside 0 <= p < 1.
    """
    for name, probability in (("stall_in", stall_in), ("stall_out", stall_out)):
        if not 0.0 <= probability < 1.0:
            raise SimulationError(f"{name}: got {probability}, must be at least 0 and less than 1")
    return {
        "stall_in": int(stall_in * 65536),
        "stall_out": int(stall_out * 65536),
        "bench_seed": seed & 0xFFFFFFFF,
        "expect": expect,
        "timeout": timeout_cycles,
        "drain": drain_cycles,
        "resets": resets,
        "reset_within": reset_within,
        "reset_cycles": reset_cycles,
    } | {f"beats_{name}": count for name, count in beats.items()}


def arguments(plusargs: dict[str, int]) -> list[str]:
    """On the command line, with random bits in the registers at power-up, by the bench's seed."""
    power_up = ("+verilator+rand+reset+2", f"+verilator+seed+{plusargs.get('bench_seed', 0) % SEEDS + 1}")
    return [*(f"+{key}={value}" for key, value in plusargs.items()), *power_up]
