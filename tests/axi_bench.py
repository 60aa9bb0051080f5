# SPDX-License-Identifier: Apache-2.0
"""axi_fetch on axi_memory as a unit bench: setups with random requests, and what each client must get."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bitloom.hw.hexfile import Hex
from bitloom.hw.parts.axi_fetch import ExternalMemory
from bitloom.sim.runner import HDL
from bitloom.sim.unit import OutSpec, Stimulus, UnitCase, UnitResult

HERE = Path(__file__).parent / "rtl"
RTL = [*sorted((HERE.parents[1] / "hw" / "rtl").glob("*.sv")), HDL / "axi_memory.sv", HERE / "axi_unit.sv"]
BYTES = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Setup:
    """A fetch unit, its memory, and requests of each client: rows (address, beats)."""

    clients: int = 3
    data_bits: int = 64
    burst: int = 16
    outstanding: int = 4
    memory: ExternalMemory = ExternalMemory(latency=20)
    requests: tuple[np.ndarray, ...] = ()
    more: dict[str, int] = field(default_factory=dict)  # parameters of axi_unit

    @property
    def words(self) -> np.ndarray:
        """The memory: [beats, words of 32 bits]."""
        return np.random.default_rng(self.data_bits).integers(0, 1 << 32, (BYTES * 8 // self.data_bits, self.data_bits // 32))

    def want(self, client: int) -> tuple[np.ndarray, np.ndarray]:
        """Beats that a client gets, and their `last`."""
        table = self.requests[client]
        first = table[:, 0] * 8 // self.data_bits
        at = np.concatenate([np.arange(a, a + n) for a, n in zip(first, table[:, 1], strict=True)])
        last = np.zeros(len(at), bool)
        last[np.cumsum(table[:, 1]) - 1] = True
        return self.words[at], last

    def case(self) -> UnitCase:
        m = self.memory
        params = {
            "CLIENTS": self.clients,
            "DATA_W": self.data_bits,
            "BURST": self.burst,
            "OUTSTANDING": self.outstanding,
            "HEX": Hex.pack(self.words, 32),
            "BYTES": BYTES,
            "LATENCY": m.latency,
            "CYCLES": m.cycles,
            "BEATS": m.beats,
            "REFRESH_EVERY": m.refresh_every,
            "REFRESH_FOR": m.refresh_for,
        } | self.more
        inputs = {f"s{c}": Stimulus(t[:, :1] | t[:, 1:] << 32, np.zeros(len(t), bool), 48) for c, t in enumerate(self.requests)}
        lanes, own = self.data_bits // 32, range(self.clients)
        lost = self.more.get("FAULT") == 3  # a beat
        outs = [(OutSpec(f"m{c}", lanes, 32, False), int(self.requests[c][:, 1].sum()) - lost if c in own else 0) for c in range(3)]
        inputs |= {f"s{c}": Stimulus(np.zeros((0, 1), np.int64), np.zeros(0, bool), 48) for c in range(self.clients, 3)}
        return UnitCase("axi_unit", params, inputs, *outs[0], (*outs[1:], (OutSpec("e", 1, 35, False), int("FAULT" in self.more or "ERROR_ADDR" in self.more))))


def drawn(seed: int, clients: int, data_bits: int, count: int, longest: int) -> tuple[np.ndarray, ...]:
    """Random requests, some of one beat, some of many bursts."""
    rng, tables = np.random.default_rng(seed), []
    for _ in range(clients):
        beats = np.where(rng.random(count) < 0.2, 1, rng.integers(1, longest, count))
        first = rng.integers(0, BYTES * 8 // data_bits - longest, count)
        first[::5] &= -64  # some aligned
        tables.append(np.stack([first * data_bits // 8, beats], axis=1))
    return tuple(tables)


def setups() -> list[Setup]:
    memory = ExternalMemory
    return [
        Setup(requests=drawn(1, 3, 64, 120, 60)),
        Setup(clients=1, burst=64, outstanding=2, memory=memory(latency=1), requests=drawn(2, 1, 64, 120, 90)),
        Setup(clients=2, data_bits=128, burst=256, outstanding=3, memory=memory(latency=60, cycles=2), requests=drawn(3, 2, 128, 120, 300)),
        Setup(data_bits=512, burst=4, outstanding=16, memory=memory(latency=45, cycles=7, beats=5), requests=drawn(4, 3, 512, 120, 24)),
        Setup(
            data_bits=256,
            burst=2,
            outstanding=5,
            memory=memory(latency=9, cycles=3, beats=2, refresh_every=97, refresh_for=13),
            requests=drawn(5, 3, 256, 120, 20),
        ),
        Setup(clients=1, burst=8, outstanding=8, memory=memory(latency=30, refresh_every=50, refresh_for=9), requests=drawn(6, 1, 64, 120, 40)),
        Setup(burst=2, outstanding=9, memory=memory(latency=3), requests=drawn(7, 3, 64, 150, 4)),
    ]


def check_data(setup: Setup, result: UnitResult, where: str) -> None:
    parts = (result, *result.more)
    for client in range(setup.clients):
        beats, last = setup.want(client)
        got = parts[client]
        wrong = np.argwhere((got.beats != beats).any(axis=1) | (got.last != last)) if got.beats.shape == beats.shape else [["length"]]
        assert not len(wrong), f"{where} client {client}: {len(wrong)} of {len(beats)} beats differ, first {wrong[0]}"
