# SPDX-License-Identifier: Apache-2.0
"""The design: a graph and its folding as units, streams and ports. Emission, prediction, cost, HLS, FINN, taps and boards read nothing else.

A unit is an instance of an operator; it gives out one stream and takes others through ports, each behind a FIFO. A tensor that is read several times,
or read and given out, is forked. The first of the graph's outputs leaves at `m_axis`, each further one at `m_<wire>`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from bitloom.hw.graph import Graph, Node
from bitloom.hw.instance import Fold, Instance, Layout
from bitloom.hw.keys import PACK, SEGMENT
from bitloom.hw.ops import OPS, aside_of, gate_of, operands
from bitloom.hw.pack import pack
from bitloom.hw.parts import axi_fetch, by_turn, fifo, image_loader, stream_fork, unfold
from bitloom.hw.plan import fifos
from bitloom.hw.plan.folding import Folding
from bitloom.hw.plan.rolled import require_rolled, roll
from bitloom.hw.plan.streams import Stream, wire
from bitloom.hw.plan.units import Loop, Port, Unit, fifo_name, unit_name

SOURCE, SINK = "s_axis", "m_axis"
WAITING = 16  # borders that may come to a loop ahead of their sentences: those that the operators in front of it hold, of one token each; of packs, blocks too
LOOP, TURNS = "loop", "turns"  # in a rolled encoder: the instance, and the stream of turns that benches record


@dataclass(frozen=True, eq=False)
class Design:
    """A folded graph; its `graph` is the rolled one where the folding has fewer layers of hardware than the graph has."""

    whole: Graph
    folding: Folding

    @cached_property
    def graph(self) -> Graph:
        whole = pack(self.whole) if self.folding.pack and not self.whole.packed else self.whole
        if self.folding.layers and whole.around is None:
            return roll(whole, self.folding.layers, self.folding.inside, self.folding.recall)
        if whole.around is None:
            require_rolled(whole)
        return whole

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """The nodes that are hardware, in topological order."""
        return tuple(n for n in self.graph.nodes if not OPS[n.op].host)

    @cached_property
    def streams(self) -> dict[str, Stream]:
        """By tensor: the entry, then every unit's output, in topological order."""
        outputs = {name: SINK if i == 0 else f"m_{wire(name)}" for i, name in enumerate(self.graph.outputs)}
        folds = self.folding.folds
        layouts = {name: folds[n.name].layout_in for n in self.nodes for name in operands(self.graph, n)} | {
            n.name: folds[n.name].layout_out for n in self.nodes
        }
        made, packed = {}, self.graph.packed
        for name in (self.graph.entry, *(n.name for n in self.nodes)):
            tensor = self.graph.tensor(name)
            made[name] = Stream(
                tensor=name,
                wire=wire(name),
                lanes=self.folding.lanes[name],
                bits=tensor.bits,
                signed=tensor.signed,
                kind="token" if packed and tensor.kind == "sentence" else tensor.kind,
                layout=(tensor.kind != "row" and layouts.get(name)) or Layout(channels=tensor.channels),
                heads=int(tensor.shape[1]) if tensor.kind == "row" else 0,
                queries=self._queries(name) if tensor.kind == "row" else 1,
                keys=str(tensor.shape[2]) if tensor.kind == "row" else self._told(name),
                port=SOURCE if name == self.graph.entry else outputs.get(name, ""),
                turns=self.graph.carried(name),
                tokens=self._tokens(name),
                pack=self.graph.max_tokens if packed and name == self.graph.entry else 0,
            )
            if (tiled := self._folds[name]) and not self._unfolded(name):
                made[name] = replace(made[name], fold=tiled.pe, block=tiled.block)
        if ramp := self._ramp:  # what leaves is chosen from its turns
            answer = self.graph.outputs[0]
            made[answer] = replace(made[ramp], tensor=answer, wire=wire(answer), port=outputs[answer], turns=())
        return made

    def _told(self, tensor: str) -> str:
        """Keys of a stream that is no rows: as it depends on them."""
        if self.graph.packed and self.graph.tensor(tensor).kind == "sentence":
            return PACK
        return SEGMENT if tensor in aside_of(self.graph) else "T"

    @property
    def _ramp(self) -> str:
        """Of a rolled encoder whose sentences leave early: the tensor of logits that says which; "" of any other."""
        return self.graph.ramp if self.graph.around else ""

    def _tokens(self, tensor: str) -> tuple[str, ...]:
        """Of what its stream carries: alike in all turns, or of each turn."""
        graph, own = self.graph, self.graph.carried(tensor)
        shapes = [(graph.source if own else graph).tensor(name or tensor).shape for name in own or (tensor,)]
        found = tuple("T" if shape[0] == 1 else str(shape[0]) for shape in shapes)
        return found if len(set(found)) > 1 else found[:1]

    def _queries(self, tensor: str) -> int:
        """Tokens side by side in a row stream: as its producer gives them."""
        return self.folding.folds[tensor].queries

    @cached_property
    def _folds(self) -> dict[str, Fold | None]:
        """By tensor: the fold of the matrix unit that makes its producer's stream a folded one; None: it is none."""
        found: dict[str, Fold | None] = {self.graph.entry: None}
        for node in self.nodes:
            fold = self.folding.folds[node.name]
            found[node.name] = fold if fold.block else found[node.inputs[0]] if OPS[node.op].any_order else None
        return found

    def _unfolded(self, tensor: str) -> bool:
        """What its producer gives is folded, and its readers take tokens in order."""
        return self._folds.get(tensor) is not None and not any(self.folding.folds[n.name].folded for n in self.graph.readers(tensor))

    @property
    def unfolded(self) -> tuple[Stream, ...]:
        """Streams behind an `unfold`."""
        return tuple(stream for name, stream in self.streams.items() if self._unfolded(name))

    def unfold(self, stream: Stream) -> Instance:
        """What stands between such a stream's producer and the stream."""
        fold = self._folds[stream.tensor]
        return unfold.instance(elements=stream.layout.width, tokens=fold.block, lanes=stream.lanes, bits=stream.bits, fold=fold.pe, places=fold.places)

    def part_bus(self, tensor: str) -> str:
        """The bus that tells the turns of a folded stream's parts: that of the matrix unit which began it."""
        node = self.graph.node(tensor)
        while not self.folding.folds[node.name].block:
            node = self.graph.node(node.inputs[0])
        return f"{wire(node.name)}__parts"

    @cached_property
    def fetching(self) -> tuple[Unit, ...]:
        """The units that take weights from external memory: the first clients of `fetch`, in this order."""
        return tuple(unit for unit in self.units if unit.fold.block)

    @cached_property
    def fetch(self) -> Instance | None:
        """What reads the external memory; None: all weights are on the chip."""
        memory = self.folding.memory
        if memory is None:
            return None
        clients = len(self.fetching) + 1  # the last one is the loader
        return axi_fetch.instance(clients=clients, address_bits=32, data_bits=memory.data_bits, burst=memory.burst, outstanding=memory.outstanding)

    @property
    def loader(self) -> Instance | None:
        """What reads the image's header, but for the shapes that it must have; None: all weights are on the chip."""
        return self.folding.memory and image_loader.instance(data_bits=self.folding.memory.data_bits)

    @property
    def by_turn(self) -> bool:
        """The memories of the layers' units are loaded for each turn."""
        return self.loop is not None and self.folding.memory is not None and self.folding.memory.by_turn

    @cached_property
    def loop(self) -> Loop | None:
        """Of a rolled encoder."""
        graph = self.graph
        if graph.around is None:
            return None
        entry, back = (self.streams[name] for name in graph.around)
        params = {"TURNS": graph.count, "SENTENCES": graph.inside, "MAX_TOKENS": graph.max_tokens, "BEATS": entry.beats, "WIDTH": entry.width}
        if self._ramp:
            gate, logits = gate_of(graph.source), self.streams[self._ramp]
            params |= {"LABELS": logits.channels, "LOGIT_W": logits.bits, "PATIENCE": int(gate.attrs["patience"])}
            params["THRESHOLDS"] = sum(int(t) << turn * (logits.bits + 1) for turn, t in enumerate(graph.source.param(gate, "threshold")))
        ports = {
            prefix: Port(unit=LOOP, index=i, prefix=prefix, stream=stream, wire=f"{LOOP}__{prefix}", source=self.in_order(stream), depth=fifos.MIN_DEPTH)
            for i, (prefix, stream) in enumerate((("s", entry), ("b", back)))
        } | {port.prefix: port for port in self._ports.get(LOOP, ())}
        if graph.aside:
            told = self.streams[graph.aside]
            params |= {"BORDER_W": told.bits, "ALL": sum(all_keys << turn for turn, all_keys in enumerate(graph.everything))}
            params |= ({"RECALL": graph.recall} if graph.recall else {}) | ({"PACK": 1} if graph.packed else {})
            waiting = WAITING + 2 * graph.max_tokens * graph.packed
            ports["n"] = Port(unit=LOOP, index=3, prefix="n", stream=told, wire=f"{LOOP}__n", source=self.in_order(told), depth=waiting)
        turn = Stream(tensor=TURNS, wire=TURNS, lanes=1, bits=8, signed=False, kind="sentence", layout=Layout(channels=1), turns=("",) * graph.count)
        return Loop(
            entry=entry,
            back=back,
            new=ports["s"],
            returning=ports["b"],
            logits=ports.get("e"),
            borders=ports.get("n"),
            turn=turn,
            instance=Instance(module="loop", params=params),
        )

    @cached_property
    def instances(self) -> tuple[tuple[str, str, Instance], ...]:
        """All of encoder.sv, but for FIFOs of two beats in front of an `unfold`: (tensor whose cost it is, name, instance)."""
        found = [(unit.name, unit_name(unit), unit.instance) for unit in self.units]
        found += [(unit.name, fifo_name(port), fifo.instance(port.stream.width, port.depth)) for unit in self.units for port in unit.ports]
        found += [(stream.tensor, f"fork_{stream.wire}", stream_fork.instance(stream.width, len(self.readers[stream.tensor]))) for stream in self.forks]
        found += [(stream.tensor, f"unfold_{stream.wire}", self.unfold(stream)) for stream in self.unfolded]
        if self.fetch:
            found += [(self.entry.tensor, "u_fetch", self.fetch), (self.entry.tensor, "u_loader", self.loader)]
        if loop := self.loop:
            found += [(loop.back.tensor, fifo_name(port), fifo.instance(port.stream.width, port.depth)) for port in loop.ports]
            found.append((loop.back.tensor, "u_loop", loop.instance))
            found += [(loop.back.tensor, "u_by_turn", by_turn.instance(loop.entry.width))] * self.by_turn
        owner = self._ramp and loop.back.tensor
        found += [(owner or port.stream.tensor, fifo_name(port), fifo.instance(port.stream.width, port.depth)) for port in self.exits]
        return tuple(found)

    def styled(self, name: str, made: Instance) -> Instance:
        """An instance with the parameters that move its memories."""
        return replace(made, params=made.params | self.folding.styles[name]) if name in self.folding.styles else made

    def produced(self, stream: Stream) -> str:
        """The bundle that a stream's producer gives to: in front of an `unfold` one of its own."""
        return f"{stream.wire}__folded" if self._unfolded(stream.tensor) else self.in_order(stream)

    def in_order(self, stream: Stream) -> str:
        """The bundle behind that `unfold`: the stream's own, but for the first layer's input in a rolled encoder, where others join it, and its borders."""
        return f"{stream.wire}__new" if self.graph.around and stream.tensor in (self.graph.around[0], self.graph.aside) else stream.wire

    def offered(self, stream: Stream) -> str:
        """The bundle that a stream's readers take: its own, but for the last layer's output in a rolled encoder, of which they get the last turn.

        With off-ramps they take it in each turn, and the loop is one of them.
        """
        return f"{stream.wire}__leaves" if self.graph.around and not self._ramp and stream.tensor == self.graph.around[1] else stream.wire

    @property
    def entry(self) -> Stream:
        """What the host sends."""
        return self.streams[self.graph.entry]

    @property
    def outputs(self) -> tuple[Stream, ...]:
        """What leaves, in the graph's order: the first at `m_axis`."""
        return tuple(self.streams[name] for name in self.graph.outputs)

    @cached_property
    def units(self) -> tuple[Unit, ...]:
        """In topological order."""
        return tuple(
            Unit(
                name=n.name,
                node=n,
                op=OPS[n.op],
                fold=self.folding.folds[n.name],
                ports=self._ports[n.name],
                out=self.streams[n.name],
                graph=self.graph,
                by_turn=self.by_turn and len(self.graph.turns(n)) > 1,
            )
            for n in self.nodes
        )

    def unit(self, name: str) -> Unit:
        return self._by_name[name]

    @cached_property
    def exits(self) -> tuple[Port, ...]:
        """The encoder's outputs as readers of their tensors."""
        return self._ports[""]

    @cached_property
    def readers(self) -> dict[str, tuple[Port, ...]]:
        """By tensor: all that take it; the units' ports, then the encoder's outputs. Several are the branches of a fork, in this order."""
        found: dict[str, list[Port]] = {name: [] for name in self.streams}
        for ports in self._ports.values():
            for port in ports:
                found[port.stream.tensor].append(port)
        return {name: tuple(ports) for name, ports in found.items()}

    @property
    def forks(self) -> tuple[Stream, ...]:
        """The streams that several readers take."""
        return tuple(stream for name, stream in self.streams.items() if len(self.readers[name]) > 1)

    @property
    def interval(self) -> int:
        """Cycles between two sentences of max_tokens, as the matrix units alone allow."""
        return self.folding.interval

    @property
    def multipliers(self) -> int:
        return self.folding.multipliers

    def work(self, tokens: int, exit: int | None = None, border: int | None = None) -> int:
        """Multiply-accumulates that the hardware makes for one sentence of that many tokens: not those of zero weights that it leaves out.

        exit    the off-ramp at which it leaves; None: it passes all layers
        border  of a pair, tokens of the first sentence (hw/keys.py); None: not known
        """
        return sum(u.work(tokens, exit if exit is None else exit + 1, border) for u in self.units)

    @property
    def together(self) -> int:
        """Sentences that leave shortly after each other, as they go round together in a rolled encoder, or take turns in a recurrent unit; else 1."""
        return max(self.graph.inside if self.graph.around else 1, *(unit.fold.in_flight for unit in self.units))

    @property
    def behind(self) -> int:
        """Sentences that take turns with the last one that is counted: without them it would leave early. Of recurrent units, else 0."""
        return 0 if self.graph.around else self.together - 1

    @property
    def identity(self) -> str:
        """16 hex digits that the hardware tells: the first of the graph's hash."""
        return self.graph.hash[:16]

    @cached_property
    def _by_name(self) -> dict[str, Unit]:
        return {u.name: u for u in self.units}

    @cached_property
    def _ports(self) -> dict[str, tuple[Port, ...]]:
        """By unit, in topological order; last, under "", those of the encoder's outputs."""
        behind = {n.name: self._folds[n.name].block if self._unfolded(n.name) else 0 for n in self.nodes}
        depths = fifos.depths(self.graph, self.nodes, {name: stream.beats for name, stream in self.streams.items()}, self.folding.folds, behind)
        taken = [name for name, *_ in self._inputs()]
        ports: dict[str, list[Port]] = {n.name: [] for n in self.nodes} | ({LOOP: []} if self._ramp else {}) | {"": []}
        for tensor, unit, index, prefix in self._inputs():
            stream, owner = self.streams[tensor], wire(unit) if unit else prefix
            ports[unit].append(
                Port(
                    unit=unit,
                    index=index,
                    prefix=prefix,
                    stream=stream,
                    wire=f"{owner}__{prefix}" if unit else prefix,
                    source=f"{stream.wire}__to_{owner}_{index}" if taken.count(tensor) > 1 else self.offered(stream),
                    depth=depths.get((unit, index), fifos.MIN_DEPTH),
                )
            )
        return {name: tuple(own) for name, own in ports.items()}

    def _inputs(self) -> Iterator[tuple[str, str, int, str]]:
        """Every reading of a tensor: (tensor, unit, index, prefix)."""
        for node in self.nodes:
            for index, (prefix, name) in enumerate(OPS[node.op].takes(node)):
                yield name, node.name, index, prefix
        if self._ramp:
            yield self.graph.around[1], LOOP, 1, "b"
            yield self._ramp, LOOP, 2, "e"
        for index, name in enumerate(self.graph.outputs):
            yield name, "", index, self.streams[name].port
