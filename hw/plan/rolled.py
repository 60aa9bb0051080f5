# SPDX-License-Identifier: Apache-2.0
"""Rolling: the alike layers of a graph on fewer layers of hardware, each used in turn for several of them.

A rolled graph is the first N layers, between what comes before all and what comes behind: solver, cost and timing take it like any other graph. Its tensors
are as wide as the widest of all turns, so layers may differ in bits, scales, tables and weights; `turns` says which nodes of the whole graph a node stands for.
The whole graph stays what is computed: its hash, the golden model and the codes do not change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from bitloom.hw.graph import Graph, Node, Tensor
from bitloom.hw.keys import Border
from bitloom.hw.ops import OPS, aside_of, gate_of
from bitloom.hw.plan.folding import FoldingError

INSIDE = 4  # sentences at once, in any turns: two keep attention and what is behind it busy, the others make up for different lengths
SHAPING = ("heads", "kernel", "dilation")  # attributes that shape the hardware
BEHIND = 2  # more of them where weights come from external memory: a block waits until it is whole in each matrix unit, and to be unfolded
MANY = 1 << 20  # tokens, of which the more are left the more any sentence has
LARGEST = 256  # turns, and SENTENCES * max_tokens, as hw/rtl/turns.sv counts them


class Blocks(NamedTuple):
    """Where a graph repeats: `count` blocks of `size` hardware nodes, from the node `start` on. The first takes the tensor `head` and no other from outside,
    each further one the output of node `tail` of the block before."""

    start: int
    size: int
    count: int
    head: str
    tail: int


@dataclass(frozen=True, kw_only=True)
class RolledGraph(Graph):
    """The layers that are hardware. head, tail: tensors between which sentences go round; inside: sentences at once."""

    whole: Graph
    served: dict[str, tuple[str, ...]] = field(default_factory=dict)  # node -> nodes of the whole graph, by turn
    head: str = ""
    tail: str = ""
    count: int = 1  # turns
    layers: int = 1  # of hardware
    inside: int = INSIDE
    aside: str = ""  # the tensor of borders that goes beside the sentences; "": none does
    everything: tuple[bool, ...] = ()  # by turn: all keys are seen, whatever the border
    recall: int = 0  # turn before which the first sentences of pairs are kept; 0: none is
    shared: bool = True  # memories have banks for what differs from turn to turn, not for each turn
    ramp: str = ""  # the tensor of logits that says which sentences leave; "": all of them after the last turn

    @property
    def source(self) -> Graph:
        return self.whole

    @property
    def around(self) -> tuple[str, str]:
        return self.head, self.tail

    @property
    def hash(self) -> str:
        return self.whole.hash

    @property
    def packed(self) -> bool:
        return self.whole.packed

    def border(self, tokens: int) -> Border:
        return self.whole.border(tokens)

    def turns(self, node: Node) -> tuple[tuple[Graph, Node], ...]:
        return tuple((self.whole, self.whole.node(name)) for name in self.served.get(node.name, (node.name,)))

    def carried(self, name: str) -> tuple[str, ...]:
        if name == self.head:
            return (name, *self.served[self.tail][:-1])
        if name and name == self.aside:
            return tuple("" if all_keys else name for all_keys in self.everything)
        return self.served.get(name, ())


def roll(graph: Graph, layers: int, inside: int = INSIDE, recall: bool = False) -> Graph:
    """`layers` layers of hardware for all layers of the graph; the graph itself where they are as many.

    recall  keep the first sentence of each pair behind the turns in which each sentence sees itself alone

    Raises FoldingError: layers that cannot share hardware: which and why, or a number that does not divide theirs.
    """
    gate = gate_of(graph)
    nodes = [n for n in graph.nodes if not OPS[n.op].host and n is not gate]
    found = _blocks(graph, nodes)
    if found is None:
        raise FoldingError("folding: got no layers that follow each other and are made alike, must be at least two for hardware.layers; remove the setting")
    if found.count % layers:
        known = ", ".join(str(n) for n in range(1, found.count + 1) if found.count % n == 0)
        raise FoldingError(f"folding: got {layers} layers in hardware for the {found.count} of the graph, must be one of {known}; change hardware.layers")
    turns = found.count // layers
    if gate:
        _check_ramps(gate, nodes, found, layers)
    if turns == 1:
        if recall:
            raise FoldingError("folding: got all layers in hardware for hardware.recall, must be layers in turn; lower hardware.layers")
        return graph
    if turns > LARGEST or not 1 <= inside <= LARGEST:
        raise FoldingError(f"folding: got {turns} turns and {inside} sentences inside, must be at most {LARGEST}, and 1 .. {LARGEST}")
    last = nodes[found.start + found.size * (found.count - 1) + found.tail].name
    first = nodes[found.start : found.start + found.size * layers]
    asides = sorted(name for name in aside_of(graph) if any(graph.tensor(n.name).kind == "row" for n in graph.readers(name)))
    _check_rows(graph, found.head, first)
    rest = nodes[found.start + found.size * found.count :]
    served = {n.name: tuple(nodes[found.start + index + turn * layers * found.size].name for turn in range(turns)) for index, n in enumerate(first)}
    tail = first[found.size * (layers - 1) + found.tail].name
    inner = {nodes[i].name for i in range(found.start, found.start + found.size * found.count)} - {last}
    _check_cut(graph, found.head, inner, [*rest, *nodes[: found.start]])
    whole = {name: graph.tensor(name) for name in graph.tensors}
    tensors = {name: t for name, t in whole.items() if name not in inner and name != last}
    for name, all_turns in served.items():
        tensors[name] = _widest([whole[n] for n in all_turns], name)
    around = _widest([tensors[found.head], tensors[tail]], tail)
    tensors[tail], tensors[found.head] = around, replace(around, name=found.head, scale=whole[found.head].scale)

    def renamed(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(tail if name == last else name for name in names)

    kept = (
        *(n for n in graph.nodes if OPS[n.op].host),
        *nodes[: found.start],
        *(_serving([graph.node(name) for name in served[n.name]], asides) for n in first),
        *(replace(n, inputs=renamed(n.inputs)) for n in rest),
    )
    return RolledGraph(
        name=graph.name,
        nodes=kept,
        tensors=tensors,
        params=graph.params,
        inputs=graph.inputs,
        outputs=renamed(graph.outputs),
        max_tokens=graph.max_tokens,
        meta=graph.meta,
        whole=graph,
        served=served,
        head=found.head,
        tail=tail,
        count=turns,
        layers=layers,
        inside=inside,
        ramp=gate.inputs[0] if gate else "",
        **_pairs(graph, asides, list(served.values()), turns, recall, gate is not None),
    )


def _serving(nodes: list[Node], asides: list[str]) -> Node:
    """The node of hardware for those of all turns: it also takes what any of them is told."""
    told = {name for node in nodes for name in node.inputs if name in asides} - {*nodes[0].inputs}
    return replace(nodes[0], attrs=_attrs(nodes), inputs=(*nodes[0].inputs, *sorted(told)))


def _pairs(graph: Graph, asides: list[str], served: list[tuple[str, ...]], turns: int, recall: bool, leave_early: bool) -> dict:
    """Of a rolled graph: how borders go round. served: nodes of each unit, by turn."""
    if not asides:
        if recall:
            raise FoldingError("folding: got no layers that see one sentence of a pair alone, must be the first ones for hardware.recall; remove it")
        return {}
    rows = [names for names in served if graph.tensor(names[0]).kind == "row"]
    told = [names for names in rows if any(graph.tensor(name).keys.bordered for name in names)]
    everything = []
    for turn in range(turns):
        alike = {str(graph.tensor(names[turn]).shape[2]) for names in told}
        if len(alike) > 1:
            raise FoldingError(
                f"folding: layers cannot share hardware: those of turn {turn} got keys {', '.join(sorted(alike))}, must all see the same; "
                "set hardware.layers: 1, or remove it"
            )
        everything.append(alike <= {"T"})
    first = everything.index(True) if True in everything else turns
    if recall and (len(told) < len(rows) or not all(everything[first:]) or first in (0, turns)):
        raise FoldingError(
            f"folding: got keys of {turns} turns, of which {everything.count(False)} see one sentence of a pair alone, for hardware.recall, must be the first "
            "ones, and all keys in the others; change attention_segments, or remove it"
        )
    if recall and leave_early:
        raise FoldingError("folding: got early exits with hardware.recall, must be sentences that pass all layers; remove early_exit or hardware.recall")
    return {"aside": asides[0], "everything": tuple(everything), "recall": first if recall else 0}


def _check_rows(graph: Graph, head: str, nodes: list[Node]) -> None:
    """Raise FoldingError where rows are of fewer tokens than enter."""
    if rows := _shorter_rows(graph, head, nodes):
        raise FoldingError(
            f"folding: got several layers in hardware, in turn, for a network whose layers take tokens out ({rows[0].name} has tokens '{rows[0].shape[0]}'), "
            "must be one; set hardware.layers: 1"
        )


def _shorter_rows(graph: Graph, head: str, nodes: Sequence[Node]) -> list[Tensor]:
    """Rows of fewer tokens than enter at `head`: units on rows count those that enter to know a sentence's turn (hw/rtl/turns.sv)."""
    return [t for t in (graph.tensor(n.name) for n in nodes) if t.kind == "row" and t.shape[0] != graph.tensor(head).shape[0]]


