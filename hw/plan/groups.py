# SPDX-License-Identifier: Apache-2.0
"""Streams that share a layout: tensors tied by operators that pass elements on as they come (residual sums, LayerNorms, tables), and the operands of
attention, whose elements lie in blocks, a head each. Each group may have lanes and a filled width of its own: a matrix unit takes LANES_IN and
LANES_OUT, so it is the width converter between two groups, and nothing else need be.

A tensor may hold several elements for each of its group's, side by side (`times` of the record), in as many times the lanes; or several tensors of the
group one behind the other (`joins`), in more blocks of the same size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from bitloom.hw.graph import Graph, Node
from bitloom.hw.ops import OPS, operands
from bitloom.hw.plan.folding import FoldingError


@dataclass(frozen=True, kw_only=True, eq=False)
class Group:
    """Tensors whose streams have one layout; their token streams have one number of lanes, their sentence streams one lane.

    channels  of the widest of them, each that counts several times once; blocks: in which they lie; the others have fewer blocks of that size
    times     of tensors that hold several elements for each: how many
    narrow    one lane: what lies behind the encoder, or comes once a sentence
    fillable  zeros may be filled in: no filled place can come to hold anything else where it matters, and no output of the graph is among them
    """

    tensors: tuple[str, ...]
    channels: int
    blocks: int
    narrow: bool
    fillable: bool
    times: dict[str, int]

    @property
    def block(self) -> int:
        """Channels of a block."""
        return self.channels // self.blocks


def groups(graph: Graph) -> tuple[Group, ...]:
    """All groups of the hardware's token and sentence streams, in topological order of their first tensors."""
    nodes = [n for n in graph.nodes if not OPS[n.op].host]
    names = [name for name in (graph.entry, *(n.name for n in nodes)) if graph.tensor(name).kind != "row"]
    root = {name: name for name in names}

    def find(name: str) -> str:
        while root[name] != name:
            name = root[name]
        return name

    blocks, times = dict.fromkeys(names, 1), dict.fromkeys(names, 1)
    for node in nodes:
        op = OPS[node.op]
        spaces = op.spaces(graph, node) if op.spaces else {}
        for name, count in spaces.items():
            blocks[name] = math.lcm(blocks[name], count)
        tied = list(spaces) or ([*operands(graph, node), node.name] if op.elementwise or op.same_layout or op.times or op.joins else [])
        tied = [name for name in tied if name in root]
        times |= _times(graph, node, tied, times)
        for name in tied[1:]:
            root[find(name)] = find(tied[0])
    if graph.around:
        root[find(graph.around[0])] = find(graph.around[1])
    members: dict[str, list[str]] = {}
    for name in names:
        members.setdefault(find(name), []).append(name)
    zeros, outside = _zeros(graph), {name for n in nodes if not OPS[n.op].elementwise for name in n.inputs}
    for node in nodes:
        zeros |= dict.fromkeys((*node.inputs, node.name), False) if OPS[node.op].joins else {}
    return tuple(_group(graph, own, blocks, {name: times[name] for name in own}, zeros, outside) for own in members.values())


def _times(graph: Graph, node: Node, tied: list[str], known: dict[str, int]) -> dict[str, int]:
    """Of a node's output, elements for each of its group's, where its inputs' are known. Raises FoldingError: the inputs differ."""
    op, own = OPS[node.op], {known[name] for name in node.inputs if name in tied}
    if len(own) > 1:
        raise FoldingError(
            f"folding: {node.name}: got inputs of {' and '.join(map(str, sorted(own)))} tokens side by side, must have as many; change the network"
        )
    return {node.name: own.pop() * (op.times(graph, node) if op.times else 1)} if own else {}


def _group(graph: Graph, own: list[str], in_blocks: dict[str, int], times: dict[str, int], zeros: dict[str, bool], outside: set[str]) -> Group:
    """zeros, outside: tensors whose filled places are good for their readers, tensors that are read outside of their group."""
    channels = [graph.tensor(name).channels // times[name] for name in own]
    block = math.gcd(*(n // in_blocks[name] for n, name in zip(channels, own, strict=True)))
    even = all(n % in_blocks[name] == 0 for n, name in zip(channels, own, strict=True))
    given = set(own) & set(graph.outputs)
    inside = graph.entry in own or any(name in outside for name in own)
    narrow = all(graph.tensor(name).kind == "sentence" for name in own) or bool(given) and not inside
    return Group(
        tensors=tuple(own),
        channels=max(channels),
        blocks=max(channels) // block,
        narrow=narrow,
        fillable=not (narrow or given) and even and all(zeros[name] for name in own),
        times=times,
    )


def _zeros(graph: Graph) -> dict[str, bool]:
    """By tensor: its filled places hold zeros, or its readers do not care."""
    zeros, good = _pass_zeros(graph, {})
    return _pass_zeros(graph, {graph.around[0]: zeros[graph.around[1]]})[1] if graph.around else good


def _pass_zeros(graph: Graph, known: dict[str, bool]) -> tuple[dict[str, bool], dict[str, bool]]:
    """By tensor: its filled places hold zeros; and they do, or its readers do not care. known: of tensors that others come to as well."""
    zeros, good = {graph.entry: known.get(graph.entry, True)}, {graph.entry: True}
    for node in graph.nodes:
        if (op := OPS[node.op]).host:
            continue
        taken = [name for name in node.inputs if graph.tensor(name).kind != "row"]
        for name in taken:
            good[name] &= zeros[name] or not op.wants_zeros(graph, node)
        zeros[node.name] = op.gives_zeros(graph, node, all(zeros[name] for name in taken)) and known.get(node.name, True)
        good[node.name] = True
    return zeros, good
