# SPDX-License-Identifier: Apache-2.0
"""The folding solver: PE x SIMD of every matrix operator, lanes of every stream, balanced for one target.

All stages run at the same time, so a sentence leaves every max(stage intervals) cycles, and stages are independent given that figure: for a target
interval B each matrix operator takes its cheapest folding whose interval is at most B. The multipliers needed fall as B grows, so the fastest
design within a multiplier budget is found by bisection over B. So is the fastest that fits a board (hw/plan/fit.py).

Lanes and widths are chosen in one of two ways. `common`: one number of lanes for all token streams, which divides all their widths and the heads'.
`grouped`: each group of streams (hw/plan/groups.py) has lanes of its own and may be filled up with zeros to a width that divides better, so that an odd
width costs a few per cent instead of a divisor. The first is kept unless the second is clearly better.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from pydantic import Field, model_validator

from bitloom.hw.board import Board
from bitloom.hw.graph import Graph
from bitloom.hw.ops import gate_of
from bitloom.hw.pack import pack
from bitloom.hw.plan import fit, streamed
from bitloom.hw.plan.folding import Folding, FoldingError, Memory
from bitloom.hw.plan.lanes import Lanes
from bitloom.hw.plan.rolled import BEHIND, INSIDE, layers_of, require_rolled, roll
from bitloom.hw.settings import Number, Strict

OUTSTANDING = 16  # bursts of a board's memory in flight
WORTH = 0.05  # share of multiplier-cycles beyond the multiply-accumulates: up to it, the common lanes are kept; and of multipliers that others must save
APART = 4  # times that the matrix units of a tight design are faster than its memory: a sentence alone waits for both, one after the other
WORTH_TABLES = 0.2  # share of the interval that LUT RAM must save, in the place of block RAM
WORTH_AT_TARGET = 0.2  # share of multipliers that they must save at a given target: what a dearer folding has to spare lets shorter sentences pass faster


class MemoryConfig(Strict):
    """External memory for the weights, as the design may count on it (hw/plan/folding.py: Memory)."""

    data_bits: Literal[64, 128, 256, 512] = Field(128, description="bits of a beat of its AXI4 port")
    block: int = Field(32, ge=1, le=4096, description="tokens that each weight is used for when it was fetched, at most")
    places: Literal[1, 2] = Field(2, description="blocks that a unit holds: 2, one comes while the other is used; 1 takes half the memory on the chip")
    by_turn: bool = Field(False, description="load biases, multipliers and tables for each turn of the one sentence inside, in the place of all turns' at once")
    latency: int = Field(40, ge=1, le=100_000, description="cycles from a burst's address to its first beat")
    cycles: int = Field(1, ge=1, le=1000, description="it gives `beats` beats in `cycles` cycles")
    beats: int = Field(1, ge=1, le=1000, description="see cycles")
    burst: Literal[2, 4, 8, 16, 32, 64, 128, 256] = Field(16, description="beats of a burst")
    outstanding: int = Field(8, ge=2, le=64, description="bursts in flight")
    bytes: int = Field(1 << 32, ge=4096, le=1 << 32, description="its size")

    @model_validator(mode="after")
    def _within_rules(self) -> MemoryConfig:
        if self.burst * self.data_bits > 8 * 4096:
            raise ValueError(f"hardware.memory: got bursts of {self.burst} beats of {self.data_bits} bits, must be at most 4096 bytes; lower burst")
        if self.beats > self.cycles:
            raise ValueError(f"hardware.memory: got {self.beats} beats in {self.cycles} cycles, must be at most one a cycle; raise cycles")
        return self


class HardwareConfig(Strict):
    """What the hardware shall reach: `target_cycles` a sentence of max_tokens, or the fastest within a budget of `multipliers`, of a `board`, or of both."""

    target_cycles: int | None = Field(None, ge=1, description="cycles between two sentences of max_tokens tokens")
    multipliers: int | None = Field(None, ge=1, description="multipliers in all matrix units together")
    layers: int | None = Field(None, ge=1, le=1024, description="encoder layers in hardware, used in turn for all of the model's; without: all of them")
    inside: int | None = Field(None, ge=1, le=256, description="sentences at once in layers that are used in turn; without: as many as keep them busy")
    recall: bool = Field(False, description="keep what the lower layers make of the first sentence of a pair: the next one may come without it")
    pack: bool = Field(False, description="the host sends consecutive sentences as one of max_tokens at most, each attending within itself")
    memory: MemoryConfig | None = Field(None, description="external memory for the weights; without: they are on the chip")
    board: str | None = Field(None, min_length=1, description="a board of `bitloom boards`, or a board file: the hardware must fit it")
    clock_mhz: Number = Field(100.0, gt=0, le=100_000, description="for times in the report; the RTL does not depend on it")

    @model_validator(mode="after")
    def _one_goal(self) -> HardwareConfig:
        if (self.target_cycles is None) == (self.multipliers is None) and (self.target_cycles or not self.board):
            got = "both" if self.target_cycles else "neither"
            raise ValueError(f"hardware: got {got} of target_cycles and multipliers, must be exactly one; remove or add one")
        if self.recall and self.layers is None:
            raise ValueError("hardware.recall: got all layers in hardware, must be layers in turn; set hardware.layers: 1")
        if self.recall and self.pack:
            raise ValueError("hardware.recall: got hardware.pack as well, must be one of them; remove one")
        return self


def solve(graph: Graph, config: HardwareConfig, board: Board | None = None, lanes: Lanes | None = None) -> Folding:
    """The cheapest folding that meets target_cycles, or the fastest one within the budget of multipliers, of the board, or of both.

    board  instead of the one that config names
    lanes  the graph's, where it is solved several times: it remembers what it found
    Raises FoldingError: nothing is that fast, or that small; the message names the stage that binds and the nearest figure, or by how much the
    board is too small and what would fit; layers that cannot share hardware; weights that the memory does not hold. BoardError: no such board.
    """
    board = board or (Board.load(config.board) if config.board else None)
    lanes = _packed(lanes or Lanes(graph), config)
    if config.layers:
        lanes = _rolled(lanes, config.layers, config.inside, config.memory is not None, recall=config.recall)
    elif config.memory or board is None:
        require_rolled(lanes.graph)
    if board and config.memory and config.memory.places == 1 and config.target_cycles is None:
        return _tight(lanes, config, board, Memory(**config.memory.model_dump()))
    if config.memory or config.layers or board is None:
        return _solve(lanes, config, board, config.memory and Memory(**config.memory.model_dump()))
    return _choose(lanes, config, board)


def meet(graph: Graph, config: HardwareConfig) -> Folding:
    """The cheapest folding that meets config's target_cycles, whether or not it fits a board or its memory is fast enough: a choice of bits may mend that.

    Raises FoldingError: as `solve`.
    """
    lanes = _packed(Lanes(graph), config)
    if config.layers:
        lanes = _rolled(lanes, config.layers, config.inside, config.memory is not None, recall=config.recall)
    else:
        require_rolled(lanes.graph)
    folding = _meet(lanes, config.target_cycles)
    return streamed.stream(lanes.graph, folding, Memory(**config.memory.model_dump())) if config.memory else folding


def _packed(lanes: Lanes, config: HardwareConfig) -> Lanes:
    """Of the graph for packs of sentences, where config asks for them; remembered with the graph's own."""
    if not config.pack:
        return lanes
    lanes.packed = lanes.packed or Lanes(pack(lanes.graph))
    return lanes.packed


