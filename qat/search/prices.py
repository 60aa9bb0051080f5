# SPDX-License-Identifier: Apache-2.0
"""What each choice of bits takes of the hardware, as sums of terms that few variables decide: exactly what the solver's design takes.

For a target interval the solver folds each unit by its shape alone, so a unit's cost depends on the bits of what it reads, holds and gives, and on nothing
else. These dependencies follow from the graph; the figures come from designs that are really folded, of graphs in which all units change at once.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from bitloom.hw.board import Board
from bitloom.hw.cost.budget import planned, usage
from bitloom.hw.cost.resources import Cost, Estimate, Estimator
from bitloom.hw.cost.sizes import parameter_bits
from bitloom.hw.graph import Graph, Node
from bitloom.hw.ops import OPS
from bitloom.hw.plan import streamed
from bitloom.hw.plan.design import Design
from bitloom.hw.plan.fit import BRIDGE, Fitter
from bitloom.hw.plan.folding import Folding
from bitloom.hw.plan.solve import HardwareConfig, meet
from bitloom.qat.search.config import Budget
from bitloom.qat.search.errors import SearchError
from bitloom.qat.search.space import Choice, Space

COSTS = ("lut", "ff", "dsp", "block_ram", "bits", "beats")  # of a term; bits: of its parameters; beats: of weights from external memory, a sentence
ACC = ".acc"  # of an accumulator's name (docs/numerics.md)
RULE, LUT = "rule", "lut"  # how a matrix unit multiplies: as the family's DSPs do best, or without any
Limits = Mapping[str, float]  # by figure of COSTS: the most
Progress = Callable[[float | None, str], None]


@dataclass(kw_only=True)
class Term:
    """Cost of one unit with what belongs to it (hw/cost/resources.py: Estimate.per_node).

    depends  the variables that decide it
    matrix   it multiplies, so it has a cost for both styles
    table    (bits of these variables, style) -> cost, one figure of COSTS each
    """

    tensor: str
    depends: tuple[str, ...]
    matrix: bool
    table: dict[tuple[tuple[int, ...], str], np.ndarray] = field(default_factory=dict)

    def of(self, choice: Choice, style: str = RULE) -> np.ndarray:
        return self.table[tuple(choice[name] for name in self.depends), style if self.matrix else RULE]


@dataclass(frozen=True, kw_only=True)
class Real:
    """A choice as the solver folds it for the board: figures of COSTS, and the units that multiply without DSPs. fits: "" or what is too much."""

    folding: Folding
    costs: np.ndarray
    lut_units: frozenset[str]
    fits: str


class Prices:
    """Terms of one network at one target interval.

    graph_of  the integer graph of a choice
    terms     empty until `fill` has made their figures
    config    with target_cycles, and the layers in hardware
    board     None: sizes alone are counted
    """

    def __init__(self, space: Space, graph_of: Callable[[Choice], Graph], config: HardwareConfig, board: Board | None):
        self.space, self.graph_of, self.config, self.board = space, graph_of, config, board
        self._estimator = board and Estimator(board)
        top = graph_of(space.top)
        hardware = Design(top, meet(top, config)).graph
        self.terms = [Term(tensor=n.name, depends=self._depends(top, hardware, n.name), matrix=bool(OPS[n.op].matrix)) for n in top.nodes]
        if board:
            self.terms.append(Term(tensor=BRIDGE, depends=self._depends(top, hardware, top.entry), matrix=False))

    @property
    def filled(self) -> bool:
        """Whether the terms have their figures."""
        return all(term.table for term in self.terms)

    def total(self, choice: Choice, lut_units: frozenset[str] = frozenset()) -> np.ndarray:
        """Figures of COSTS of a whole design, from the terms; lut_units multiply without DSPs."""
        return sum(term.of(choice, LUT if term.tensor in lut_units else RULE) for term in self.terms)

    def real(self, choice: Choice) -> Real:
        """The same of the design that the solver makes."""
        graph = self.graph_of(choice)
        folding = meet(graph, self.config)
        if self.board is None:
            return Real(folding=folding, costs=self._costs(graph, folding, None), lut_units=frozenset(), fits=self._slow(graph, folding))
        fitter = Fitter(Design(graph, folding).graph, self.board)
        styled, costs = fitter.styled(folding)
        rule = fitter.by_rule(folding)
        moved = frozenset(name for name in folding.per_node if styled.folds[name].multiplier == LUT != rule.folds[name].multiplier)
        return Real(folding=styled, costs=self._costs(graph, folding, costs), lut_units=moved, fits=fitter.excess(costs) or self._slow(graph, folding))

    def most_beats(self) -> float:
        """That the external memory gives in a sentence's time; without one, any number."""
        folding = meet(self.graph_of(self.space.least), self.config)
        return streamed.most_beats(folding, self.config.target_cycles) if folding.memory else math.inf

    def _slow(self, graph: Graph, folding: Folding) -> str:
        return streamed.shortage(Design(graph, folding).graph, folding, self.config.target_cycles) if folding.memory else ""

    def _costs(self, graph: Graph, folding: Folding, costs: Estimate | None) -> np.ndarray:
        return sum(self._rows(graph, folding, costs).values())

    def _rows(self, graph: Graph, folding: Folding, costs: Estimate | None) -> dict[str, np.ndarray]:
        """By tensor: figures of COSTS."""
        bits, hardware = parameter_bits(graph), Design(graph, folding).graph
        beats = {node.name: streamed.beats_of(hardware, node, folding) for node in hardware.nodes}
        taken = Fitter(hardware, self.board).with_bridge(costs).per_node if costs else {}
        return {
            name: np.array([cost.lut, cost.ff, cost.dsp, cost.block_ram, bits.get(name, 0), beats.get(name, 0)], dtype=float)
            for name in (term.tensor for term in self.terms)
            for cost in (taken.get(name, Cost()),)
        }

    def _depends(self, whole: Graph, hardware: Graph, tensor: str) -> tuple[str, ...]:
        """The variables whose bits a unit sees: of its output, of what it reads, and, at an accumulator, of what this was made of and becomes; in a rolled
        encoder, of all turns.
        """
        held = {n.name for n in hardware.nodes}
        turns = [(hardware, hardware.node(tensor)), *hardware.turns(hardware.node(tensor))] if tensor in held else [(whole, whole.node(tensor))]
        names = set().union(*(_seen(graph, node, self.space.settled) for graph, node in turns))
        if hardware.around and names & set(hardware.around):  # what goes round is as wide as the widest of what comes and what returns
            names |= set(hardware.around).union(*(hardware.carried(name) for name in hardware.around))
        return tuple(v.name for v in self.space.variables if names & set(v.tensors))

    def add(self, choice: Choice, graph: Graph) -> None:
        """Enter the figures of a choice's graph into all terms."""
        folding = meet(graph, self.config)
        if self.board is None:
            rule = lut = self._rows(graph, folding, None)
        else:
            styled = Fitter(Design(graph, folding).graph, self.board).by_rule(folding)
            bare = replace(styled, folds=styled.folds | {name: replace(styled.folds[name], multiplier=LUT) for name in styled.per_node})
            rule, lut = (self._rows(graph, folded, self._estimator.estimate(Design(graph, folded))) for folded in (styled, bare))
        for term in self.terms:
            key = tuple(choice[name] for name in term.depends)
            term.table[key, RULE] = rule[term.tensor]
            if term.matrix:
                term.table[key, LUT] = lut[term.tensor]


