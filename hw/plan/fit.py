# SPDX-License-Identifier: Apache-2.0
"""Foldings that fit a board: the multiplier style of each matrix unit, and the fastest folding within the board's budget.

A folding for a target interval is first given the style that the family's DSPs do best (hw/cost/multipliers.py). Where DSPs run out, or so many of them
would cost clock (budget.EASY), matrix units are moved to LUT multipliers one by one, the one first that pays fewest LUTs for each DSP saved. Where block RAM
runs out, memories move to UltraRAM, the one first that saves most block RAMs for each; then to LUT RAM, the one first that pays fewest tables for each.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from bitloom.hw.board import Board
from bitloom.hw.cost.budget import EASY, Usage, label, planned, too_much, usage
from bitloom.hw.cost.memories import DISTRIBUTED, ULTRA, Memory, map_memory
from bitloom.hw.cost.multipliers import multiplier_style, sharing
from bitloom.hw.cost.resources import MODULES, Cost, Estimate, Estimator
from bitloom.hw.graph import Graph, Node
from bitloom.hw.instance import Fold
from bitloom.hw.ops import OPS
from bitloom.hw.plan import streamed
from bitloom.hw.plan.design import Design
from bitloom.hw.plan.folding import Folding, FoldingError

# The UART bridge and reset beside the encoder (hw/rtl/board), without its buffers; as synthesized for ECP5.
UART = Cost(lut=1500, ff=1000)
BRIDGE = "bridge"  # in an estimate, in the place of a tensor's name
BANDWIDTH = "memory bandwidth"
ANSWERS = Memory("answers", 16, 1024, checked=False)


class Fitter:
    """Foldings of one graph on one board; remembers what they take. tables: LUT RAM may hold what block RAM has no room for."""

    def __init__(self, graph: Graph, board: Board, tables: bool = False):
        self.graph, self.board, self.tables = graph, board, tables
        self.costs = Estimator(board)
        self._known: dict[tuple[Fold, ...], tuple[Folding, Estimate]] = {}

    def styled(self, folding: Folding) -> tuple[Folding, Estimate]:
        """The folding with a multiplier style for each matrix unit, and what it takes."""
        key = tuple(folding.folds.values())
        if key not in self._known:
            self._known[key] = self._styled(folding)
        return self._known[key]

    def by_rule(self, folding: Folding) -> Folding:
        """With the style that the family's DSPs do best for each matrix unit, whether or not it fits."""
        folds = dict(folding.folds)
        for name in folding.per_node:
            folds[name] = replace(folds[name], multiplier=self._style(self.graph.node(name), sharing(folds[name])))
        return replace(folding, folds=folds, board=self.board.name, styles={})

    def _styled(self, folding: Folding) -> tuple[Folding, Estimate]:
        folding = self.by_rule(folding)
        folds = dict(folding.folds)
        costs = self.costs.estimate(Design(self.graph, folding))
        have, easy = self.board.resources, EASY.get(self.board.family, {})
        most, enough = (int(have.dsp.count * share.get("dsp", 1)) for share in (planned(self.board), easy))
        dsp, lut = costs.total.dsp, costs.total.lut
        if dsp > min(most, enough):
            for name, saved, more in self._cheapest_moves(folding):
                if dsp <= enough or (dsp <= most and lut + more > have.lut * easy["lut"]):
                    break
                folds[name] = replace(folds[name], multiplier="lut")
                dsp, lut = dsp - saved, lut + more
            folding = replace(folding, folds=folds)
            costs = self.costs.estimate(Design(self.graph, folding))
        if styles := self._moved(Design(self.graph, folding), costs):
            folding = replace(folding, styles=styles)
            costs = self.costs.estimate(Design(self.graph, folding))
        return folding, costs

    def _moved(self, design: Design, costs: Estimate) -> dict[str, dict[str, str]]:
        """Memories that leave block RAM, as Folding has them: as few as it takes, or all that can where even these are too few."""
        have, moved = self.board.resources, {}
        over = costs.total.block_ram + self._bridge().block_ram - have.block_ram[0].count
        room = {ULTRA: have.ultra_ram.count if have.ultra_ram else 0, DISTRIBUTED: have.lut if self.tables else 0}
        if over <= 0 or not any(room.values()):
            return moved
        moves = []
        for _, name, made in design.instances:
            now = self.costs.cost(made)
            for param, style in MODULES[made.module].styles.items():
                then = self.costs.cost(replace(made, params=made.params | {param: style}))
                taken = then.ultra_ram if style == ULTRA else math.ceil(then.lut - now.lut)
                if now.block_ram > then.block_ram:
                    saved = now.block_ram - then.block_ram
                    moves.append((style == DISTRIBUTED, taken / saved, name, param, style, taken, saved))
        for *_, name, param, style, taken, saved in sorted(moves):
            if over > 0 and taken <= room[style]:
                moved.setdefault(name, {})[param] = style
                room[style] -= taken
                over -= saved
        return moved

    def _style(self, node: Node, pe: int) -> str:
        return multiplier_style(OPS[node.op].multiplies(self.graph, node), self.board.family, pe)

    def _cheapest_moves(self, folding: Folding) -> list[tuple[str, int, float]]:
        """Matrix units, the DSPs that LUT multipliers save there and the LUTs that these take, fewest LUTs for each DSP first."""
        moves = []
        for name in folding.per_node:
            fold = folding.folds[name]
            now, then = self._cost(name, fold), self._cost(name, replace(fold, multiplier="lut"))
            if now.dsp > then.dsp:
                moves.append(((then.lut - now.lut) / (now.dsp - then.dsp), name, now.dsp - then.dsp, then.lut - now.lut))
        return [move for _, *move in sorted(moves)]

    def _cost(self, name: str, fold: Fold) -> Cost:
        """A unit without its FIFOs."""
        node = self.graph.node(name)
        return self.costs.cost(OPS[node.op].rtl(self.graph, node, fold))

    def excess(self, costs: Estimate) -> str | None:
        """What is beyond the board's budget, as text; None if it fits."""
        return too_much(self.board, self.used(costs))

    def over(self, costs: Estimate) -> list[str]:
        """Names of the resources that are beyond the budget."""
        return [label(self.board, name) for name, use in self.used(costs).items() if use.used > use.available]

    def used(self, costs: Estimate) -> dict[str, Usage]:
        """Each resource that the encoder and the bridge beside it take, of what may be planned with."""
        return usage(self.board, self.with_bridge(costs).counted(), planned(self.board))

    def with_bridge(self, costs: Estimate) -> Estimate:
        """The encoder's estimate, and the bridge beside it."""
        return replace(costs, per_node=costs.per_node | {BRIDGE: self._bridge()})

    def _bridge(self) -> Cost:
        """What stands beside the encoder."""
        return UART + Cost(block_ram=self._buffers()) if self.board.transport.kind == "uart" else Cost()

    def _buffers(self) -> int:
        """Blocks of the bridge: the longest sentence (hw/uart.py; with one lane, which takes no fewer than several) and the answers."""
        entry = self.graph.tensor(self.graph.entry)
        sentence = Memory("sentence", entry.bits + 1, max(64, self.graph.max_tokens * entry.channels), checked=False)
        return sum(map_memory(memory, self.board).blocks for memory in (sentence, ANSWERS))


