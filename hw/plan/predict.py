# SPDX-License-Identifier: Apache-2.0
"""Predicted cycles of a whole encoder: its timing network, run for any mix of sentence lengths."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate

from bitloom.hw import image, pack
from bitloom.hw.instance import Instance
from bitloom.hw.keys import PACK, Border, Packs
from bitloom.hw.ops import aside_of
from bitloom.hw.parts import axi_fetch, unfold
from bitloom.hw.parts.by_turn import ByTurn
from bitloom.hw.parts.loop import Loop as LoopTiming
from bitloom.hw.parts.loop import PacksInside, Pairs
from bitloom.hw.parts.sdram import Sdram
from bitloom.hw.plan.design import LOOP, Design
from bitloom.hw.plan.fifos import MIN_DEPTH
from bitloom.hw.plan.folding import Memory
from bitloom.hw.plan.node_timing import node_interval
from bitloom.hw.plan.streams import Borders, each_border
from bitloom.hw.plan.timing import Channel, Fork, Process, run, sink, source

# External memory: the network is run again with what each request would have met in the run before, until requests come as they did then.
WAITS = 3  # such rounds in which each request waits as long as before; in those behind them it is served in the same cycle as before
CROWDED = 0.1  # of the estimated end, by which such a round may move it; the memory has no time left where it is more: no such rounds then
ROUNDS = 60
SETTLED = 0.001  # of the run's cycles, by which no request may have moved
REPLAYED = 20_000  # bursts of a run, up to which that is done
BUDGET = 6 * REPLAYED  # bursts of all rounds, some 10 microseconds each


External = axi_fetch.ExternalMemory | Sdram


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """Cycles per sentence, counted from the first accepted input beat of the first sentence.

    out_last  of the graph's first output; all: of every output, by tensor
    together  sentences that leave shortly after each other: those of Design.together packs where they come in packs
    settled   no waiting for external memory is only estimated, and the estimates have come to rest
    """

    lengths: list[int]
    in_first: list[int]
    out_last: list[int]
    all: dict[str, list[int]] = field(default_factory=dict)
    together: int = 1
    settled: bool = True

    @property
    def latency(self) -> list[int]:
        """First beat in to last beat out, per sentence."""
        return [out - start for start, out in zip(self.in_first, self.out_last, strict=True)]

    @property
    def interval(self) -> float:
        return mean_interval(self.out_last, self.together)


def mean_interval(ends: Sequence[int], together: int, behind: int = 0) -> float:
    """Mean cycles between the sentences' last beats, those of the first `together` left out but the last of them, and the last `behind`; 0 where there are
    no more."""
    count = len(ends) - together - behind
    return (int(ends[-1 - behind]) - int(ends[together - 1])) / count if count > 0 else 0.0


def predict(
    design: Design,
    lengths: Sequence[int],
    starts: Sequence[int] | None = None,
    *,
    external: External | None = None,
    exits: Sequence[int] | None = None,
    borders: Borders = None,
    left_out: Sequence[int] | None = None,
    packs: Packs | None = None,
) -> Prediction:
    """Back-to-back sentences of these lengths through the whole encoder, source and sinks never stalling; in packs, where it takes them (hw/pack.py).

    starts    of sentences that come apart: the earliest cycle of each one's first beat, from 0 on; of a pack that of its first one counts
    external  the memory of the weights, where it is known better than by what the design counts on at most
    exits     of a rolled encoder with off-ramps: at which each sentence leaves (bitloom.hw.golden.exits); None: all at the last
    borders   of pairs, where keys depend on it: tokens of the first sentence of each, as sent (bitloom.hw.golden.borders); None: as plans count them
    packs     of one that takes packs: of each the tokens of its sentences; None: as the host makes them
    left_out  of an encoder that keeps first sentences: tokens of each that are not sent (hw/recall.py); None: all are sent

    How long requests of external memory wait for each other is first estimated. Where they are not too many, the network is run again with what each of
    them would have met behind hw/rtl/axi_fetch.sv, had they come in the cycles of the run before.
    """
    if design.graph.packed:
        borders = packs or pack.packs_of(lengths, design.graph.max_tokens)
        starts = starts and [starts[first] for first in pack.firsts(borders)[:-1]]
        lengths = [sum(own) for own in borders]
    borders = [design.graph.border(n) for n in lengths] if borders is None else each_border(lengths, borders)
    told = (None if exits is None else list(exits), borders, list(left_out or [0] * len(lengths)))
    if design.folding.memory is None:
        return _run(design, lengths, starts, None, *told)
    memory = design.folding.memory
    external = external or axi_fetch.ExternalMemory.planned(memory)
    estimated = Estimated(_known(memory, external))
    estimate = _run(design, lengths, starts, estimated, *told)
    bursts = max(1, sum(request.beats for request in estimated.requests) // memory.burst)
    port, found, settled, waits = estimated, estimate, False, WAITS
    for number in range(min(ROUNDS, BUDGET // bursts) if bursts <= REPLAYED else 0):
        before = port.requests
        port = (Replayed if number < waits else Held)(design.fetch, external, before)
        found = _run(design, lengths, starts, port, *told)
        if settled := _moved(before, port.requests) <= SETTLED * found.out_last[-1]:
            break
        if number < waits and abs(found.out_last[-1] - estimate.out_last[-1]) > CROWDED * estimate.out_last[-1]:
            port, found, waits = estimated, estimate, 0
    return replace(found, settled=settled)


def _known(memory: Memory, external: External) -> Memory:
    """What the design counts on, or the mean rate of the memory that is known better."""
    if not isinstance(external, Sdram):
        return memory
    cycles, beats = external.rate(memory.burst)
    return replace(memory, latency=external.alone(1), cycles=cycles, beats=beats)


def _moved(before: Sequence[axi_fetch.Request], now: Sequence[axi_fetch.Request]) -> int:
    """By how many cycles a request came earlier or later, at most; each client's come in order."""
    pairs = zip(*(sorted(requests, key=lambda r: r.client) for requests in (before, now)), strict=True)
    return max((abs(a.cycle - b.cycle) for a, b in pairs), default=0)


