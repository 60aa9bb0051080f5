# SPDX-License-Identifier: Apache-2.0
"""What a graph would be on boards, before anything is built or trained: sizes by component, the fastest folding of each board, its cycles and what binds."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from bitloom.hw.board import Board
from bitloom.hw.cost.budget import Usage, label
from bitloom.hw.graph import Graph
from bitloom.hw.ops import OPS, gate_of
from bitloom.hw.plan import streamed
from bitloom.hw.plan.design import Design
from bitloom.hw.plan.fit import Fitter
from bitloom.hw.plan.folding import Folding, FoldingError
from bitloom.hw.plan.lanes import Lanes
from bitloom.hw.plan.predict import predict, steady_interval
from bitloom.hw.plan.solve import HardwareConfig, solve

ALL = "*"  # stands for the number of a layer in a component's name


@dataclass(frozen=True, kw_only=True)
class Component:
    """Nodes that are alike in all layers, `layer.*.ffn.up.acc`.

    nodes        how many they are
    parameters   integers that they hold: weights, biases, tables
    weight_bits  bits of their weight memories (linear layers)
    macs         multiply-accumulates for one sentence of max_tokens
    host         computed by the host, in front of the hardware
    """

    name: str
    nodes: int = 0
    parameters: int = 0
    weight_bits: int = 0
    macs: int = 0
    host: bool = False

    def __add__(self, other: Component) -> Component:
        sums = {key: getattr(self, key) + getattr(other, key) for key in ("nodes", "parameters", "weight_bits", "macs")}
        return Component(name=self.name, host=self.host, **sums)


@dataclass(frozen=True, kw_only=True)
class BoardPlan:
    """A graph on a board, or on none.

    board     its name; "": none, no resources are counted
    folding   the fastest that fits, or one for the target; None: none does, `problem` says by how much
    used      by resource (LUT6, FF, the board's DSPs and block RAMs): taken, of what may be planned with; of the least design where none fits
    binds     what keeps the next faster folding from fitting; where none fits, what is short the most
    interval  cycles between two sentences of max_tokens, all operators counted; latency: tokens -> cycles of a sentence alone
    useful    share of the multipliers' cycles between them that are multiply-accumulates
    fetched   bytes of weights a cycle from external memory
    """

    board: str
    clock_mhz: float
    folding: Folding | None = None
    problem: str = ""
    used: dict[str, Usage] = field(default_factory=dict)
    binds: str = ""
    interval: int = 0
    latency: dict[int, int] = field(default_factory=dict)
    useful: float = 0.0
    fetched: float = 0.0

    @property
    def sentences_per_second(self) -> float:
        """Of max_tokens, one after the other; 0 where nothing fits."""
        return self.clock_mhz * 1e6 / self.interval if self.interval else 0.0


@dataclass(frozen=True, kw_only=True)
class PlanTable:
    """A graph's sizes, what it would be for a goal, and on each board. multiply-accumulates for one sentence of max_tokens."""

    graph: str
    max_tokens: int
    components: tuple[Component, ...]
    goal: BoardPlan | None
    boards: tuple[BoardPlan, ...]

    @property
    def total(self) -> Component:
        return sum(self.components, Component(name="total"))


def plan(graph: Graph, boards: Sequence[Board], goal: HardwareConfig | None = None, *, clock_mhz: float = 100.0,
         lengths: Sequence[int] | None = None) -> PlanTable:  # fmt: skip
    """The table of a graph, whose parameters may be random: only shapes and bits count.

    boards    each gets its fastest folding
    goal      what a recipe asks for, told apart from them
    lengths   tokens of the sentences whose latency is told; None: a quarter, half and all of max_tokens
    """
    top, cycles = graph.max_tokens, {}
    lengths = sorted({max(1, top // 4), max(1, top // 2), top}) if lengths is None else lengths
    configs, lanes = [(HardwareConfig(board=board.name, clock_mhz=clock_mhz), board) for board in boards], Lanes(graph)
    return PlanTable(
        graph=graph.name,
        max_tokens=top,
        components=components(graph),
        goal=goal and _planned(lanes, goal, Board.load(goal.board) if goal.board else None, lengths, cycles),
        boards=tuple(_planned(lanes, config, board, lengths, cycles) for config, board in configs),
    )


def folds(graph: Graph, folding: Folding) -> dict[str, str]:
    """PE x SIMD of the components that multiply, by heads side by side; more than one where the layers differ."""
    found: dict[str, list[str]] = {}
    for node in graph.nodes:
        if OPS[node.op].matrix and (fold := folding.folds.get(node.name)):  # in a rolled encoder only the first layers are hardware
            found.setdefault(_component(node.name), []).append(
                f"{fold.pe} x {fold.simd}" + (f" x {fold.side * fold.queries}" if fold.side * fold.queries > 1 else "")
            )
    return {name: ", ".join(dict.fromkeys(texts)) for name, texts in found.items()}


def resources(graph: Graph, folding: Folding, board: Board) -> dict[str, Usage]:
    """What a folding would take of a board, by the names of its resources, whether or not it fits."""
    return _used(Fitter(graph, board), folding)


def _component(name: str) -> str:
    return re.sub(r"\.\d+(?=\.|$)", f".{ALL}", name)


def components(graph: Graph) -> tuple[Component, ...]:
    """Sizes by component, in the graph's order; nodes without parameters or products are left out."""
    found: dict[str, Component] = {}
    for node in graph.nodes:
        name, op = _component(node.name), OPS[node.op]
        one = Component(
            name=name,
            nodes=1,
            parameters=sum(int(graph.param(node, key).size) for key in op.params),
            weight_bits=bits * int(graph.param(node, "weight").size) if (bits := graph.stored_bits(node)) else 0,
            macs=op.macs(graph, node, graph.longest(node)),
            host=op.host,
        )
        if one.parameters or one.macs:
            found[name] = found[name] + one if name in found else one
    return tuple(found.values())


def _planned(lanes: Lanes, config: HardwareConfig, board: Board | None, lengths: Sequence[int], cycles: dict) -> BoardPlan:
    """cycles: (interval, latency) of foldings that were predicted for other boards; how products are made changes none."""
    graph = lanes.graph
    about = {"board": board.name if board else "", "clock_mhz": config.clock_mhz}
    fitter = board and Fitter(graph, board)
    try:
        folding = solve(graph, config, board, lanes)
    except FoldingError as error:
        least = next(iter(lanes.rolled.values()), lanes) if gate_of(graph) else lanes  # a multiplier in each matrix unit
        used = _used(Fitter(least.graph, board), least.common(least.slowest)) if board else {}
        return BoardPlan(**about, problem=str(error), used=used, binds=max(used, key=lambda kind: used[kind].share, default=""))
    key = folding.inside, *(replace(fold, multiplier=None) for fold in folding.folds.values())
    if key not in cycles:
        design = Design(graph, folding)
        cycles[key] = math.ceil(steady_interval(design)), {n: predict(design, [n]).latency[0] for n in lengths}
    interval, latency = cycles[key]
    memory, design = folding.memory, Design(graph, folding)
    return BoardPlan(
        **about,
        folding=folding,
        used=_used(fitter, folding) if fitter else {},
        binds=folding.bound_by,
        interval=interval,
        latency=latency,
        useful=design.work(graph.max_tokens) / (folding.multipliers * interval),
        fetched=streamed.fetch_beats(design.graph, folding) * memory.data_bits / 8 / interval if memory else 0.0,
    )


def _used(fitter: Fitter, folding: Folding) -> dict[str, Usage]:
    costs = fitter.costs.estimate(Design(fitter.graph, folding)) if folding.board else fitter.styled(folding)[1]
    return {label(fitter.board, name): use for name, use in fitter.used(costs).items()}