def limits_of(budget: Budget, board: Board | None) -> dict[str, float]:
    """The most of each figure that the encoder and its bridge may take: the budget's, and what may be planned with on the board.

    Raises SearchError: a budget of resources without a board.
    """
    wanted = {"lut": budget.lut, "dsp": budget.dsp, "block_ram": budget.block_ram}
    given = {name: float(most) for name, most in wanted.items() if most is not None}
    if given and board is None:
        raise SearchError(f"search.budget.{next(iter(given))}: got a budget without a board, must have one to count on; give --board, or budget bytes")
    if board is not None:
        room = usage(board, Estimate(board=board).counted(), planned(board))
        rooms = {"lut": room["lut"], "ff": room["ff"], "dsp": room["dsp"], "block_ram": room[board.resources.block_ram[0].kind]}
        given = {name: min(float(use.available), given.get(name, math.inf)) for name, use in rooms.items()}
    return given | ({"bits": 8.0 * budget.bytes} if budget.bytes else {})


def fill(several: Sequence[Prices], progress: Progress = lambda fraction, text: None) -> None:
    """Make every figure of prices that differ in the target interval alone: design after design, each giving as many new figures as it can."""
    first = several[0]
    left = {t.tensor: set(itertools.product(*(first.space.by_name[name].bits for name in t.depends))) for t in first.terms}
    count = sum(map(len, left.values()))
    while any(left.values()):
        progress(1 - sum(map(len, left.values())) / count, "costs of the hardware")
        choice = _covering(first, left)
        graph = first.graph_of(choice)
        for prices in several:
            prices.add(choice, graph)
        for term in first.terms:
            left[term.tensor].discard(tuple(choice[name] for name in term.depends))


def _covering(prices: Prices, left: Mapping[str, set[tuple[int, ...]]]) -> dict[str, int]:
    """A choice that gives many of the figures that are left: terms with most of them say first what they want."""
    choice: dict[str, int] = {}
    for term in sorted(prices.terms, key=lambda t: -len(left[t.tensor])):
        wanted = min(
            (c for c in left[term.tensor] if all(choice.get(name, bits) == bits for name, bits in zip(term.depends, c, strict=True))), default=None
        )  # fmt: skip
        if wanted:
            choice |= dict(zip(term.depends, wanted, strict=True))
    return prices.space.top | choice


def _seen(graph: Graph, node: Node, settled: frozenset[str]) -> set[str]:
    """Tensors whose bits decide what a node's unit takes. settled: those with a grid of their own; others pass on what they read, or are accumulators."""
    names, left = set(), [node.name, *node.inputs]
    while left:
        if (name := left.pop()) in names:
            continue
        names.add(name)
        if name in settled or name in graph.inputs:
            continue
        left += graph.node(name).inputs
        if name.endswith(ACC):
            left += [n.name for n in graph.readers(name)]
    return names
