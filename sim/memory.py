# SPDX-License-Identifier: Apache-2.0
"""How the external memory of a simulated encoder behaves (sim/hdl/axi_memory.sv)."""

from __future__ import annotations

from dataclasses import dataclass

from bitloom.hw.plan.folding import Memory

WEIGHTS = "weights"  # the external memory in a bench


@dataclass(frozen=True, kw_only=True)
class MemoryOptions:
    """How external memory behaves in simulation, where it is not as the design counts on it (sim/hdl/axi_memory.sv); None: as that.

    latency, cycles, beats        `beats` beats in `cycles` cycles, the first of a burst behind `latency` of them
    refresh_every, refresh_for    of so many cycles, so many give nothing
    stall, busy, errors           share of cycles without a beat, in which no address is taken, and of beats that are errors
    jitter                        cycles more of latency, at most, another number each burst
    error_address                 of the byte whose beat is an error; -1: of none
    """

    latency: int | None = None
    cycles: int | None = None
    beats: int | None = None
    refresh_every: int = 0
    refresh_for: int = 0
    stall: float = 0.0
    busy: float = 0.0
    errors: float = 0.0
    jitter: int = 0
    error_address: int = -1

    def plusargs(self, memory: Memory, seed: int) -> dict[str, int]:
        """Of the memory `weights`, which the design counts on as `memory`."""
        said = {key: getattr(self, key) or getattr(memory, key) for key in ("latency", "cycles", "beats")}
        said |= {key: int(getattr(self, key) * 65536) for key in ("stall", "busy", "errors")}
        said |= {
            "refresh_every": self.refresh_every,
            "refresh_for": self.refresh_for,
            "jitter": self.jitter,
            "error_addr": self.error_address,
            "seed": seed + 1,
        }
        return {f"{WEIGHTS}_{key}": value for key, value in said.items()}
