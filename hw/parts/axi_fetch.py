# SPDX-License-Identifier: Apache-2.0
"""axi_fetch: several clients' reads of an external memory through one AXI4 port (hw/rtl/axi_fetch.sv): its cycles, memories and sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from bitloom.hw.cost.memories import Memory
from bitloom.hw.errors import BitloomError
from bitloom.hw.instance import Instance, Module, Params, Terms
from bitloom.hw.parts.sdram import Sdram


@dataclass(frozen=True, kw_only=True)
class ExternalMemory:
    """When a memory behind an AXI4 port gives its beats (sim/hdl/axi_memory.sv has the same settings).

    latency        cycles from AR accepted to the burst's first beat, where nothing else is in its way, at least 1
    cycles, beats  `beats` beats in `cycles` cycles at most
    refresh_every  of that many cycles, counted from cycle `start` on, the last refresh_for give no beat; 0: all may
    """

    latency: int
    cycles: int = 1
    beats: int = 1
    refresh_every: int = 0
    refresh_for: int = 0
    start: int = 0

    @classmethod
    def planned(cls, memory) -> ExternalMemory:
        """As a design counts on it (hw/plan/folding.py: Memory)."""
        return cls(latency=memory.latency, cycles=memory.cycles, beats=memory.beats)

    def port(self) -> Port:
        """Its read port, with nothing under way."""
        return Port(self)

    def alone(self, beats: int) -> int:
        """Cycles from AR accepted to the last of so many beats, where nothing is in their way."""
        return self.latency + -(-(beats - 1) * self.cycles // self.beats)

    def open(self, cycle: int) -> int:
        """The first cycle from that one on in which it may give a beat."""
        phase = (cycle - self.start) % self.refresh_every if self.refresh_every else 0
        return cycle + self.refresh_every - phase if phase and phase >= self.refresh_every - self.refresh_for else cycle

    def fit(self, due: int, cycle: int, most: int) -> int:
        """How many beats, at most `most`, follow the one that is due (in parts of 1 / beats cycles; it comes in `cycle`) before the next refresh."""
        if not self.refresh_every:
            return most
        closed = cycle - (cycle - self.start) % self.refresh_every + self.refresh_every - self.refresh_for
        return min(most, ((closed - 1) * self.beats - due) // self.cycles)


class Port:
    """When the bursts come that are asked for, in their order."""

    def __init__(self, memory: ExternalMemory):
        self.memory, self._due = memory, 0  # in parts of 1 / memory.beats cycles, when it may give its next beat

    def burst(self, cycle: int, address: int, beats: int) -> tuple[int, int]:
        """(cycle in which AR is accepted, that in which the last beat is at R) of a burst whose AR is there from `cycle` on."""
        memory, first, due, parts = self.memory, cycle + self.memory.latency, self._due, self.memory.beats
        while True:
            at = memory.open(max(-(-due // parts), first))
            due = due if at == -(-due // parts) else at * parts  # time lost waiting is not made up for
            more = memory.fit(due, at, beats - 1)  # beats before the next refresh
            end = -(-(due + more * memory.cycles) // parts)
            due += (more + 1) * memory.cycles
            beats -= more + 1
            if not beats:
                self._due = due
                return cycle, end


@dataclass(frozen=True, kw_only=True)
class Request:
    """client   which asks
    cycle    from which on it does; a client's requests in order
    address  of a byte, a multiple of a beat's
    beats    at least 1
    """

    client: int
    cycle: int
    address: int
    beats: int


@dataclass(frozen=True, kw_only=True)
class Served:
    """Cycles: of the request's acceptance, of its last beat at m_*."""

    accepted: int
    last: int


def instance(*, clients: int, address_bits: int, data_bits: int, burst: int, outstanding: int) -> Instance:
    """A fetch unit of `clients`; `burst` beats of data_bits bits, `outstanding` of them in flight."""
    return Instance(module=MODULE.name, params={"CLIENTS": clients, "ADDR_W": address_bits, "DATA_W": data_bits, "BURST": burst, "OUTSTANDING": outstanding})


def rate(burst: int, outstanding: int, memory: ExternalMemory) -> Fraction:
    """Beats a cycle of whole bursts that are asked for without a break, refresh apart; of a client alone `burst` / 2 at most."""
    period = Fraction(memory.cycles, memory.beats)
    return min(1 / period, outstanding * burst / (memory.latency + 2 + (burst - 1) * period))


