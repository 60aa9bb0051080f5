# SPDX-License-Identifier: Apache-2.0
"""The folding solver: PE x SIMD of every matrix operator, lanes of every stream, balanced for one target.

All stages run at the same time, so a sentence leaves every max(stage intervals) cycles, and stages are independent given that figure: for a target
interval B each matrix operator takes its cheapest folding whose interval is at most B. The multipliers needed fall as B grows, so the fastest
design within a multiplier budget is found by bisection over B. So is the fastest that fits a board (hw/plan/fit.py).
"""

from __future__ import annotations

import math

from bitloom.hw.board import Board
from bitloom.hw.graph import Graph, Node
from bitloom.hw.instance import Fold
from bitloom.hw.ops import OPS
from bitloom.hw.plan import fit
from bitloom.hw.plan.folding import Folding, FoldingError
from bitloom.hw.settings import Number, Strict
from pydantic import Field, model_validator

HEAD_TOKENS = 8  # the sentence's head must keep up with sentences of this many tokens


class HardwareConfig(Strict):
    """What the hardware shall reach: `target_cycles` a sentence of max_tokens, or the fastest within a budget of `multipliers`, of a `board`, or of both."""

    target_cycles: int | None = Field(None, ge=1, description="cycles between two sentences of max_tokens tokens")
    multipliers: int | None = Field(None, ge=1, description="multipliers in all matrix units together")
    board: str | None = Field(None, min_length=1, description="a board of `bitloom boards`, or a board file: the hardware must fit it")
    clock_mhz: Number = Field(100.0, gt=0, description="for times in the report; the RTL does not depend on it")

    @model_validator(mode="after")
    def _one_goal(self) -> HardwareConfig:
        if (self.target_cycles is None) == (self.multipliers is None) and (self.target_cycles or not self.board):
            got = "both" if self.target_cycles else "neither"
            raise ValueError(f"hardware: got {got} of target_cycles and multipliers, must be exactly one; remove or add one")
        return self


def solve(graph: Graph, config: HardwareConfig, board: Board | None = None) -> Folding:
    """The cheapest folding that meets target_cycles, or the fastest one within the budget of multipliers, of the board, or of both.

    board  instead of the one that config names
    Raises FoldingError: nothing is that fast, or that small; the message names the stage that binds and the nearest figure, or by how much the
    board is too small and what would fit. BoardError: no such board.
    """
    board = board or (Board.load(config.board) if config.board else None)
    if board is None:
        return _meet(graph, config.target_cycles) if config.target_cycles is not None else _within(graph, config.multipliers)
    if config.target_cycles is not None:
        return fit.must_fit(graph, board, _meet(graph, config.target_cycles))
    most = config.multipliers or math.inf
    return fit.fastest(graph, board, lambda target: _fold_all(graph, target), _slowest(graph), lambda folding: folding.multipliers <= most)


def _within(graph: Graph, multipliers: int) -> Folding:
    """The fastest folding within a budget of multipliers."""
    low, high = 1, _slowest(graph)
    least = _fold_all(graph, high)
    if least is None or least.multipliers > multipliers:
        raise FoldingError(
            f"folding: got a budget of {multipliers} multipliers, must be at least "
            f"{least.multipliers if least else 'more'}, one in each matrix unit; raise hardware.multipliers"
        )
    while low < high:
        middle = (low + high) // 2
        folding = _fold_all(graph, middle)
        if folding is not None and folding.multipliers <= multipliers:
            high = middle
        else:
            low = middle + 1
    return _fold_all(graph, high)


def _meet(graph: Graph, target: int) -> Folding:
    folding = _fold_all(graph, target)
    if folding is not None:
        return folding
    low, high = target, _slowest(graph)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if _fold_all(graph, middle) else (middle + 1, high)
    raise FoldingError(
        f"folding: got target_cycles {target}, must be at least {high} for this encoder; "
        f"'{_binding(graph, high - 1)}' cannot be faster, raise hardware.target_cycles or lower max_tokens"
    )