def _run(
    design: Design,
    lengths: Sequence[int],
    starts: Sequence[int] | None,
    port: Estimated | Replayed | None,
    exits: Sequence[int] | None,
    borders: Sequence[Border],
    left_out: Sequence[int],
) -> Prediction:
    """lengths: of what is sent, packs or sentences. port: of external memory; None: there is none. exits, borders, left_out: see `predict`."""
    takers = [p for unit in design.units for p in unit.ports] + [p for p in (design.loop.ports if design.loop else ()) if p is not design.loop.new]
    edges = {(p.unit, p.index): Channel(p.wire, depth=p.depth) for p in takers}
    results = {p.stream.tensor: Channel(p.wire) for p in design.exits}
    outs: dict[str, Channel | Fork] = {}
    for tensor, readers in design.readers.items():
        branches = [edges[p.unit, p.index] if p.unit else results[tensor] for p in readers]
        outs[tensor] = branches[0] if len(branches) == 1 else Fork(branches)
    processes: dict[str, Process] = {f"sink {tensor}": sink(result) for tensor, result in results.items()}
    channels = [*edges.values(), *results.values()]
    if aside_of(design.graph):
        for channel in edges.values():
            channel.borders = borders
    for client, unit in enumerate(design.fetching):
        edges[unit.name, 0].memory = ClientPort(port, client)
    if design.loop:
        channels += _go_round(design, port, processes, outs, edges, exits, (borders, left_out))
    for stream in design.unfolded:
        folded, made = Channel(f"{stream.wire} folded", depth=MIN_DEPTH), design.unfold(stream)
        processes[f"unfold {stream.tensor}"] = unfold.timing(made.params, folded, outs[stream.tensor])
        channels.append(folded)
        outs[stream.tensor] = folded
    entry = outs[design.entry.tensor]
    first_edge = entry if isinstance(entry, Channel) else entry.branches[0]
    processes["source"] = source(entry, lengths, design.entry.beats, starts=starts)
    for unit in design.units:
        processes[unit.name] = unit.timing([edges[unit.name, p.index] for p in unit.ports], outs[unit.name])
    run(processes, channels)
    alone = [n for own in borders for n in own] if design.graph.packed else list(lengths)
    begins = [0, *accumulate(alone)][:-1]
    ends = {tensor: [t.last + result.latency for t in result.log if t.end] for tensor, result in results.items()}
    for tensor, result in results.items() if design.graph.packed else ():  # `end` is that of a pack
        last = accumulate([1] * len(alone) if design.streams[tensor].keys == PACK else alone)
        ends[tensor] = [result.log[i - 1].last + result.latency for i in last]
    first = design.outputs[0].tensor
    return Prediction(
        lengths=alone,
        in_first=[first_edge.log[i].first for i in begins],
        out_last=ends[first],
        all=ends,
        together=sum(map(len, borders[: design.together])) if design.graph.packed else design.together,
    )


