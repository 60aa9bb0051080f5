# SPDX-License-Identifier: Apache-2.0
"""Random integer encoders for tests: any shape and bit mix, scaled so that codes spread over their range without saturating much."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from bitloom.hw.folding import HardwareConfig, solve
from bitloom.hw.graph import Graph
from bitloom.hw.ops import linear
from bitloom.qat.net.attention import Context, Scores, Softmax
from bitloom.qat.net.encoder import Encoder
from bitloom.qat.net.operators import Add, LayerNorm, Linear, Table
from bitloom.qat.net.shape import EncoderShape, LayerShape
from bitloom.qat.net.untrained import RandomIntegers

ALL_BITS = {
    "weight_bits": tuple(range(1, 9)),
    "act_bits": tuple(range(2, 9)),
    "score_bits": tuple(range(4, 11)),
    "prob_bits": (4, 6, 8),
    "residual_bits": (8, 10, 12, 16),
}


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A random encoder; bits are drawn from the given choices, layer by layer."""

    layers: int = 2
    hidden: int = 32
    heads: int = 2
    head_dim: int | None = None  # hidden / heads if not given; fewer in a pruned head
    intermediate: int = 64
    max_tokens: int = 16
    vocabulary: int = 50
    labels: int = 2
    head: str = "sequence"
    activation: str = "gelu"
    weight_bits: tuple[int, ...] = (4,)
    act_bits: tuple[int, ...] = (8,)
    score_bits: tuple[int, ...] = (8,)
    prob_bits: tuple[int, ...] = (8,)
    residual_bits: tuple[int, ...] = (10,)


class DrawnBits(RandomIntegers):
    """Integers over their whole range, and bits that are drawn too, tensor by tensor."""

    def __init__(self, shape: Shape, seed: int):
        super().__init__(Encoder(encoder_shape(shape)), seed=seed)
        self.shape, self.prob_bits = shape, 0

    def pick(self, choices: tuple[int, ...]) -> int:
        return int(self.rng.choice(choices))

    def choice(self, step, operator):
        s = self.shape
        if isinstance(operator, Linear):
            bits = operator.bits or self.activations(step)
            return {"bits": bits, "weight_bits": self.pick(s.weight_bits), "narrow": False}
        if isinstance(operator, Scores):
            bits, self.prob_bits = self.pick(s.score_bits), self.pick(s.prob_bits)
            return {"bits": bits}
        if isinstance(operator, Softmax):
            return {"bits": self.prob_bits}
        if isinstance(operator, Add):
            return {"bits": self.pick(s.residual_bits)}
        if isinstance(operator, (Context, LayerNorm, Table)):
            return {"bits": self.activations(step)}
        return {"bits": 10, "table_bits": 8}

    def activations(self, step) -> int:
        return 8 if step.name.startswith("pooler") else self.pick(self.shape.act_bits)

    def codes(self, shape, bits, narrow=True):
        if bits == 1:
            return self.rng.choice([-1, 1], shape)
        low, high = linear.weight_range(bits)
        return self.rng.integers(low + narrow, high + 1, shape)

    def scale(self, step, bits):
        return 2.0 ** (3 - bits) if any(isinstance(reader, Table) for reader in self.network.readers(step.name)) else 0.25

    def scores_scale(self, bits):
        return 2.0 ** (2 - bits + self.pick((0, 1)))

    def sum_scale(self, a, b, bits):
        return (2 ** self.pick((0, 1, 2)), 2 ** self.pick((0, 1)), self.pick((0, 1, 2))), 1.0

    def embed(self, step, operator, inputs):
        drawn = super().embed(step, operator, inputs)
        self.rms[step.name] = 120
        return drawn


def encoder_shape(shape: Shape) -> EncoderShape:
    """That of the network."""
    layer = LayerShape(
        heads=shape.heads, head_width=shape.head_dim or shape.hidden // shape.heads, intermediate=shape.intermediate, activation=shape.activation
    )
    return EncoderShape(
        hidden=shape.hidden, vocabulary=shape.vocabulary, positions=shape.max_tokens, max_tokens=shape.max_tokens, layers=(layer,) * shape.layers,
        labels=shape.labels, head=shape.head, pooler="tanh" if shape.head == "sequence" else None,
    )  # fmt: skip


def random_encoder(seed: int = 0, **shape) -> Graph:
    """A checked random graph; keyword arguments are Shape's."""
    drawn = DrawnBits(Shape(**shape), seed)
    return drawn.graph("random", drawn.network.shape.about())


def random_sentences(graph: Graph, lengths, seed: int = 0) -> tuple[list[list[int]], list[list[int]]]:
    """Token and segment ids of sentences of the given lengths."""
    rng = np.random.default_rng(seed)
    words = len(graph.params["embeddings.sum.word"])
    ids = [rng.integers(0, words, n).tolist() for n in lengths]
    return ids, [np.sort(rng.integers(0, 2, n)).tolist() for n in lengths]


def draw_encoder(seed: int) -> dict:
    """A random encoder, the goal of its folding (each of the two has its share) and sentences for it: seed, hardware, lengths, shape."""
    rng = np.random.default_rng(1000 + seed)
    heads = int(rng.integers(1, 5))
    shape = dict(
        layers=int(rng.integers(1, 4)),
        heads=heads,
        hidden=heads * int(rng.integers(4, 17)),
        intermediate=int(rng.integers(5, 60)),
        max_tokens=int(rng.integers(1, 41)),
        labels=int(rng.integers(1, 5)),
        head=str(rng.choice(["sequence", "token"])),
        activation=str(rng.choice(["gelu", "relu"])),
        **ALL_BITS,
    )
    graph = random_encoder(seed, **shape)
    units = sum(n.op in ("linear", "scores", "context") for n in graph.nodes)
    hardware = HardwareConfig(multipliers=int(units * rng.uniform(1, 12)))
    if rng.integers(2):
        hardware = HardwareConfig(target_cycles=solve(graph, hardware).interval)
    lengths = rng.integers(1, shape["max_tokens"] + 1, int(rng.integers(6, 13))).tolist()
    return {"seed": seed, "hardware": hardware, "lengths": lengths, "shape": shape}
