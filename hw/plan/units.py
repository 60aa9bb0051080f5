# SPDX-License-Identifier: Apache-2.0
"""What a design consists of: units, which are instances of operators, the ports that take streams, and the loop of a rolled encoder."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

from bitloom.hw.graph import Graph, Node
from bitloom.hw.instance import Fold, Instance
from bitloom.hw.ops.record import Operator
from bitloom.hw.plan.streams import Stream

TURN_PARAMS = ("TURNS", "SENTENCES")  # of a module that has constants of several turns


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
    """An instance of an operator, which serves `node`.

    by_turn  its memories are loaded for each turn
    """

    name: str
    node: Node
    op: Operator
    fold: Fold
    ports: tuple[Port, ...]
    out: Stream
    graph: Graph = field(repr=False)
    by_turn: bool = False

    @cached_property
    def instance(self) -> Instance:
        """Its module of hw/rtl, with parameters and memories: of all turns, of which a unit that is loaded by turn holds one at a time."""
        if not self.by_turn:
            return self.op.rtl(self.graph, self.node, self.fold)
        made = self.op.rtl(replace(self.graph, shared=False), self.node, self.fold)
        params = made.params | {"CONSTANTS": 1} if self.fold.block else {key: value for key, value in made.params.items() if key not in TURN_PARAMS}
        return replace(made, params=params)

    def timing(self, ins, out):
        """Its generator of the timing network, between channels (hw/plan/timing.py)."""
        return self.op.timing(self.graph, self.node, self.fold, ins, out)

    @property
    def turns(self) -> int:
        """Nodes that it serves, one after the other, for each sentence."""
        return len(self.graph.turns(self.node))

    def macs(self, tokens: int) -> int:
        """Multiply-accumulates for one sentence of that many tokens."""
        return sum(self.op.macs(self.graph, self.node, graph.taken(node, tokens)) for graph, node in self.graph.turns(self.node))

    def work(self, tokens: int, turns: int | None = None, border: int | None = None) -> int:
        """Those that it makes, in its first `turns` turns (None: all): not those of zero weights that it leaves out. border: as of `Design.work`."""
        served = self.graph.turns(self.node)[:turns]
        return sum(self.op.work(self.graph, self.node, self.fold, graph.taken(node, tokens), border) for graph, node in served)

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
    return or leave. `turn` carries the turns in which they enter, in order, for benches. logits: where an off-ramp's logits are taken; None: there is none.
    borders: where those of new pairs are taken; None: no keys depend on it.
    """

    entry: Stream
    back: Stream
    new: Port
    returning: Port
    turn: Stream
    instance: Instance
    logits: Port | None = None
    borders: Port | None = None

    @property
    def ports(self) -> tuple[Port, ...]:
        """All that it takes."""
        return (self.new, self.returning, *(port for port in (self.logits, self.borders) if port))