def steady_interval(design: Design) -> float:
    """Cycles between two sentences of max_tokens, all operators counted."""
    count = 3 * design.together if design.together > 1 else 4
    ends = predict(design, [design.graph.max_tokens] * (count + design.behind)).out_last[:count]
    return (ends[-1] - ends[-1 - design.together]) / design.together


@dataclass
class ClientPort:
    """What one unit sees of external memory."""

    port: Estimated | Replayed
    client: int

    def reserve(self, cycle: int, address: int, beats: int) -> int:
        """The cycle in which the last of the beats is at the unit, which asks in `cycle`."""
        request = axi_fetch.Request(client=self.client, cycle=cycle, address=address, beats=beats)
        self.port.requests.append(request)
        return self.port.last(request)


class Replayed:
    """External memory in the timing network: each request takes as long as it would have taken behind the fetch unit in the run before.

    Comes to rest in few rounds where the memory has time left; where it has none, requests that come too early wait for each other without end.
    """

    def __init__(self, fetch: Instance, external: External, before: Sequence[axi_fetch.Request]):
        self.requests: list[axi_fetch.Request] = []
        self.external = external
        self._found: dict[int, deque[tuple[int, int]]] = {}  # of each client's requests: cycles in which it came, in which it was served
        for request, served in zip(before, axi_fetch.last_beats(before, fetch, external), strict=True):
            self._found.setdefault(request.client, deque()).append((request.cycle, served.last))

    def last(self, request: axi_fetch.Request) -> int:
        came, served = self._found[request.client].popleft()
        return request.cycle + served - came


class Held(Replayed):
    """The same, but each request is served in the cycle in which it would have been, or when the memory has nothing else to do, if that is later."""

    def last(self, request: axi_fetch.Request) -> int:
        _, served = self._found[request.client].popleft()
        return max(served, request.cycle + 5 + self.external.alone(request.beats))