def require_rolled(graph: Graph) -> None:
    """Raise FoldingError: its sentences leave early, and all layers are to be hardware, where there is nothing to gain."""
    if gate_of(graph):
        raise FoldingError("folding: got all layers in hardware for a network with early exits, must be one that is used in turn; set hardware.layers: 1")


def _check_ramps(gate: Node, nodes: list[Node], found: Blocks, layers: int) -> None:
    """Raise FoldingError where a sentence cannot leave behind each turn."""
    if layers > 1:
        raise FoldingError(f"folding: got {layers} layers in hardware for a network with early exits, must be one that is used in turn; set hardware.layers: 1")
    ramps = [[n.name for n in nodes[found.start + turn * found.size :][: found.size] if n.name in gate.inputs] for turn in range(found.count)]
    if [name for names in ramps for name in names] != list(gate.inputs) or any(len(names) != 1 for names in ramps):
        raise FoldingError(
            f"folding: got {found.count} layers that are made alike for {len(gate.inputs)} off-ramps, must be one off-ramp of each; remove early_exit"
        )


def layers_of(graph: Graph) -> int:
    """How many alike layers follow each other, 1 if none do."""
    found = _blocks(graph, [n for n in graph.nodes if not OPS[n.op].host and not OPS[n.op].gate])
    return found.count if found else 1