def _rolled(lanes: Lanes, layers: int, inside: int | None, behind: bool, beat: int = 0, recall: bool = False) -> Lanes:
    """Of the graph rolled to so many layers; remembered with the graph's own. behind: weights come from external memory. beat: as Lanes takes it."""
    key = layers, inside or INSIDE + (BEHIND if behind else 0), beat, recall
    if key not in lanes.rolled:
        graph = roll(lanes.graph, *key[:2], recall)
        lanes.rolled[key] = lanes if graph is lanes.graph else Lanes(graph, beat)
    return lanes.rolled[key]


def _choose(lanes: Lanes, config: HardwareConfig, board: Board) -> Folding:
    """The fastest that fits the board: all layers in hardware or one of them used in turn; where neither does, that with weights from the board's memory."""
    best, errors = None, []
    several = layers_of(lanes.graph) > 1
    ways: list[tuple[Lanes, Memory | None]] = [] if gate_of(lanes.graph) else [(lanes, None)]
    if several:
        ways.append((_rolled(lanes, 1, config.inside, False), None))
    ways += [(_rolled(lanes, 1, config.inside, True) if several else lanes, memory) for memory in _memories(lanes.graph, board)]
    for tables in (False, True)[: 1 + (fit.has_tables(board) and board.resources.lut_inputs == 6)]:
        below = best and (int((1 - WORTH_TABLES) * best.interval) if tables else best.interval)
        for way, memory in ways:
            if memory and best and best.memory is None:
                break
            try:
                found = _solve(way, config, board, memory, below, tables)
            except FoldingError as error:
                errors.append(error)
                continue
            if found is not None and (below is None or found.interval < below):
                best, below = found, found.interval
    if best is None and config.target_cycles is None and (memories := _memories(lanes.graph, board)):
        tight = _rolled(lanes, 1, config.inside or 1, True, memories[0].data_bits) if several else lanes
        constants = several and config.inside in (None, 1) and not gate_of(lanes.graph)  # loaded by turn
        for memory in memories:
            try:
                found = _tight(tight, config, board, replace(memory, places=1, by_turn=constants))
            except FoldingError as error:
                errors.append(error)
                continue
            if best is None or _in_turn(tight, found) < _in_turn(tight, best):
                best = found
    if best is None:
        raise errors[-1]
    return best


def _in_turn(lanes: Lanes, folding: Folding) -> int:
    """Cycles of a sentence of max_tokens whose matrix units wait for the memory, and it for them."""
    return folding.interval + streamed.fetch_cycles(lanes.graph, folding)