def fastest(
    fitter: Fitter,
    fold_all: Callable[[int], Folding | None],
    slowest: int,
    forbids: Callable[[Folding, int], str],
    below: int | None = None,
    enough: int = 1,
) -> Folding | None:
    """The fastest folding that fits the board and is not forbidden, by bisection over the interval.

    fold_all  folding for a target interval, None if there is none
    slowest   an interval that every encoder meets
    forbids   what forbids a folding for a target, "" if nothing does
    below     only a folding of a smaller interval is looked for; None comes back where there is none
    enough    an interval beyond which the memory's bandwidth binds: none smaller is looked for
    Raises FoldingError: not even the slowest fits; by how much, and what would.
    """

    def attempt(target: int) -> tuple[Folding | None, list[str]]:
        folding = fold_all(target)
        if folding is None:
            return None, ["the streams' lanes and the folding of heads"]
        if what := forbids(folding, target):
            return None, [what]
        styled, costs = fitter.styled(folding)
        over = fitter.over(costs)
        return (None if over else styled), over

    slowest = slowest if below is None else below - 1
    least, short = attempt(slowest) if slowest else (None, [])
    rams = {ram.kind for ram in fitter.board.resources.block_ram}
    first = short
    faster = slowest // 2  # more multipliers read wider words, which may lie better in the board's memories
    while least is None and below is None and faster and set(short) <= rams:
        least, short = attempt(faster)
        slowest, faster = (slowest, faster // 2) if least is None else (faster, 0)
    if least is None and below is not None:
        return None
    if least is None:
        folding = fold_all(slowest)
        if first == [BANDWIDTH]:
            raise FoldingError(f"folding: {fitter.board.name}: {streamed.shortage(fitter.graph, folding, slowest)}")
        _, costs = fitter.styled(folding)
        raise FoldingError(f"folding: {fitter.board.name}: {fitter.excess(costs) or 'got a budget of too few multipliers; raise hardware.multipliers'}")
    low, high, best, bound = min(enough, slowest), slowest, least, [BANDWIDTH] if enough > 1 else []
    while low < high:
        middle = (low + high) // 2
        folding, over = attempt(middle)
        if folding is not None:
            high, best = min(middle, folding.interval), folding
        else:
            low, bound = middle + 1, over
    return replace(best, bound_by=", ".join(bound))


def unforbidden(folding: Folding, target: int) -> str:
    """Of foldings that nothing but the board limits."""
    return ""


def must_fit(graph: Graph, board: Board, folding: Folding) -> Folding:
    """The folding, styled for the board.

    Raises FoldingError: the board is too small for it.
    """
    for tables in (False, has_tables(board)):
        fitter = Fitter(graph, board, tables)
        styled, costs = fitter.styled(folding)
        if (text := fitter.excess(costs)) is None:
            return styled
    raise FoldingError(f"folding: {board.name}: {text}")


def has_tables(board: Board) -> bool:
    """Whether memories that leave block RAM may lie in LUT RAM (hw/cost/memories.py)."""
    return board.resources.lut_ram
