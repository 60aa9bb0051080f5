# SPDX-License-Identifier: Apache-2.0
"""Predicted cycles of a whole encoder: its timing network, run for any mix of sentence lengths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from bitloom.hw import image, pack
from bitloom.hw.keys import PACK, Border, Packs
from bitloom.hw.ops import aside_of
from bitloom.hw.parts import axi_fetch, unfold
from bitloom.hw.parts.by_turn import ByTurn
from bitloom.hw.parts.loop import Loop as LoopTiming
from bitloom.hw.parts.loop import PacksInside, Pairs
from bitloom.hw.parts.sdram import Sdram
from bitloom.hw.plan.design import LOOP, Design
from bitloom.hw.plan.fifos import MIN_DEPTH
from bitloom.hw.plan.node_timing import node_interval
from bitloom.hw.plan.requests import Next, Process, Told
from bitloom.hw.plan.streams import Borders, each_border
from bitloom.hw.plan.timing import Channel, Fork, run, sink, source

External = axi_fetch.ExternalMemory | Sdram


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """Cycles per sentence, counted from the first accepted input beat of the first sentence.

    out_last  of the graph's first output; all: of every output, by tensor
    together  sentences that leave shortly after each other: those of Design.together packs where they come in packs
    """

    lengths: list[int]
    in_first: list[int]
    out_last: list[int]
    all: dict[str, list[int]] = field(default_factory=dict)
    together: int = 1

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
    """
    if design.graph.packed:
        borders = packs or pack.packs_of(lengths, design.graph.max_tokens)
        starts = starts and [starts[first] for first in pack.firsts(borders)[:-1]]
        lengths = [sum(own) for own in borders]
    borders = [design.graph.border(n) for n in lengths] if borders is None else each_border(lengths, borders)
    exits, left_out = None if exits is None else list(exits), list(left_out or [0] * len(lengths))
    return _run(design, lengths, starts, Fetching.of(design, external) if design.fetch else None, exits, borders, left_out)


def _run(
    design: Design,
    lengths: Sequence[int],
    starts: Sequence[int] | None,
    fetching: Fetching | None,
    exits: Sequence[int] | None,
    borders: Sequence[Border],
    left_out: Sequence[int],
) -> Prediction:
    """lengths: of what is sent, packs or sentences. fetching: external memory; None: there is none. exits, borders, left_out: see `predict`."""
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
    if fetching:
        processes["fetch"] = fetching.serve()
    for client, unit in enumerate(design.fetching):
        edges[unit.name, 0].memory = fetching.clients[client]
    if design.loop:
        channels += _go_round(design, fetching, processes, outs, edges, exits, (borders, left_out))
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


class Client:
    """What one unit sees of external memory.

    come  told of each request, in order: from when on its beats can be used
    """

    def __init__(self, fetch: axi_fetch.Fetch, number: int):
        self._fetch, self._number = fetch, number
        self.come = Told()

    def ask(self, cycle: int, address: int, beats: int) -> None:
        """For so many beats, in that cycle; those of a client come in order, those of different ones as the network is evaluated."""
        self._fetch.ask(axi_fetch.Request(client=self._number, cycle=cycle, address=address, beats=beats))


@dataclass
class Fetching:
    """External memory in the timing network: its clients, and the process that serves them."""

    fetch: axi_fetch.Fetch
    clients: list[Client]

    @classmethod
    def of(cls, design: Design, external: External | None) -> Fetching:
        fetch = axi_fetch.Fetch(design.fetch, external or axi_fetch.ExternalMemory.planned(design.folding.memory))
        return cls(fetch, [Client(fetch, number) for number in range(design.fetch.params["CLIENTS"])])

    def serve(self) -> Process:
        while True:
            if ended := (yield Next(self.fetch)):
                self.clients[ended.client].come.tell(ended.served.last + 1)


def _go_round(
    design: Design,
    fetching: Fetching | None,
    processes: dict[str, Process],
    outs: dict,
    edges: dict,
    exits: Sequence[int] | None,
    sent: tuple[Sequence[Border], Sequence[int]],
) -> list[Channel]:
    """The processes of a rolled encoder's loop, between the channels of its FIFOs, which are put in the place of its streams' in `outs`.

    outs   by tensor, what its producer gives to; edges: by unit and input, the channels in front of units and of the loop, which are told the turns
    exits  see `predict`; sent: its borders and left_out
    """
    loop, params = design.loop, design.loop.instance.params
    new = Channel(loop.new.wire, depth=loop.new.depth)
    returning = edges[loop.returning.unit, loop.returning.index]
    back, orders = Channel("loop back", depth=params["SENTENCES"] * params["MAX_TOKENS"] * params["BEATS"]), Channel("loop orders")
    gone, by_turn = Channel("loop left"), None
    if design.by_turn:
        by_turn = ByTurn(image.turn_loads(design, fetching.clients[-1]).load, gone)
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