def _slowest(graph: Graph) -> int:
    """An interval that one multiplier per unit meets."""
    return max(OPS[n.op].macs(graph, n, graph.max_tokens) for n in graph.nodes) * 2


def stream_lanes(graph: Graph, target: int) -> int | None:
    """The smallest number of lanes that carries every token stream within the target; None if heads are too narrow for it."""
    streams = [t.channels for t in graph.tensors.values() if t.kind == "token" and t.name not in _narrow(graph)]
    widths = [graph.tensor(n.inputs[0]).channels // n.attrs["heads"] for n in graph.nodes if n.op == "scores"]
    common = math.gcd(*streams, *widths)
    for lanes in range(1, common + 1):
        if common % lanes == 0 and graph.max_tokens * (max(streams) // lanes) <= target:
            return lanes
    return None


def _narrow(graph: Graph) -> set[str]:
    """Streams behind the encoder: sentence streams and the per-token head's output have one lane."""
    narrow = {t.name for t in graph.tensors.values() if t.kind != "token"}
    for node in graph.nodes:
        if node.name in graph.outputs and node.op == "requant":
            narrow |= {node.name, *node.inputs}
    return narrow


def _fold_all(graph: Graph, target: int) -> Folding | None:
    lanes = stream_lanes(graph, target)
    if lanes is None:
        return None
    narrow = _narrow(graph)
    width = {name: 1 if name in narrow else lanes for name in graph.tensors}
    folds: dict[str, Fold] = {}
    for node in graph.nodes:
        if OPS[node.op].host:
            continue
        lanes_in = max(width[i] for i in node.inputs)
        fold = Fold(lanes_in=lanes_in, lanes_out=width[node.name])
        if OPS[node.op].matrix:
            fold = _cheapest(graph, node, fold, target)
            if fold is None:
                return None
        folds[node.name] = fold
    per_node = {n.name: folds[n.name].pe * folds[n.name].simd for n in graph.nodes if OPS[n.op].matrix}
    interval = max(OPS[n.op].interval(graph, n, folds[n.name], graph.max_tokens) for n in graph.nodes if OPS[n.op].matrix)
    return Folding(folds=folds, lanes=width, interval=interval, multipliers=sum(per_node.values()), per_node=per_node)


def _cheapest(graph: Graph, node: Node, fold: Fold, target: int) -> Fold | None:
    """Fewest multipliers; then PE and SIMD close to each other (few accumulators, shallow adder trees)."""
    sentence = graph.tensor(node.name).kind == "sentence"
    limit = max(1, target * min(HEAD_TOKENS, graph.max_tokens) // graph.max_tokens) if sentence else target
    op = OPS[node.op]
    options = op.foldings(graph, node, fold.lanes_in, fold.lanes_out)
    legal = [f for f in options if op.interval(graph, node, f, graph.max_tokens) <= limit]
    if not legal and sentence:
        legal = [min(options, key=lambda f: op.interval(graph, node, f, graph.max_tokens))]
        legal = [f for f in legal if op.interval(graph, node, f, graph.max_tokens) <= target]
    return min(legal, key=lambda f: (f.pe * f.simd, abs(math.log2(f.pe / f.simd)), -f.simd), default=None)


def _binding(graph: Graph, target: int) -> str:
    """The first node that cannot meet the target."""
    lanes = stream_lanes(graph, target)
    if lanes is None:
        return max(graph.tensors.values(), key=lambda t: t.channels if t.kind == "token" else 0).name
    narrow = _narrow(graph)
    for node in graph.nodes:
        if OPS[node.op].matrix:
            fold = Fold(lanes_in=max(1 if i in narrow else lanes for i in node.inputs), lanes_out=1 if node.name in narrow else lanes)
            if _cheapest(graph, node, fold, target) is None:
                return node.name
    return graph.nodes[-1].name