def bursts(address: int, beats: int, beat_bytes: int, burst: int) -> list[int]:
    """Beats of each burst of a request."""
    first = min(beats, burst - address // beat_bytes % burst)
    whole, rest = divmod(beats - first, burst)
    return [first, *[burst] * whole, *[rest] * (rest > 0)]


class _Client:
    """Requests of one client, in order: `offer` is the cycle from which on its next burst may be granted; None: it has no more."""

    def __init__(self, requests: list[tuple[int, Request]], beat_bytes: int, burst: int) -> None:
        self.requests, self.beat_bytes, self.burst = requests, beat_bytes, burst
        self.accepted: list[int] = []
        self.loaded: list[int] = []  # cycle in which each left the queue of two
        self.offer: int | None = None
        self._load(0)

    def _load(self, free: int) -> None:
        """The next request; the one before made its place free in that cycle."""
        number = len(self.loaded)
        self.offer = None
        if number == len(self.requests):
            return
        request = self.requests[number][1]
        behind = [*self.accepted[-1:], *self.loaded[-2:-1]]  # a cycle behind the one before, and behind the one that made room
        self.accepted.append(max(request.cycle, *(cycle + 1 for cycle in behind), 0))
        self.loaded.append(max(self.accepted[number] + 1, free))
        self.left, self.address = bursts(request.address, request.beats, self.beat_bytes, self.burst), request.address
        self.offer = self.loaded[-1] + 1

    def grant(self, cycle: int) -> tuple[int, int, int | None]:
        """Address and beats of the burst that is granted, and the request that ends with it."""
        address, beats = self.address, self.left.pop(0)
        self.offer, self.address = cycle + 1, address + beats * self.beat_bytes
        if self.left:
            return address, beats, None
        ended = self.requests[len(self.loaded) - 1][0]
        self._load(cycle)
        return address, beats, ended


def last_beats(requests: Sequence[Request], made: Instance, memory: ExternalMemory | Sdram) -> list[Served]:
    """When each request is served; cycles count from any one after reset, a memory's refresh from `start`.

    Raises BitloomError: a request that the unit would not take.
    """
    p = made.params
    beat_bytes, clients = p["DATA_W"] // 8, []
    for number, request in enumerate(requests):
        if not (0 <= request.client < p["CLIENTS"] and request.address % beat_bytes == 0 and 1 <= request.beats < 1 << 16):
            raise BitloomError(f"fetch request {number}: got {request}, must be of client 0 .. {p['CLIENTS'] - 1}, whole beats, 1 .. 65535 of them")
    for client in range(p["CLIENTS"]):
        clients.append(_Client([(n, r) for n, r in enumerate(requests) if r.client == client], beat_bytes, p["BURST"]))
    ends: list[int] = []  # of each burst, its last beat at R
    last = dict.fromkeys(range(len(requests)), 0)
    granted, turn, accepted, port = -1, 0, -1, memory.port()
    while waiting := [c for c, client in enumerate(clients) if client.offer is not None]:
        free = ends[-p["OUTSTANDING"]] + 1 if len(ends) >= p["OUTSTANDING"] else 0
        decided = max(granted, min(clients[c].offer for c in waiting))
        chosen = min((c for c in waiting if clients[c].offer <= decided), key=lambda c: (c - turn) % p["CLIENTS"])
        granted = max(decided + 1, free, accepted)
        turn = chosen + 1
        address, beats, ended = clients[chosen].grant(granted)
        accepted, end = port.burst(granted + 1, address, beats)
        ends.append(end)
        if ended is not None:
            last[ended] = end + 1
    taken = {number: cycle for client in clients for (number, _), cycle in zip(client.requests, client.accepted, strict=True)}
    return [Served(accepted=taken[n], last=last[n]) for n in range(len(requests))]


def memories(p: Params) -> list[Memory]:
    """None of its own: those of its FIFO of bursts in flight."""
    return [Memory("routes", _route_bits(p), p["OUTSTANDING"], checked=False)] if p["OUTSTANDING"] > 2 else []


def _at_bits(p: Params) -> int:
    return p["ADDR_W"] - (p["DATA_W"] // 8 - 1).bit_length()


def _route_bits(p: Params) -> int:
    return p["CLIENTS"] + _at_bits(p) + (p["BURST"] - 1).bit_length() + 1


def terms(p: Params) -> Terms:
    return {"clients": p["CLIENTS"], "client_bits": p["CLIENTS"] * (_at_bits(p) + 16), "data_bits": p["DATA_W"], "route_bits": _route_bits(p)}


MODULE = Module(name="axi_fetch", terms=terms, memories=memories)
