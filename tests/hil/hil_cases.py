# SPDX-License-Identifier: Apache-2.0
"""A small encoder, sentences for it with their golden answers, and its board model: what the tests of this folder share."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from encoders import random_encoder, random_sentences

from bitloom.hw import golden
from bitloom.hw.graph import Graph
from bitloom.hw.plan.design import Design
from bitloom.hw.plan.solve import HardwareConfig, solve
from bitloom.sim.hil.board_model import BoardModel
from bitloom.sim.hil.frames import Info
from bitloom.sim.hil.link import LinkSettings
from bitloom.sim.hil.target import Answer, Shape

CYCLES_A_TOKEN = 100  # of the model
QUICK = LinkSettings(timeout_s=0.05, patience=6, stuck_s=1.0)
HARDWARE = HardwareConfig(multipliers=20)
SHAPE = dict(layers=1, hidden=8, heads=2, intermediate=8, max_tokens=8)


@dataclass(frozen=True, kw_only=True)
class Case:
    """sentences: codes [T, C]; want: the output's golden codes of each, [1, C] or [T, C]."""

    graph: Graph
    sentences: list[np.ndarray]
    want: list[np.ndarray]
    hardware: HardwareConfig = HARDWARE
    computed: list[int] = field(default_factory=list)

    @cached_property
    def design(self) -> Design:
        return Design(self.graph, solve(self.graph, self.hardware))

    @property
    def lengths(self) -> list[int]:
        return [len(s) for s in self.sentences]

    def model(self, *, depth: int = 64, beat_bits: int = 10, identity: str | None = None) -> BoardModel:
        """A board with this graph; it notes in `computed` which sentences (of the same codes, the first) it computed."""
        shape = Shape.of(self.design)
        index = {s.tobytes(): i for i, s in reversed(list(enumerate(shape.elements(self.sentences))))}

        def compute(sentence: np.ndarray) -> tuple[np.ndarray, int]:
            found = index[np.ascontiguousarray(sentence).tobytes()]
            self.computed.append(found)
            return self.want[found], CYCLES_A_TOKEN * len(sentence)

        info = Info(identity=identity or shape.identity, clock_hz=25_000_000, divider=25, beat_bits=beat_bits, word_bytes=2)
        return BoardModel(shape, info, depth, compute)

    def assert_answered(self, answers: list[Answer]) -> None:
        """Every sentence once, in order, with the golden codes."""
        assert len(answers) == len(self.sentences) > 0
        wrong = [i for i, (got, want) in enumerate(zip(answers, self.want, strict=True)) if not np.array_equal(got.codes, want)]
        assert wrong == []


def make_case(sentences: int, seed: int = 1, hardware: HardwareConfig = HARDWARE, graph: Graph | None = None, **shape) -> Case:
    """A random encoder, or `graph`, and random sentences for it."""
    graph = graph or random_encoder(seed, **(SHAPE | shape))
    lengths = np.random.default_rng(seed).integers(1, graph.max_tokens + 1, sentences).tolist()
    ids, segments = random_sentences(graph, lengths, seed)
    all_codes = golden.run(graph, ids, segments)
    ends = np.cumsum(lengths)[:-1]
    out = all_codes[graph.outputs[0]]
    want = np.split(out, ends) if len(out) == sum(lengths) and graph.meta["head"] == "token" else list(out[:, None])
    return Case(graph=graph, hardware=hardware, sentences=np.split(all_codes[graph.entry], ends), want=want)
