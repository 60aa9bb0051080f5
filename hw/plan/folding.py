# SPDX-License-Identifier: Apache-2.0
"""A folding: how a graph is spread over hardware and time. Data only; hw/plan/solve.py finds one, hw/plan/design.py reads it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bitloom.hw.errors import BitloomError
from bitloom.hw.instance import Fold, Layout


class FoldingError(BitloomError):
    """A target that no folding meets."""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """External memory for weights, behind an AXI4 port, as the design counts on it.

    data_bits         of a beat: 64, 128, 256 or 512
    block             tokens that each weight is used for when it was fetched, at most
    places            for blocks in each unit: 2, one is written while the other is read; 1 takes half the memory
    by_turn           the memories on the chip hold one turn's constants, and are loaded for each turn of the one sentence in the layers
    latency           cycles from a burst's address to its first beat
    cycles, beats     it gives `beats` beats in `cycles` cycles
    burst, outstanding  beats of a burst, bursts in flight
    bytes             its size
    """

    data_bits: int = 128
    block: int = 32
    places: int = 2
    by_turn: bool = False
    latency: int = 40
    cycles: int = 1
    beats: int = 1
    burst: int = 16
    outstanding: int = 8
    bytes: int = 1 << 32


@dataclass(frozen=True, kw_only=True)
class Folding:
    """The solved hardware shape of a graph.

    folds      per node (all but host-side ones)
    lanes      per tensor: elements a beat of its stream
    interval   cycles between two sentences of max_tokens tokens, as the matrix units alone allow
    layers     of hardware, each used in turn for several of the graph; 0: one for each
    inside     sentences that they hold at once
    recall     what the lower layers make of the first sentence of a pair is kept (hw/rtl/loop.sv)
    pack       the host sends packs of sentences (hw/pack.py)
    memory     of the weights; None: they are on the chip
    board      the board that it was fitted to; None: none
    styles     by instance of encoder.sv: its parameters that move memories out of block RAM (hw/instance.py: Module)
    bound_by   what of the board keeps the next faster folding from fitting
    """

    folds: dict[str, Fold]
    lanes: dict[str, int]
    interval: int
    multipliers: int
    per_node: dict[str, int] = field(default_factory=dict)
    layers: int = 0
    inside: int = 0
    recall: bool = False
    pack: bool = False
    memory: Memory | None = None
    board: str | None = None
    styles: dict[str, dict[str, str]] = field(default_factory=dict)
    bound_by: str = ""

    @property
    def how(self) -> str:
        """How many layers are hardware, and where the weights are."""
        layers = f"{self.layers} in turn" if self.layers else "all"
        return f"{layers}, weights in memory for {self.memory.block} tokens" if self.memory else layers

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> Folding:
        text = json.loads(path.read_text())
        memory = Memory(**text["memory"]) if text.get("memory") else None
        return cls(**(text | {"folds": {k: _fold(v) for k, v in text["folds"].items()}, "memory": memory}))


def _fold(entry: dict) -> Fold:
    layouts = {key: Layout(**entry[key]) for key in ("layout_in", "layout_out") if entry.get(key)}
    return Fold(**(entry | layouts | {"words": tuple(entry.get("words", ()))}))
