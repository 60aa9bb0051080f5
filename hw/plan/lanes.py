# SPDX-License-Identifier: Apache-2.0
"""Foldings for a target interval: lanes and widths of every stream, and the cheapest PE x SIMD of every matrix unit. Equal shapes cost as one."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import NamedTuple

from bitloom.hw.divisors import divisors
from bitloom.hw.graph import Graph, Node
from bitloom.hw.instance import Fold, Layout
from bitloom.hw.ops import OPS, operands
from bitloom.hw.parts import tiles
from bitloom.hw.plan.folding import Folding
from bitloom.hw.plan.groups import Group, groups
from bitloom.hw.plan.node_timing import node_interval

HEAD_TOKENS = 8  # the sentence's head must keep up with sentences of this many tokens
FILL = 0.1  # of a block, at most, that may be filled up
WIDTHS = 10  # filled widths that are tried: those with most divisors
LANE = 1.0  # multipliers that a lane of an elementwise operator counts for when widths are chosen: what a requant takes
SENTENCES = 3  # after which an operator alone is in its steady state
QUERIES = 16  # side by side, at most
WASTE = 0.1  # of a beat of external memory that weights may leave unused, at most, where it counts
ROUNDS = 2  # of choosing each group's width given its neighbours'


class Way(NamedTuple):
    """How a group's streams go: elements of a block, lanes; of attention's, heads and tokens side by side."""

    space: int
    lanes: int
    side: int = 1
    queries: int = 1


@dataclass(frozen=True, kw_only=True)
class Frontier:
    """The foldings of a matrix unit between two given streams: the cheapest for every interval, and the fastest of all; None where these lanes have none."""

    intervals: tuple[int, ...]
    folds: tuple[Fold, ...]
    fastest: Fold | None

    def cheapest(self, limit: int) -> Fold | None:
        index = bisect_right(self.intervals, limit)
        return self.folds[index - 1] if index else None


@dataclass
class Lanes:
    """One graph's foldings; remembers the frontiers and paces of its units, and the foldings that it found.

    beat  bits of a beat of external memory, which the weights of a cycle shall fill; 0: they need not
    """

    graph: Graph
    beat: int = 0
    rolled: dict[tuple[int, int, int, bool], Lanes] = field(
        default_factory=dict
    )  # of the graph rolled: (layers, sentences inside, beat, recall) -> its foldings
    packed: Lanes | None = None  # of the graph for packs of sentences
    _frontiers: dict = field(default_factory=dict)
    _grouped: dict[int, Folding | None] = field(default_factory=dict)
    _paces: dict = field(default_factory=dict)
    _prices: dict[tuple, float] = field(default_factory=dict)  # for one target

    def __post_init__(self) -> None:
        graph = self.graph
        self.nodes = [n for n in graph.nodes if not OPS[n.op].host]
        self.units = [n for n in self.nodes if OPS[n.op].matrix]
        self.groups = groups(graph)
        self.of = {name: group for group in self.groups for name in group.tensors}
        self.turns = {n.name: len(graph.turns(n)) for n in self.nodes}  # that a unit takes for a sentence
        self.most_turns = max(self.turns.values())
        self.slowest = 2 * max(self.turns[n.name] * OPS[n.op].macs(graph, n, graph.longest(n)) for n in self.units)  # one multiplier a unit meets it
        numbers: dict[tuple, int] = {}
        self._shapes = {n.name: numbers.setdefault(self._shape(n), len(numbers)) for n in self.nodes}
        self._inputs = {n.name: operands(graph, n) for n in self.nodes}
        self._sides = {n.name: tuple(self.of[name] for name in (*self._inputs[n.name], n.name) if name in self.of) for n in self.units}  # groups, inputs first
        self._rows, self._attended, self._interleaves = self._row_groups()
        self._queries = all(graph.tensor(name).keys.all for name in self._rows)
        self._passing = {g: sum(OPS[n.op].elementwise and n.name in g.tensors for n in self.nodes) for g in self.groups}
        self._touching = {g: [n for n in self.units if g in self._sides[n.name]] for g in self.groups}

    def common(self, target: int) -> Folding | None:
        """The cheapest folding within the target with one number of lanes for all token streams, nothing filled up; None: there is none."""
        lanes = self._common_lanes(target)
        if lanes is None:
            return None
        return self._folding({g: Way(g.channels // g.blocks, 1 if g.narrow else lanes, *self._beside(g, target)) for g in self.groups}, target)

    def grouped(self, target: int) -> Folding | None:
        """The same with lanes by group and filled widths, chosen for fewest multipliers."""
        if target not in self._grouped:
            self._grouped[target] = self._fewest(target)
        return self._grouped[target]

    def _fewest(self, target: int) -> Folding | None:
        ways = {g: self._ways(g, target) for g in self.groups}
        if not all(ways.values()):
            return None
        self._prices.clear()
        hub = max((g for g in self.groups if not g.narrow), key=lambda g: len(self._touching[g]))
        best, least = None, math.inf
        for way in ways[hub]:
            chosen = {g: options[0] for g, options in ways.items()} | {hub: way}
            self._settle(chosen, ways, hub, target)
            cost = sum(self._price(n, chosen, target) for n in self.units) + sum(LANE * way.lanes * self._passing[g] for g, way in chosen.items())
            if cost < least:
                best, least = chosen, cost
        return self._folding(best, target)

    def pace(self, folding: Folding) -> int:
        """Cycles between two sentences of max_tokens that the operators without multiplier arrays allow."""
        return max((self._pace(n, folding.folds[n.name]) for n in self.nodes if not OPS[n.op].matrix), default=0)

    def _pace(self, node: Node, fold: Fold) -> int:
        key = (self._shapes[node.name], self.turns[node.name], fold)
        if key not in self._paces:
            self._paces[key] = node_interval(self.graph, node, fold, self.graph.longest(node), SENTENCES)
        return self._paces[key]

    def work(self, folding: Folding) -> int:
        """Multiply-accumulates that its units make for a sentence of max_tokens."""
        return sum(self.turns[n.name] * OPS[n.op].work(self.graph, n, folding.folds[n.name], self.graph.longest(n)) for n in self.units)

    def binding(self, target: int) -> str:
        """The stream or unit that cannot meet the target."""
        ways = {g: self._ways(g, target) for g in self.groups}
        if slow := [g for g in self.groups if not ways[g]]:
            return max(slow, key=lambda g: g.channels).tensors[0]
        chosen = {g: options[0] for g, options in ways.items()}
        return next((n.name for n in self.units if self._cheapest(n, chosen, target) is None), self.nodes[-1].name)

    def _row_groups(self) -> tuple[dict[str, Group], set[Group], bool]:
        """The token streams that go with each row stream, all that go with any, and whether heads may be interleaved at all: not where streams are shared
        by attentions with different numbers of heads, or lie at the encoder's ports.
        """
        rows, attended, possible = {}, set(), True
        for node in self.nodes:
            op = OPS[node.op]
            own = [name for name in (*node.inputs, node.name) if self.graph.tensor(name).kind == "row"]
            spaces = op.spaces(self.graph, node) if op.spaces else {}
            for name, count in spaces.items():
                group = self.of[name]
                attended.add(group)
                possible &= group.blocks == count and set(group.times.values()) == {1} and not {self.graph.entry, *self.graph.outputs} & {*group.tensors, *own}
                rows |= dict.fromkeys(own, group)
            if not spaces and len(own) > 1:
                rows[node.name] = rows[own[0]]
        return rows, attended, possible

    def _beside(self, group: Group, target: int) -> tuple[int, int]:
        """Heads and queries side by side: as few heads as let a query pass them in its share of the target, at a key a cycle; where all are too few,
        as few queries, if all keys are seen.
        """
        if not self._interleaves or group not in self._attended:
            return 1, 1
        top, blocks = self._longest(group), group.blocks
        rows = self.most_turns * top**2
        if (side := next((n for n in divisors(blocks) if rows * (blocks // n) <= target), 0)) or not self._queries:
            return side or blocks, 1
        return blocks, next((n for n in range(2, min(QUERIES, top) + 1) if self.most_turns * -(-top // n) * top <= target), min(QUERIES, top))

    def _common_lanes(self, target: int) -> int | None:
        """The smallest number of lanes that carries every token stream within the target; None if heads are too narrow for it."""
        wide = [g for g in self.groups if not g.narrow]
        common = math.gcd(*(g.channels // g.blocks for g in wide))
        most = max(g.channels for g in wide)
        return next((n for n in divisors(common) if self.most_turns * self.graph.max_tokens * (most // n) <= target), None)

    def _ways(self, group: Group, target: int) -> list[Way]:
        """Widths to try, each with the fewest lanes that carry it within the target; the own width first."""
        own = group.channels // group.blocks
        if group.narrow:
            return [Way(own, 1, *self._beside(group, target))]
        spaces = range(own + 1, int(own * (1 + FILL)) + 2) if group.fillable else ()
        spaces = [own, *sorted(sorted(spaces, key=lambda s: -len(divisors(s)))[:WIDTHS])]
        found = []
        for space in spaces:
            lanes = next((n for n in divisors(space) if self._times(group) * self._longest(group) * group.blocks * space // n <= target), None)
            if lanes is not None:
                found.append(Way(space, lanes, *self._beside(group, target)))
        return found

    def _times(self, group: Group) -> int:
        """That a sentence passes the group's streams."""
        return max(self.turns.get(name, 1) for name in group.tensors)

    def _longest(self, group: Group) -> int:
        """Tokens of a sentence that pass the group's streams, at most."""
        return max(self.graph.tensor(name).tokens.of(self.graph.max_tokens) for name in group.tensors)

    def _settle(self, chosen: dict[Group, Way], ways: dict[Group, list[Way]], hub: Group, target: int) -> None:
        """Choose each other group's way, given its neighbours'; groups in equal places are chosen once."""
        for _ in range(ROUNDS):
            known: dict[tuple, Way] = {}
            for group in self.groups:
                if group is hub or len(ways[group]) == 1:
                    continue
                place = (group.channels, group.blocks, group.fillable, self._passing[group], *self._place(group, chosen))
                if place not in known:
                    known[place] = min(ways[group], key=lambda way: (self._around(group, way, chosen, target), way.space, way.lanes))  # noqa: B023
                chosen[group] = known[place]

    def _place(self, group: Group, chosen: dict[Group, Way]) -> list[tuple]:
        """What a choice for the group depends on: its units' shapes and the ways of the streams on their other sides."""
        return [(self._shapes[n.name], *(None if g is group else chosen[g] for g in self._sides[n.name])) for n in self._touching[group]]

    def _around(self, group: Group, way: Way, chosen: dict[Group, Way], target: int) -> float:
        before, chosen[group] = chosen[group], way
        price = sum([self._price(n, chosen, target) for n in self._touching[group]]) + LANE * way.lanes * self._passing[group]
        chosen[group] = before
        return price

    def _price(self, node: Node, chosen: dict[Group, Way], target: int) -> float:
        """Multipliers; where the target cannot be met, more than any that can."""
        key = (self._shapes[node.name], self.turns[node.name], *[chosen[g] for g in self._sides[node.name]])
        if key not in self._prices:
            fold = self._cheapest(node, chosen, target)
            self._prices[key] = 1e9 if fold is None else fold.products
        return self._prices[key]

    def _folding(self, chosen: dict[Group, Way], target: int) -> Folding | None:
        folds: dict[str, Fold] = {}
        for node in self.nodes:
            fold = self._cheapest(node, chosen, target) if OPS[node.op].matrix else self._bare(node, chosen)
            if fold is None:
                return None
            folds[node.name] = fold
        per_node = {n.name: folds[n.name].products for n in self.units}
        interval = max(self.turns[n.name] * OPS[n.op].interval(self.graph, n, folds[n.name], self.graph.longest(n)) for n in self.units)
        lanes = {name: self._lanes(name, chosen) for name in self.graph.tensors}
        layers, inside = (self.graph.layers, self.graph.inside) if self.graph.around else (0, 0)
        return Folding(
            folds=folds,
            lanes=lanes,
            interval=interval,
            multipliers=sum(per_node.values()),
            per_node=per_node,
            layers=layers,
            inside=inside,
            recall=bool(self.graph.around and self.graph.recall),
            pack=self.graph.packed,
        )

    def _lanes(self, tensor: str, chosen: dict[Group, Way]) -> int:
        if tensor in self._rows:
            return chosen[self._rows[tensor]].side * chosen[self._rows[tensor]].queries
        return chosen[self.of[tensor]].lanes * self.of[tensor].times[tensor] if tensor in self.of and self.graph.tensor(tensor).kind == "token" else 1

    def _layout(self, tensor: str, chosen: dict[Group, Way]) -> Layout | None:
        """None: the channels side by side."""
        if tensor not in self.of:
            return None
        group, way, channels = self.of[tensor], chosen[self.of[tensor]], self.graph.tensor(tensor).channels
        times = group.times[tensor]
        layout = Layout(channels=channels, blocks=self._blocks(tensor), space=times * way.space, side=way.side)
        return None if layout.plain else layout

    def _blocks(self, tensor: str) -> int:
        """In which a token's channels lie."""
        group = self.of[tensor]
        return self.graph.tensor(tensor).channels // (group.times[tensor] * group.block)

    def _bare(self, node: Node, chosen: dict[Group, Way]) -> Fold:
        """The streams of a unit; PE and SIMD are open."""
        inputs = self._inputs[node.name]
        layouts = [self._layout(name, chosen) for name in inputs]
        tokens = [name for name in inputs if name not in self._rows] or inputs
        rows = next((chosen[self._rows[name]] for name in (*node.inputs, node.name) if name in self._rows), None)
        return Fold(
            side=rows.side if rows else 1,
            queries=rows.queries if rows else 1,
            lanes_in=max(self._lanes(name, chosen) for name in tokens),
            lanes_out=self._lanes(node.name, chosen),
            layout_in=next((layout for layout in layouts if layout), None),
            layout_out=self._layout(node.name, chosen),
        )

    def _cheapest(self, node: Node, chosen: dict[Group, Way], target: int) -> Fold | None:
        """Fewest multipliers; then bits of weights; then PE and SIMD close to each other (few accumulators, shallow adder trees)."""
        target //= self.turns[node.name]
        frontier, top = self._frontier(node, chosen), self.graph.max_tokens
        if self.graph.tensor(node.inputs[0]).kind != "sentence":
            return frontier.cheapest(target)
        fold = frontier.cheapest(max(1, target * min(HEAD_TOKENS, top) // top))
        return fold or (frontier.fastest if frontier.intervals and frontier.intervals[0] <= target else None)

    def _frontier(self, node: Node, chosen: dict[Group, Way]) -> Frontier:
        key = (self._shapes[node.name], *[chosen[g] for g in self._sides[node.name]])
        if key not in self._frontiers:
            self._frontiers[key] = self._search(node, self._bare(node, chosen))
        return self._frontiers[key]

    def _search(self, node: Node, bare: Fold) -> Frontier:
        op, top = OPS[node.op], self.graph.longest(node)
        folds = self._filling(node, op.foldings(self.graph, node, bare))
        intervals = [op.interval(self.graph, node, f, top) for f in folds]
        unlike = op.stored is not None and any(f.words or f.keep for f in folds)
        bits = [op.stored(self.graph, node, f) if unlike else 0 for f in folds]
        ranks = [(f.products, b, abs(math.log2(f.pe / f.simd)), -f.simd) for f, b in zip(folds, bits, strict=True)]
        best: list[tuple[int, tuple, int]] = []
        for interval, rank, index in sorted(zip(intervals, ranks, range(len(folds)), strict=True)):
            if not best or rank < best[-1][1]:
                best.append((interval, rank, index))
        fastest = folds[intervals.index(min(intervals))] if folds else None
        return Frontier(intervals=tuple(i for i, *_ in best), folds=tuple(folds[index] for *_, index in best), fastest=fastest)

    def _filling(self, node: Node, folds: list[Fold]) -> list[Fold]:
        """Those whose weights fill the beats of external memory; all where none does, or they need not."""
        op = OPS[node.op]
        if not self.beat or op.tiled is None:
            return folds

        def used(fold: Fold) -> float:
            bits = fold.products * op.element_bits(self.graph, node, fold)
            beats, words, _ = tiles.shape(bits, 1, self.beat)
            return words * bits / (beats * self.beat)

        return [fold for fold in folds if used(fold) >= 1 - WASTE] or folds

    def _shape(self, node: Node) -> tuple:
        """Units of equal shape have equal foldings."""
        tensors = [self.graph.tensor(name) for name in (*node.inputs, node.name)]
        contents = OPS[node.op].contents
        own = (contents(self.graph, node),) if contents else ()
        places = ((self._blocks(t.name), self.of[t.name].times[t.name]) for t in tensors if t.name in self.of)
        return (node.op, *own, *sorted(node.attrs.items()), *(t.shape for t in tensors), *places)
