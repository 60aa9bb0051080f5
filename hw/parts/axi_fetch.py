# SPDX-License-Identifier: Apache-2.0
"""axi_fetch: several clients' reads of an external memory through one AXI4 port (hw/rtl/axi_fetch.sv): its cycles, memories and sizes."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

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

    def open(self, cycle: int) -> int:
        """The first cycle from that one on in which a memory with refreshes may give a beat."""
        phase = (cycle - self.start) % self.refresh_every
        return cycle + self.refresh_every - phase if phase and phase >= self.refresh_every - self.refresh_for else cycle

    def fit(self, due: int, cycle: int, most: int) -> int:
        """How many beats, at most `most`, follow the one that is due (in parts of 1 / beats cycles; it comes in `cycle`) before the next refresh."""
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
            at = ready = -(-due // parts)
            if at < first:
                at = first
            if memory.refresh_every:
                at = memory.open(at)
            if at != ready:
                due = at * parts  # time lost waiting is not made up for
            more = memory.fit(due, at, beats - 1) if memory.refresh_every else beats - 1  # beats before the next refresh
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


class Ended(NamedTuple):
    """A request that was served: its client, its number among that client's, and when."""

    client: int
    number: int
    served: Served


class _Client:
    """Requests of one client, in order. `offer` is the cycle from which on its next burst may be granted, while any is left that is known."""

    def __init__(self, index: int, beat_bytes: int, burst: int) -> None:
        self.index, self.beat_bytes, self.burst = index, beat_bytes, burst
        self.offer = 0
        self.number = -1  # of the request that is cut into bursts, or was last
        self.accepted = -1  # when that was
        self.left: deque[int] = deque()  # beats of each of its bursts that are not granted
        self.address = self.free = 0  # of its next burst; the cycle in which the one before made its place free
        self._waiting: deque[Request] = deque()
        self._loaded = (-1, -1)  # cycles in which the latest two left the queue of two

    def ask(self, request: Request) -> None:
        self._waiting.append(request)

    def load(self) -> bool:
        """The next request, if it is known."""
        if not self._waiting:
            return False
        request = self._waiting.popleft()
        self.number += 1
        self.accepted = max(request.cycle, self.accepted + 1, self._loaded[0] + 1)  # a cycle behind the one before, and behind the one that made room
        self._loaded = self._loaded[1], max(self.accepted + 1, self.free)
        self.left, self.address = deque(bursts(request.address, request.beats, self.beat_bytes, self.burst)), request.address
        self.offer = self._loaded[1] + 1
        return True


class Fetch:
    """The unit at work, burst by burst: cycles count from any one after reset, a memory's refresh from `start`.

    As a server of the timing network (hw/plan/requests.py: Next) it grants a burst when no earlier request can come.
    """

    def __init__(self, made: Instance, memory: ExternalMemory | Sdram):
        p = made.params
        self._beat_bytes = p["DATA_W"] // 8
        self._clients = [_Client(index, self._beat_bytes, p["BURST"]) for index in range(p["CLIENTS"])]
        self._offering: list[_Client] = []
        self._ends: deque[int] = deque([-1] * p["OUTSTANDING"], p["OUTSTANDING"])  # of the latest bursts, their last beats at R
        self._granted, self._turn, self._accepted, self._port = -1, 0, -1, memory.port()

    def ask(self, request: Request) -> None:
        """Raises BitloomError: a request that the unit would not take."""
        clients = len(self._clients)
        if not (0 <= request.client < clients and request.address % self._beat_bytes == 0 and 1 <= request.beats < 1 << 16):
            raise BitloomError(f"fetch: got {request}, must be of client 0 .. {clients - 1}, whole beats, 1 .. 65535 of them")
        client = self._clients[request.client]
        client.ask(request)
        if not client.left and client.load():
            self._offering.append(client)

    @property
    def due(self) -> int | None:
        """The cycle in which it is decided whose burst is next; None: none is asked for."""
        if not self._offering:
            return None
        offer = min([client.offer for client in self._offering])
        return offer if offer > self._granted else self._granted

    def step(self, until: int | None = None) -> Ended | None:
        """Grant bursts until one ends its request, or the next is decided behind the cycle `until`; one at least."""
        due = self.due
        while due is not None:
            ended, due = self._grant(due), self.due
            if ended or until is not None and due is not None and due > until:
                return ended
        return None

    def _grant(self, decided: int) -> Ended | None:
        """The burst of the first client, from the one behind the last one on, that offers one by that cycle."""
        client, count = self._offering[0], len(self._clients)
        if len(self._offering) > 1:
            client = min([c for c in self._offering if c.offer <= decided], key=lambda c: (c.index - self._turn) % count)
        granted = max(decided + 1, self._ends[0] + 1, self._accepted)
        address, beats = client.address, client.left.popleft()
        self._accepted, end = self._port.burst(granted + 1, address, beats)
        self._ends.append(end)
        self._granted, self._turn = granted, client.index + 1
        client.offer, client.free, client.address = granted + 1, granted, address + beats * self._beat_bytes
        if client.left:
            return None
        ended = Ended(client.index, client.number, Served(accepted=client.accepted, last=end + 1))
        if not client.load():
            self._offering.remove(client)
        return ended


def last_beats(requests: Sequence[Request], made: Instance, memory: ExternalMemory | Sdram) -> list[Served]:
    """When each request is served, where all are known.

    Raises BitloomError: a request that the unit would not take.
    """
    fetch, own = Fetch(made, memory), [[] for _ in range(made.params["CLIENTS"])]
    for number, request in enumerate(requests):
        fetch.ask(request)
        own[request.client].append(number)
    found: dict[int, Served] = {}
    while ended := fetch.step():
        found[own[ended.client][ended.number]] = ended.served
    return [found[number] for number in range(len(requests))]


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
