# SPDX-License-Identifier: Apache-2.0
"""The design: a graph and its folding as units, streams and ports. Emission, prediction, cost, HLS, FINN, taps and boards read nothing else.

A unit is an instance of an operator; it gives out one stream and takes others through ports, each behind a FIFO. A tensor that is read several times,
or read and given out, is forked. The first of the graph's outputs leaves at `m_axis`, each further one at `m_<wire>`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bitloom.hw.graph import Graph, Node
from bitloom.hw.instance import Fold, Instance, Layout
from bitloom.hw.keys import Keys
from bitloom.hw.ops import OPS
from bitloom.hw.ops.record import Operator
from bitloom.hw.parts import axi_fetch, fifo, image_loader, stream_fork, unfold
from bitloom.hw.plan import fifos
from bitloom.hw.plan.folding import Folding
from bitloom.hw.plan.rolled import roll

SOURCE, SINK = "s_axis", "m_axis"
LOOP, TURNS = "loop", "turns"  # in a rolled encoder: the instance, and the stream of turns that benches record


def wire(tensor: str) -> str:
    """The Verilog name of a tensor's stream."""
    return tensor.replace(".", "_")


@dataclass(frozen=True, kw_only=True)
class Stream:
    """A tensor on its way: the wires <wire>_{valid,ready,data,last}; an element is a code of `bits`, a beat `lanes` elements, lane 0 lowest.

    kind    `token`, `row` or `sentence` (docs/architecture.md)
    layout  of a token's channels in its beats
    heads   rows a token, of a row stream; 0 of others
    queries tokens side by side, of a row stream: its lanes are those of lanes / queries heads for each of them
    keys    those that a query sees, of a row stream, as its tensor's shape has them (hw/keys.py)
    port    the encoder's AXI4-Stream port that carries it, "" for a stream inside
    fold, block  of a folded stream (hw/rtl/blocks.sv): elements of a part, tokens of a block; 0: tokens are in order
    turns   of a stream that sentences pass several times, in a rolled encoder: the tensors of the whole graph that it carries, by turn
    """

    tensor: str
    wire: str
    lanes: int
    bits: int
    signed: bool
    kind: str
    layout: Layout
    heads: int = 0
    queries: int = 1
    keys: str = "T"
    port: str = ""
    turns: tuple[str, ...] = ()
    fold: int = 0
    block: int = 0

    @property
    def width(self) -> int:
        """Bits of a beat."""
        return self.lanes * self.bits

    @property
    def beats(self) -> int:
        """Of a token or a vector; of one element of the rows that go side by side."""
        return 1 if self.kind == "row" else self.layout.width // self.lanes

    @property
    def channels(self) -> int:
        """Of a token; 1 of a row stream."""
        return self.layout.channels

    @property
    def io_bits(self) -> int:
        """Bits of an element at the encoder's AXI4-Stream ports: whole bytes."""
        return io_bits(self.bits)

    @property
    def io_width(self) -> int:
        """Bits of a beat at the encoder's ports."""
        return self.lanes * self.io_bits

    def place(self, codes: np.ndarray) -> np.ndarray:
        """Codes of tokens [..., channels] -> what their beats carry [..., beats * lanes], zeros where the layout fills up."""
        return self.layout.place(codes)

    def take(self, elements: np.ndarray) -> np.ndarray:
        """The reverse, without the filled places."""
        return self.layout.take(elements)

    def order(self, lengths: np.ndarray) -> np.ndarray | None:
        """For each value in the order in which the stream carries them, its index in the golden tensor, flat; None: all of them, in order.

        lengths  tokens of each sentence
        """
        if self.kind == "row":
            if self.lanes == 1 and Keys.parse(self.keys).all:
                return None
            places = self._rows(lengths)
            return places[places >= 0]
        if self.fold:
            values = self._folded(lengths)
            return values[values >= 0]
        if self.layout.side == 1:
            return None
        channels = self.place(np.arange(self.channels))[self.filled_by_channels]
        tokens = int(lengths.sum()) if self.kind == "token" else len(lengths)
        return (np.arange(tokens)[:, None] * self.channels + channels).reshape(-1)

    def row_lengths(self, lengths: np.ndarray) -> np.ndarray:
        """Of a row stream: elements of each of its rows, those side by side as one, int64 [rows]."""
        keys, groups = Keys.parse(self.keys), self.heads * self.queries // self.lanes
        return np.concatenate([np.repeat(keys.spans(int(n))[:: self.queries], groups) for n in lengths])

    def _rows(self, lengths: np.ndarray) -> np.ndarray:
        """Of a row stream, for each element: its index in the golden tensor, flat; -1 in the lanes of tokens that a sentence's last group lacks."""
        keys, side = Keys.parse(self.keys), self.lanes // self.queries
        sizes = lengths * self.heads * lengths
        found = [np.zeros(0, dtype=np.int64)]
        for start, size, n in zip(np.cumsum(sizes) - sizes, sizes, lengths, strict=True):
            places = (start + np.arange(size)).reshape(n, -1, side, n)
            places = np.pad(places, ((0, -n % self.queries), (0, 0), (0, 0), (0, 0)), constant_values=-1)
            places = places.reshape(-1, self.queries, self.heads // side, side, n).transpose(0, 2, 4, 1, 3)
            seen = keys.seen(n)[:: self.queries]  # [group, 1, key]: all, where several go side by side
            found.append(places[np.broadcast_to(seen[..., None, None], places.shape)])
        return np.concatenate(found)

    def _folded(self, lengths: np.ndarray) -> np.ndarray:
        """Of a folded stream, for each element: its index in the golden tensor, flat; -1 in filled places."""
        elements = np.where(self.filled_by_channels, self.place(np.arange(self.channels)), -1).reshape(-1, self.fold)
        found, start = [], 0
        for length in lengths if self.kind == "token" else np.ones(len(lengths), dtype=np.int64):
            for first in range(0, length, self.block):
                tokens = start + first + np.arange(min(self.block, length - first))
                places = np.broadcast_to(elements[:, None, :], (len(elements), len(tokens), self.fold))
                found.append(np.where(places < 0, -1, places + (tokens * self.channels)[None, :, None]).reshape(-1))
            start += length
        return np.concatenate(found) if found else np.zeros(0, dtype=np.int64)

    def holds_channel(self, lengths: np.ndarray) -> np.ndarray:
        """bool, for each element of the stream: it is no filled place, and of no token that is not there."""
        if self.fold:
            return self._folded(lengths) >= 0
        if self.kind == "row":
            return self._rows(lengths) >= 0
        return np.tile(self.filled_by_channels, int(lengths.sum()) if self.kind == "token" else len(lengths))

    @property
    def filled(self) -> bool:
        """Some elements may hold nothing."""
        return self.layout.filled or self.queries > 1

    @property
    def filled_by_channels(self) -> np.ndarray:
        """bool [elements of a token]: which of them hold a channel."""
        return self.place(np.ones(self.channels, dtype=bool))

    def as_dict(self) -> dict:
        """The entry of streams.json. elements: of a token in its stream, in `blocks` of `space` each, more than `channels` where it is filled up."""
        layout = {
            "channels": self.layout.channels,
            "blocks": self.layout.blocks,
            "space": self.layout.space,
            "side": self.layout.side,
            "elements": self.layout.width,
        }
        own = {key: getattr(self, key) for key in ("tensor", "wire", "lanes", "bits", "signed", "kind", "heads", "keys", "port")}
        more = {key: value for key in ("turns", "fold", "block") if (value := getattr(self, key))}
        more |= {"queries": self.queries} if self.queries > 1 else {}
        return own | layout | more

    @classmethod
    def from_dict(cls, entry: dict) -> Stream:
        """An entry of streams.json. Raises KeyError, TypeError: it is none."""
        own = {key: entry[key] for key in ("tensor", "wire", "lanes", "bits", "signed", "kind", "heads", "keys", "port")}
        more = {"turns": tuple(entry.get("turns", ())), "fold": entry.get("fold", 0), "block": entry.get("block", 0), "queries": entry.get("queries", 1)}
        return cls(**own, **more, layout=Layout(**{key: entry[key] for key in ("channels", "blocks", "space", "side")}))


def read_streams(folder: Path) -> list[Stream]:
    """streams.json of a build folder: the input first, the first output last.

    Raises OSError, ValueError, KeyError, TypeError: there is none, or it is another one.
    """
    return [Stream.from_dict(entry) for entry in json.loads((Path(folder) / "streams.json").read_text())]


class Fifo(NamedTuple):
    """In front of a reader of a stream: it takes beats of the bundle `source`, gives them to `wire`, and holds `depth`."""

    wire: str
    source: str
    depth: int


def read_fifos(folder: Path) -> list[Fifo]:
    """All FIFOs of a build folder, as streams.json has them beside the streams that they take. Raises as `read_streams`."""
    entries = json.loads((Path(folder) / "streams.json").read_text())
    return [Fifo(**fifo) for entry in entries for fifo in entry.get("fifos", ())]


def io_bits(bits: int) -> int:
    """AXI4-Stream elements are whole bytes."""
    return -(-bits // 8) * 8


@dataclass(frozen=True, kw_only=True)
class Port:
    """Where a stream is taken: by a unit's input, or by an output of the encoder.

    unit    name of the unit, "" for an output of the encoder
    index   among the unit's inputs, or the encoder's outputs
    prefix  of the port's signals at the module
    wire    bundle behind its FIFO, which the unit reads
    source  bundle in front of it: the tensor's own, or the fork's branch
    depth   beats that the FIFO holds
    """

    unit: str
    index: int
    prefix: str
    stream: Stream
    wire: str
    source: str
    depth: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Unit:
    """An instance of an operator, which serves `node`."""

    name: str
    node: Node
    op: Operator
    fold: Fold
    ports: tuple[Port, ...]
    out: Stream
    graph: Graph = field(repr=False)

    @cached_property
    def instance(self) -> Instance:
        """Its module of hw/rtl, with parameters and memories."""
        return self.op.rtl(self.graph, self.node, self.fold)

    def timing(self, ins, out):
        """Its generator of the timing network, between channels (hw/plan/timing.py)."""
        return self.op.timing(self.graph, self.node, self.fold, ins, out)

    @property
    def turns(self) -> int:
        """Nodes that it serves, one after the other, for each sentence."""
        return len(self.graph.turns(self.node))

    def macs(self, tokens: int) -> int:
        """Multiply-accumulates for one sentence of that many tokens."""
        return self.turns * self.op.macs(self.graph, self.node, tokens)

    @property
    def multipliers(self) -> int:
        return self.fold.products if self.op.matrix else 0


def unit_name(unit: Unit) -> str:
    """Its instance in encoder.sv."""
    return f"u_{unit.out.wire}"


def fifo_name(port: Port) -> str:
    """The instance of the FIFO in front of it."""
    return f"fifo_{port.wire}"


@dataclass(frozen=True, kw_only=True)
class Loop:
    """Where sentences go round in a rolled encoder: new ones come from `entry`, the first layer's input, and those of `back`, the last one's output,
    return or leave. `turn` carries the turns in which they enter, in order, for benches.
    """

    entry: Stream
    back: Stream
    new: Port
    returning: Port
    turn: Stream
    instance: Instance


@dataclass(frozen=True, eq=False)
class Design:
    """A folded graph; its `graph` is the rolled one where the folding has fewer layers of hardware than the graph has."""

    whole: Graph
    folding: Folding

    @cached_property
    def graph(self) -> Graph:
        return roll(self.whole, self.folding.layers, self.folding.inside) if self.folding.layers and self.whole.around is None else self.whole

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """The nodes that are hardware, in topological order."""
        return tuple(n for n in self.graph.nodes if not OPS[n.op].host)

    @cached_property
    def streams(self) -> dict[str, Stream]:
        """By tensor: the entry, then every unit's output, in topological order."""
        outputs = {name: SINK if i == 0 else f"m_{wire(name)}" for i, name in enumerate(self.graph.outputs)}
        folds = self.folding.folds
        layouts = {name: folds[n.name].layout_in for n in self.nodes for name in n.inputs} | {n.name: folds[n.name].layout_out for n in self.nodes}
        made = {}
        for name in (self.graph.entry, *(n.name for n in self.nodes)):
            tensor = self.graph.tensor(name)
            made[name] = Stream(
                tensor=name,
                wire=wire(name),
                lanes=self.folding.lanes[name],
                bits=tensor.bits,
                signed=tensor.signed,
                kind=tensor.kind,
                layout=(tensor.kind != "row" and layouts.get(name)) or Layout(channels=tensor.channels),
                heads=int(tensor.shape[1]) if tensor.kind == "row" else 0,
                queries=self._queries(name) if tensor.kind == "row" else 1,
                keys=str(tensor.shape[2]) if tensor.kind == "row" else "T",
                port=SOURCE if name == self.graph.entry else outputs.get(name, ""),
                turns=self.graph.carried(name),
            )
            if (tiled := self._folds[name]) and not self._unfolded(name):
                made[name] = replace(made[name], fold=tiled.pe, block=tiled.block)
        return made

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
        return self._folds[tensor] is not None and not any(self.folding.folds[n.name].folded for n in self.graph.readers(tensor))

    @property
    def unfolded(self) -> tuple[Stream, ...]:
        """Streams behind an `unfold`."""
        return tuple(stream for name, stream in self.streams.items() if self._unfolded(name))

    def unfold(self, stream: Stream) -> Instance:
        """What stands between such a stream's producer and the stream."""
        fold = self._folds[stream.tensor]
        return unfold.instance(elements=stream.layout.width, tokens=fold.block, lanes=stream.lanes, bits=stream.bits, fold=fold.pe)

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

    @cached_property
    def loop(self) -> Loop | None:
        """Of a rolled encoder."""
        graph = self.graph
        if graph.around is None:
            return None
        entry, back = (self.streams[name] for name in graph.around)
        params = {"TURNS": graph.count, "SENTENCES": graph.inside, "MAX_TOKENS": graph.max_tokens, "BEATS": entry.beats, "WIDTH": entry.width}
        ports = {
            prefix: Port(unit=LOOP, index=i, prefix=prefix, stream=stream, wire=f"{LOOP}__{prefix}", source=self.in_order(stream), depth=fifos.MIN_DEPTH)
            for i, (prefix, stream) in enumerate((("s", entry), ("b", back)))
        }
        turn = Stream(tensor=TURNS, wire=TURNS, lanes=1, bits=8, signed=False, kind="sentence", layout=Layout(channels=1), turns=("",) * graph.count)
        return Loop(entry=entry, back=back, new=ports["s"], returning=ports["b"], turn=turn, instance=Instance(module="loop", params=params))

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
            ports = (loop.new, loop.returning)
            found += [(loop.back.tensor, fifo_name(port), fifo.instance(port.stream.width, port.depth)) for port in ports]
            found.append((loop.back.tensor, "u_loop", loop.instance))
        found += [(port.stream.tensor, fifo_name(port), fifo.instance(port.stream.width, port.depth)) for port in self.exits]
        return tuple(found)

    def styled(self, name: str, made: Instance) -> Instance:
        """An instance with the parameters that move its memories."""
        return replace(made, params=made.params | self.folding.styles[name]) if name in self.folding.styles else made

    def produced(self, stream: Stream) -> str:
        """The bundle that a stream's producer gives to: in front of an `unfold` one of its own."""
        return f"{stream.wire}__folded" if self._unfolded(stream.tensor) else self.in_order(stream)

    def in_order(self, stream: Stream) -> str:
        """The bundle behind that `unfold`: the stream's own, but for the first layer's input in a rolled encoder, where others join it."""
        return f"{stream.wire}__new" if self.graph.around and stream.tensor == self.graph.around[0] else stream.wire

    def offered(self, stream: Stream) -> str:
        """The bundle that a stream's readers take: its own, but for the last layer's output in a rolled encoder, of which they get the last turn."""
        return f"{stream.wire}__leaves" if self.graph.around and stream.tensor == self.graph.around[1] else stream.wire

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
            Unit(name=n.name, node=n, op=OPS[n.op], fold=self.folding.folds[n.name], ports=self._ports[n.name], out=self.streams[n.name], graph=self.graph)
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

    @property
    def together(self) -> int:
        """Sentences that leave shortly after each other, as they go round together in a rolled encoder; 1 of any other."""
        return self.graph.inside if self.graph.around else 1

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
        ports: dict[str, list[Port]] = {n.name: [] for n in self.nodes} | {"": []}
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
                    depth=depths[unit, index] if unit else fifos.MIN_DEPTH,
                )
            )
        return {name: tuple(own) for name, own in ports.items()}

    def _inputs(self) -> Iterator[tuple[str, str, int, str]]:
        """Every reading of a tensor: (tensor, unit, index, prefix)."""
        for node in self.nodes:
            for index, (prefix, name) in enumerate(zip(OPS[node.op].ports, node.inputs, strict=True)):
                yield name, node.name, index, prefix
        for index, name in enumerate(self.graph.outputs):
            yield name, "", index, self.streams[name].port