def _blocks(graph: Graph, nodes: list[Node]) -> Blocks | None:
    """The longest stretch of alike blocks, each connected to the one before by one tensor; of equally long ones the one where the fewest bits go round."""
    at, asides = {n.name: i for i, n in enumerate(nodes)}, aside_of(graph)
    inputs = [tuple(name for name in n.inputs if name not in asides) for n in nodes]
    found = [b for size in range(1, len(nodes) // 2 + 1) for start in range(len(nodes) - 2 * size + 1) if (b := _from(nodes, inputs, at, start, size))]
    found = [b for b in found if not _shorter_rows(graph, b.head, nodes[b.start : b.start + b.size])]

    def bits(b: Blocks) -> int:
        ends = [nodes[b.start + turn * b.size + b.tail].name for turn in range(b.count)]
        return max(graph.tensor(name).bits * graph.tensor(name).channels for name in (b.head, *ends))

    return max(found, key=lambda b: (b.count * b.size, b.count, -bits(b)), default=None)


def _from(nodes: list[Node], inputs: list[tuple[str, ...]], at: dict[str, int], start: int, size: int) -> Blocks | None:
    """The blocks of that size from that node on; None: not two. inputs: operands of each node."""
    heads = {name for names in inputs[start : start + size] for name in names if at.get(name, -1) < start}
    if len(heads) != 1:
        return None
    (head,) = heads
    tail, count = None, 1
    while start + (count + 1) * size <= len(nodes):
        begin, links = start + count * size, set()
        for index in range(size):
            first, here = start + index, begin + index
            if nodes[first].op != nodes[here].op or len(inputs[first]) != len(inputs[here]):
                break
            for mine, its in zip(inputs[first], inputs[here], strict=True):
                if mine == head:
                    links.add(at.get(its, -1) - (begin - size))
                elif at.get(its, -1) - begin != at[mine] - start:
                    links.add(-1)
        else:
            if len(links) == 1 and (link := min(links)) in range(size) and tail in (None, link):
                tail, count = link, count + 1
                continue
        break
    return Blocks(start, size, count, head, tail) if count > 1 else None


def _check_cut(graph: Graph, head: str, inner: set[str], around: list[Node]) -> None:
    """Raise FoldingError where anything but the last layer's output leaves the layers."""
    for reader, names in [*((n.name, n.inputs) for n in around), ("an output of the graph", graph.outputs)]:
        if taken := [name for name in names if name in inner]:
            raise FoldingError(f"folding: layers cannot share hardware: {reader} takes {taken[0]}, must be the last layer's output; remove hardware.layers")
        if head in names:
            raise FoldingError(f"folding: layers cannot share hardware: {reader} takes {head}, which goes round with the layers; remove hardware.layers")


def _widest(tensors: list[Tensor], name: str) -> Tensor:
    """A tensor that holds the codes of all of them, and as many tokens as any.

    Raises FoldingError: they have different shapes.
    """
    first = max(tensors, key=lambda tensor: tensor.tokens.of(MANY))
    first = next((tensor for tensor in tensors if tensor.kind == "row" and tensor.keys.segment), first)  # a border behind all tokens says: all keys
    for tensor in tensors:
        told = tensor.kind == "row" and first.kind == "row" and first.keys.segment and tensor.keys.all and tensor.shape[:2] == first.shape[:2]
        if (tensor.shape[1:] != first.shape[1:] or tensor.kind != first.kind) and not told:
            raise FoldingError(
                f"folding: layers cannot share hardware: {tensor.name} got shape {tensor.shape}, must be {first.shape} as {first.name}; remove hardware.layers"
            )
    signed = any(t.signed for t in tensors)
    bits = max(t.bits + (signed and not t.signed) for t in tensors)
    return replace(first, name=name, bits=bits, signed=signed)


def _attrs(nodes: list[Node]) -> dict[str, int | str]:
    """Of all turns: the largest of each figure; texts, and what shapes the hardware, must be the same."""
    first = {key: value for key, value in nodes[0].attrs.items() if all(key in n.attrs for n in nodes)}  # a codebook: where all have one
    for node in nodes[1:]:
        for key, value in first.items():
            got = node.attrs[key]
            if (isinstance(value, str) or key in SHAPING) and got != value:
                where = f"{node.name} got {key} {got}, must be {value} as {nodes[0].name}"
                raise FoldingError(f"folding: layers cannot share hardware: {where}; remove hardware.layers")
    return {key: value if isinstance(value, str) else max(n.attrs[key] for n in nodes) for key, value in first.items()}