class Estimated:
    """External memory in the timing network: each request takes the earliest beats that are left behind its latency.

    Requests come in the order in which processes are evaluated, not of their cycles; so how they wait for each other is an estimate, what they take together
    is not.
    """

    def __init__(self, memory: Memory):
        self.memory = memory
        self._ends: list[int] = []  # of the busy spans, ascending, with their starts
        self._starts: list[int] = []
        self.requests: list[axi_fetch.Request] = []

    def last(self, request: axi_fetch.Request) -> int:
        end, memory = 0, self.memory
        begin, bursts = request.cycle + 5 + memory.latency, axi_fetch.bursts(request.address, request.beats, memory.data_bits // 8, memory.burst)
        if memory.cycles == memory.beats and min(bursts[:-1], default=2) >= 2:  # each begins behind the one before: together they take what one would
            return self._burst(begin, request.beats)
        for number, burst in enumerate(bursts):
            end = self._burst(max(begin + 2 * number, end + 1), burst)
        return end

    def _burst(self, begin: int, beats: int) -> int:
        """The cycle of the last beat of a burst whose first may come in the cycle `begin`."""
        left = -(-beats * self.memory.cycles // self.memory.beats)  # cycles of the port
        at = bisect_right(self._ends, begin)
        where = begin
        while True:
            until = self._starts[at] if at < len(self._starts) else None
            if until is None or where + left <= until:
                break
            if until > where:
                left -= until - where
            where, at = self._ends[at], at + 1
        end = where + left
        self._take(begin, end)
        return end - 1

    def _take(self, begin: int, end: int) -> None:
        """Everything from begin to end is busy now."""
        first, last = bisect_left(self._ends, begin), bisect_right(self._starts, end)
        if first < last:
            begin, end = min(begin, self._starts[first]), max(end, self._ends[last - 1])
        self._starts[first:last], self._ends[first:last] = [begin], [end]


def _go_round(
    design: Design,
    port: Estimated | Replayed | None,
    processes: dict[str, Process],
    outs: dict,
    edges: dict,
    exits: Sequence[int] | None,
    sent: tuple[Sequence[Border], Sequence[int]],
) -> list[Channel]:
    """The processes of a rolled encoder's loop, between the channels of its FIFOs, which are put in the place of its streams' in `outs`.

    port   of external memory
    outs   by tensor, what its producer gives to; edges: by unit and input, the channels in front of units and of the loop, which are told the turns
    exits  see `predict`; sent: its borders and left_out
    """
    loop, params = design.loop, design.loop.instance.params
    new = Channel(loop.new.wire, depth=loop.new.depth)
    returning = edges[loop.returning.unit, loop.returning.index]
    back, orders = Channel("loop back", depth=params["SENTENCES"] * params["MAX_TOKENS"] * params["BEATS"]), Channel("loop orders")
    gone, by_turn = Channel("loop left"), None
    if design.by_turn:
        by_turn = ByTurn(image.turn_loads(design, ClientPort(port, len(design.fetching)).reserve).load, gone)
    pairs = packs = None
    if loop.borders:
        asked, stream = edges[loop.borders.unit, loop.borders.index], loop.borders.stream.tensor
        everything, recall = design.graph.everything, design.graph.recall
        if design.graph.packed:
            packs = PacksInside(borders=sent[0], asked=asked, told=outs[stream])
        else:
            pairs = Pairs(borders=sent[0], left_out=sent[1], everything=everything, recall=recall, asked=asked, told=outs[stream])
        outs[stream] = asked
    timing = LoopTiming(params["TURNS"], params["SENTENCES"], exits, by_turn, pairs, packs)
    for (unit, _), channel in edges.items():
        channel.turns = timing.entered
        if (pairs or packs) and unit != LOOP and design.unit(unit).turns > 1:
            channel.borders = timing.borders
    processes["loop enter"] = timing.enter(new, back, orders, outs[loop.entry.tensor])
    outs[loop.entry.tensor] = new
    if loop.logits:
        answer = outs[design.outputs[0].tensor]
        processes["loop leave"] = timing.drop(returning, back)
        processes["loop decide"] = timing.decide(edges[loop.logits.unit, loop.logits.index], orders, answer)
    else:
        processes["loop leave"] = timing.leave(returning, back, outs[loop.back.tensor], orders)
        outs[loop.back.tensor] = returning
    return [new, back, orders, gone]


def stage_intervals(design: Design, tokens: int) -> dict[str, int]:
    """Steady-state cycles per sentence of that many tokens, for each unit alone; of a rolled encoder, in all turns."""
    return {unit.name: node_interval(design.graph, unit.node, unit.fold, design.graph.taken(unit.node, tokens)) for unit in design.units}