def _tight(lanes: Lanes, config: HardwareConfig, board: Board, memory: Memory) -> Folding:
    """The fastest that fits where block RAM is scarce: units with one place for blocks, constants by turn, tiles in LUT RAM.

    What they compute waits for what they fetch, so the memory is busy most of the time, and they need not be as fast as the board would let them be.
    """
    graph, most = lanes.graph, config.multipliers or math.inf

    def fold_all(target: int) -> Folding | None:
        plain = lanes.common(target) or lanes.grouped(target)
        return plain and streamed.stream(graph, plain, memory)

    enough = max(1, streamed.fetch_cycles(graph, fold_all(lanes.slowest)) // APART)
    fitter = fit.Fitter(graph, board, tables=fit.has_tables(board))
    return fit.fastest(fitter, fold_all, lanes.slowest, lambda folding, target: "hardware.multipliers" if folding.multipliers > most else "", enough=enough)


def _memories(graph: Graph, board: Board) -> list[Memory]:
    """The board's memory with blocks of all tokens of the longest sentence, half of them, a third, ..., an eighth."""
    if board.external_memory is None or (port := board.external_memory.port) is None:
        return []
    size = min(board.external_memory.mbytes << 20, 1 << 32)
    blocks = sorted({max(1, -(-graph.max_tokens // parts)) for parts in (1, 2, 3, 4, 5, 6, 7, 8)}, reverse=True)
    return [Memory(**port.model_dump(exclude={"processor"}), block=block, outstanding=OUTSTANDING, bytes=size) for block in blocks]


def _solve(lanes: Lanes, config: HardwareConfig, board: Board | None, memory: Memory | None, below: int | None = None, tables: bool = False) -> Folding | None:
    """below: only a smaller interval on the board is looked for; None where there is none. tables: as Fitter takes it."""
    graph = lanes.graph

    def dressed(folding: Folding) -> Folding:
        return streamed.stream(graph, folding, memory) if memory else folding

    if config.target_cycles is not None:
        folding = dressed(_meet(lanes, config.target_cycles))
        if memory and (text := streamed.shortage(graph, folding, config.target_cycles)):
            raise FoldingError(f"folding: {text}")
        return folding if board is None else fit.must_fit(graph, board, folding)
    most = config.multipliers or math.inf
    fitter = board and fit.Fitter(graph, board, tables)

    def forbids(folding: Folding, target: int) -> str:
        if folding.multipliers > most:
            return "hardware.multipliers"
        return fit.BANDWIDTH if memory and streamed.shortage(graph, folding, target) else ""

    def fastest(fold_all: Callable[[int], Folding | None]) -> Folding | None:
        if fitter is None:
            folding = _within(lanes, fold_all, most)
            return folding and dressed(folding)
        return fit.fastest(fitter, lambda target: (plain := fold_all(target)) and dressed(plain), lanes.slowest, forbids, below)

    plain = fastest(lanes.common)
    if plain is not None and plain.interval * most <= (1 + WORTH) * lanes.work(plain):
        return plain
    filled = fastest(lanes.grouped)
    if filled is None and below is not None:
        return plain
    if filled is None:
        least = lanes.common(lanes.slowest) or lanes.grouped(lanes.slowest)
        raise FoldingError(
            f"folding: got a budget of {config.multipliers} multipliers, must be at least {least.multipliers}, one in each matrix unit; "
            "raise hardware.multipliers"
        )
    return filled if plain is None or _better(lanes, filled, plain) else plain


def _better(lanes: Lanes, filled: Folding, plain: Folding) -> bool:
    """Faster, all operators counted; or as fast with clearly fewer multipliers."""
    new, old = (max(folding.interval, lanes.pace(folding)) for folding in (filled, plain))
    return new < old or new == old and filled.multipliers < (1 - WORTH) * plain.multipliers


def _within(lanes: Lanes, fold_all: Callable[[int], Folding | None], multipliers: int) -> Folding | None:
    """The fastest folding within a budget of multipliers; None: not even the slowest is."""
    low, high, best = 1, lanes.slowest, None
    while low <= high:
        middle = high if best is None else (low + high) // 2
        folding = fold_all(middle)
        if folding is not None and folding.multipliers <= multipliers:
            high, best = folding.interval - 1, folding
        elif best is None:
            return None
        else:
            low = middle + 1
    return best


def _meet(lanes: Lanes, target: int) -> Folding:
    """The cheapest folding for a target interval."""
    plain = lanes.common(target)
    if plain is not None and plain.multipliers * target <= (1 + WORTH) * lanes.work(plain):
        return plain
    filled = lanes.grouped(target)
    if plain is not None:
        return filled if filled is not None and filled.multipliers < (1 - WORTH_AT_TARGET) * plain.multipliers else plain
    if filled is not None:
        return filled
    low, high = target, lanes.slowest
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if lanes.common(middle) or lanes.grouped(middle) else (middle + 1, high)
    raise FoldingError(
        f"folding: got target_cycles {target}, must be at least {high} for this encoder; "
        f"'{lanes.binding(high - 1)}' cannot be faster, raise hardware.target_cycles or lower max_tokens"
    )
