# SPDX-License-Identifier: Apache-2.0
"""A space of cells: what a recipe may search in, what its hardware may take, and its cells in the order of their probability."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

import torch
from torch import Tensor

from bitloom.hw.board import Board
from bitloom.hw.plan.solve import HardwareConfig
from bitloom.hw.settings import ConfigError
from bitloom.qat.cells import told
from bitloom.qat.config import QuantConfig
from bitloom.qat.net.cells import CellsShape
from bitloom.qat.networks import NetworkConfig, check_reaches
from bitloom.qat.search.cell_prices import CellPrices, RealCell
from bitloom.qat.search.config import SearchConfig
from bitloom.qat.search.errors import SearchError
from bitloom.qat.search.prices import Limits, limits_of

SHORT = {"block_ram": "block RAMs", "dsp": "DSPs", "lut": "LUTs", "ff": "FFs", "bits": "bits", "multipliers": "multipliers"}


def check(model: NetworkConfig, hardware: HardwareConfig, config: SearchConfig) -> None:
    """Refuse, before any data is read, a recipe whose sections do not go with a search for a cell.

    Raises ConfigError.
    """
    if model.network != CellsShape.kind:
        raise ConfigError(f"search.method: got architecture on a network of kind '{model.network}', must be on cells; set model.network: cells")
    if hardware.layers or hardware.memory:
        key = "layers" if hardware.layers else "memory"
        raise ConfigError(f"hardware.{key}: got it with search.method architecture, must be left out: all cells are hardware; remove it")
    if not (config.budget.cycles or hardware.target_cycles):
        raise ConfigError(
            "search.budget.cycles: got none, must be given, or hardware.target_cycles: what an operation takes depends on it; "
            "add e.g. search: {budget: {cycles: 65536}}"
        )
    check_reaches("search.architecture.operations", config.architecture.operations, model.max_tokens)


def priced(shape: CellsShape, quant: QuantConfig, hardware: HardwareConfig, config: SearchConfig, board: Board | None) -> tuple[CellPrices, Limits]:
    """Prices of a space, and what a cell may take.

    Raises SearchError: not even the cheapest cell fits, with by how much; FoldingError: an operation cannot be that fast.
    """
    space, goal = config.architecture, {"target_cycles": config.budget.cycles or hardware.target_cycles, "multipliers": None, "board": None}
    at = HardwareConfig.model_validate(hardware.model_dump() | goal)
    prices = CellPrices(shape, quant, at, board, space.nodes, space.operations, space.cells)
    limits = limits_of(config.budget, board)
    if config.budget.multipliers:
        limits["multipliers"] = float(config.budget.multipliers)
    cell, cells = prices.cheapest(limits)
    if why := too_much(prices.real(cell, cells), limits):
        number = "one of it" if cells == 1 else f"{cells} of it"
        raise SearchError(
            f"search.architecture: got a space whose cheapest cell ({told(cell)}; {number}) {why}, must have one that fits; "
            "lower model.hidden, nodes or cells, raise search.budget, or choose a larger board"
        )
    return prices, limits


def too_much(real: RealCell, limits: Limits) -> str:
    """What a cell takes beyond the limits, and by how much, as a part of a sentence; "" where it fits."""
    over = real.over(limits)
    texts = [f"{real.figures[name]:,.0f} {SHORT[name]} of {most:,.0f}" for name, most in over.items()]
    if texts:
        return f"takes {', '.join(texts)}"
    return "takes more than the board has" if real.fits else ""


def most_probable(edges: Tensor, depth: Tensor) -> Iterator[tuple[tuple[int, ...], int]]:
    """(operation of each edge, number of cells), as places, the most probable first.

    edges  probabilities [edges, operations]; depth [counts]
    """
    rows = [row.clamp(min=1e-300).log() for row in (*edges.double(), depth.double())]
    orders = [torch.argsort(row, descending=True, stable=True).tolist() for row in rows]

    def key(ranks: tuple[int, ...]) -> float:
        return -sum(float(row[order[rank]]) for row, order, rank in zip(rows, orders, ranks, strict=True))

    first = (0,) * len(rows)
    heap, seen = [(key(first), first)], {first}
    while heap:
        _, ranks = heapq.heappop(heap)
        *names, count = (order[rank] for order, rank in zip(orders, ranks, strict=True))
        yield tuple(names), count
        for i, rank in enumerate(ranks):
            after = (*ranks[:i], rank + 1, *ranks[i + 1 :])
            if rank + 1 < len(orders[i]) and after not in seen:
                seen.add(after)
                heapq.heappush(heap, (key(after), after))
