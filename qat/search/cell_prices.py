# SPDX-License-Identifier: Apache-2.0
"""What each operation of a cell takes of the hardware: figures of designs that are really folded, in which all edges have the same operation.

For a target interval the solver folds a unit by its shape, so an operation takes on an edge what it takes there in any other cell; the mean cost of a
distribution over cells is then a sum, and differentiable; a node's LayerNorm counts with the probability that it has several edges. What is left out: FIFOs
that wait for a slower path beside them, nodes that nothing needs, and multipliers that move to LUTs where DSPs are short. So a chosen cell is folded itself,
and that design is what counts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bitloom.hw.board import Board
from bitloom.hw.cost.resources import Cost, Estimator
from bitloom.hw.cost.sizes import parameter_bits
from bitloom.hw.graph import Graph
from bitloom.hw.plan.design import Design
from bitloom.hw.plan.fit import BRIDGE, Fitter
from bitloom.hw.plan.predict import steady_interval
from bitloom.hw.plan.solve import HardwareConfig, meet
from bitloom.qat.cells import NONE, Cell
from bitloom.qat.config import QuantConfig
from bitloom.qat.net.cells import CellsShape
from bitloom.qat.net.kinds import build
from bitloom.qat.net.untrained import set_scales
from bitloom.qat.search.prices import Limits
from bitloom.qat.search.supernet import cell_of, places

FIGURES = ("multipliers", "lut", "ff", "dsp", "block_ram", "bits")


@dataclass(frozen=True, kw_only=True)
class RealCell:
    """A cell as the solver folds it: figures of FIGURES, cycles between two sentences of max_tokens, and what is too much of the board ("": nothing)."""

    figures: dict[str, float]
    interval: int
    fits: str

    def over(self, limits: Limits) -> dict[str, float]:
        """What is beyond the limits: {figure: the most}."""
        return {name: most for name, most in limits.items() if self.figures[name] > most}


class CellPrices:
    """Costs of one search space at one target interval.

    shape   of the network, whatever its cell
    config  with target_cycles; board: None: multipliers and bits alone are counted
    counts  how many cells there may be
    Raises FoldingError: an operation cannot be that fast.
    """

    def __init__(self, shape: CellsShape, quant: QuantConfig, config: HardwareConfig, board: Board | None, nodes: int, operations: Sequence[str],
                 counts: Sequence[int]):  # fmt: skip
        self.shape, self.quant, self.config, self.board = shape, quant, config, board
        self.nodes, self.operations, self.counts = nodes, list(operations), list(counts)
        self.places, self._real = places(nodes), {}
        self._estimator = board and Estimator(board)
        most, several = max(counts), [name for name in operations if name != NONE]
        self.each = np.zeros((most, len(self.places), len(operations), len(FIGURES)))
        self.norms, self.base = np.zeros((most, nodes, len(FIGURES))), np.zeros(len(FIGURES))  # each the mean of the designs
        for name in several:
            for tensor, row in self._rows(self.graph([[name] * node for node in range(1, nodes + 1)], most)).items():
                kind, *at = self._place(tensor)
                if kind in ("edge", "sum"):
                    self.each[(*at, self.operations.index(name))] += row
                else:
                    np.add.at(self.norms if kind == "norm" else self.base, tuple(at) or slice(None), row / len(several))

    def graph(self, cell: Sequence[Sequence[str]], cells: int) -> Graph:
        """The integer graph of a network with random weights."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = build(replace(self.shape, cell=tuple(map(tuple, cell)), cells=cells)).bind(self.quant, self.shape.max_tokens)
            set_scales(network)
            return network.to_graph("untrained")

    def total(self, cell: Cell, cells: int) -> dict[str, float]:
        """Figures of a network, from the prices; those of `cells` need not be among the counts."""
        chosen = torch.tensor([[float(name == own and name != NONE) for own in self.operations] for row in cell for name in row])
        figures = self._tensors[-1] + self._by_cell(chosen)[:cells].sum(0)
        return dict(zip(FIGURES, figures.tolist(), strict=True))

    def mean(self, edges: Tensor, depth: Tensor) -> Tensor:
        """[figures] under probabilities of each edge's operations [edges, operations] and of each number of cells [counts]; differentiable in both."""
        by_cell = self._by_cell(edges)
        return self._tensors[-1] + depth.to(by_cell) @ torch.stack([by_cell[:count].sum(0) for count in self.counts])

    def _by_cell(self, edges: Tensor) -> Tensor:
        """[cells, figures] of each cell alone."""
        each, norms, _ = self._tensors
        there = [(edges[e] * torch.tensor([name != NONE for name in self.operations])).sum() for e in range(len(self.places))]
        several = [_at_least_two([there[e] for e, (at, _) in enumerate(self.places) if at == node]) for node in range(1, self.nodes + 1)]
        return torch.einsum("keof,eo->kf", each, edges.to(each)) + torch.einsum("knf,n->kf", norms, torch.stack(several).to(each))

    @cached_property
    def _tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        return tuple(torch.as_tensor(part) for part in (self.each, self.norms, self.base))

    def dearest(self) -> Tensor:
        """[figures] of all edges at their most."""
        return torch.as_tensor(self.base + self.norms.sum((0, 1)) + self.each.max(2).sum((0, 1)))

    def real(self, cell: Cell, cells: int) -> RealCell:
        """Of the design that the solver makes."""
        if (cell, cells) not in self._real:
            self._real[cell, cells] = self._folded(cell, cells)
        return self._real[cell, cells]

    def cheapest(self, limits: Limits) -> tuple[Cell, int]:
        """The cell with the least share of what it takes most of, by the prices, and how many of them: as few as there may be."""
        most = np.array([limits.get(name, math.inf) for name in FIGURES]) + 1e-9
        if not limits:
            most = self.dearest().numpy() + 1e-9
        shares = (self.each[0] / most).max(-1)  # [edges, operations]
        rest = [int(o) for o in shares.argmin(1)]
        last = self.places.index((self.nodes, 0))  # from the input to the output
        rest[last] = min((o for o, name in enumerate(self.operations) if name != NONE), key=lambda o: shares[last, o])
        return cell_of([self.operations[o] for o in rest], self.nodes), min(self.counts)

    def _folded(self, cell: Cell, cells: int) -> RealCell:
        graph = self.graph(cell, cells)
        folding, fits, taken = meet(graph, self.config), "", Cost()
        if self.board is not None:
            fitter = Fitter(graph, self.board)
            folding, estimate = fitter.styled(folding)
            fits, taken = fitter.excess(estimate) or "", fitter.with_bridge(estimate).total
        figures = {"multipliers": folding.multipliers, "lut": taken.lut, "ff": taken.ff, "dsp": taken.dsp, "block_ram": taken.block_ram,
                   "bits": sum(parameter_bits(graph).values())}  # fmt: skip
        return RealCell(figures=figures, interval=math.ceil(steady_interval(Design(graph, folding))), fits=fits)

    def _rows(self, graph: Graph) -> dict[str, np.ndarray]:
        """By tensor: figures of FIGURES."""
        folding, bits, costs = meet(graph, self.config), parameter_bits(graph), {}
        if self.board is not None:
            fitter = Fitter(graph, self.board)
            costs = fitter.with_bridge(self._estimator.estimate(Design(graph, fitter.by_rule(folding)))).per_node
        found = {}
        for name in (*(node.name for node in graph.nodes), BRIDGE):
            cost = costs.get(name, Cost())
            found[name] = np.array([folding.per_node.get(name, 0), cost.lut, cost.ff, cost.dsp, cost.block_ram, bits.get(name, 0)], dtype=float)
        return found

    def _place(self, tensor: str) -> tuple[Any, ...]:
        """What a tensor belongs to: ("edge" or "sum", cell, edge) of `cell.0.node.2.edge.1.act`, `cell.0.node.2.sum.1`; ("norm", cell, node); ("",)."""
        parts = tensor.split(".")
        if parts[0] != "cell":
            return ("",)
        cell, node, kind = int(parts[1]), int(parts[3]), parts[4]
        return (kind, cell, node - 1) if kind == "norm" else (kind, cell, self.places.index((node, int(parts[5]))))


def _at_least_two(shares: Sequence[Tensor]) -> Tensor:
    """The probability that two or more of independent events happen."""
    none, one = torch.ones(()), torch.zeros(())
    for share in shares:
        none, one = none * (1 - share), one * (1 - share) + none * share
    return 1 - none - one
