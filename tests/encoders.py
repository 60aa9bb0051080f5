# SPDX-License-Identifier: Apache-2.0
"""Random integer encoders for tests: any shape and bit mix, scaled so that codes spread over their range without saturating much."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from bitloom.hw import graph_file
from bitloom.hw.graph import Graph, Node, Tensor, signed_bits
from bitloom.hw.ops import context as context_op
from bitloom.hw.ops import layernorm, linear, softmax, table
from bitloom.hw.ops.common import largest
from bitloom.hw.plan.solve import HardwareConfig, solve

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


class RandomEncoder:
    """Builds the graph of numerics.md with random parameters; tracks each tensor's typical size to choose shifts."""

    def __init__(self, shape: Shape, seed: int):
        self.shape, self.rng = shape, np.random.default_rng(seed)
        self.nodes: list[Node] = []
        self.tensors: dict[str, Tensor] = {}
        self.params: dict[str, np.ndarray] = {}
        self.rms: dict[str, float] = {}

    def pick(self, choices: tuple[int, ...]) -> int:
        return int(self.rng.choice(choices))

    def node(self, name, op, inputs, shape, bits, signed=True, rms=1.0, scale=1.0, attrs=None, **params) -> str:
        self.nodes.append(Node(name=name, op=op, inputs=tuple(inputs), attrs=attrs or {}))
        self.tensors[name] = Tensor(name=name, shape=shape, bits=bits, signed=signed, scale=scale)
        self.params |= {f"{name}.{k}": np.asarray(v, dtype=np.int64) for k, v in params.items()}
        self.rms[name] = rms
        return name

    def layernorm(self, name, x, bits):
        source = self.tensors[x]
        size, scale = source.channels, 2.0 ** (2 - (bits - 1))
        gamma, beta = self.rng.normal(1, 0.2, size), self.rng.normal(0, 0.2, size)
        g, b, shift = layernorm.affine(gamma, beta, scale)
        attrs = layernorm.constants(source, 1e-12) | {"shift": shift}
        return self.node(name, "layernorm", [x], source.shape, bits, rms=1 / scale, scale=scale, attrs=attrs, gamma=g, beta=b)

    def linear(self, name, x, channels, bits_out, scale=0.25, acc=None):
        source, bits = self.tensors[x], self.pick(self.shape.weight_bits)
        low, high = linear.weight_range(bits)
        weight = self.rng.choice([-1, 1], (channels, source.channels)) if bits == 1 else self.rng.integers(low, high + 1, (channels, source.channels))
        rms = math.sqrt(source.channels) * float(np.sqrt((weight**2).mean())) * self.rms[x]
        bias = np.floor(self.rng.normal(0, rms / 4, channels) + 0.5).astype(np.int64)
        shape = (source.shape[0], channels)
        acc_bits = signed_bits(linear.bound(weight, bias, largest(source)))
        acc = self.node(acc or f"{name}.acc", "linear", [x], shape, acc_bits, rms=rms, attrs={"weight_bits": bits}, weight=weight, bias=bias)
        target = 2.0 ** (bits_out - 1) / 3
        ratio = target / rms * self.rng.uniform(0.6, 1.4, channels)
        shift = 15 - math.floor(math.log2(ratio.max()))
        mult = np.clip(np.floor(ratio * 2.0**shift + 0.5), 1, 65535)
        return self.node(name, "requant", [acc], shape, bits_out, rms=target, scale=scale, attrs={"shift": shift}, mult=mult)

    def shift_to(self, name, acc, bits, scale):
        """A requant by shift only."""
        target = 2.0 ** (bits - 1) / 3
        shift = max(0, math.ceil(math.log2(self.rms[acc] / target)))
        return self.node(name, "requant", [acc], self.tensors[acc].shape, bits, rms=self.rms[acc] / 2**shift, scale=scale, attrs={"shift": shift}, mult=[1])

    def add(self, name, a, b):
        bits = self.pick(self.shape.residual_bits)
        mult_a, mult_b, shift = 2 ** self.pick((0, 1, 2)), 2 ** self.pick((0, 1)), self.pick((0, 1, 2))
        rms = math.hypot(self.rms[a] * mult_a, self.rms[b] * mult_b) / 2**shift
        return self.node(name, "add", [a, b], self.tensors[a].shape, bits, rms=rms, attrs={"mult_a": mult_a, "mult_b": mult_b, "shift": shift})

    def table(self, name, x, function, bits):
        source = self.tensors[x]
        signed = function != "relu"
        scale = 2.0 ** (1 - bits) if function == "tanh" else source.scale
        self.node(name, "table", [x], source.shape, bits, signed=signed, rms=self.rms[x] * 0.6, scale=scale)
        self.params[f"{name}.table"] = table.entries(function, source, self.tensors[name])
        return name

    def attention(self, p, x):
        s = self.shape
        rows, dim = ("T", s.heads, "T"), s.head_dim or s.hidden // s.heads
        q, k, v = (self.linear(f"{p}.{n}", x, s.heads * dim, self.pick(s.act_bits)) for n in ("query", "key", "value"))
        bits = dim * largest(self.tensors[q]) * largest(self.tensors[k])
        rms = math.sqrt(dim) * self.rms[q] * self.rms[k]
        acc = self.node(f"{p}.scores.acc", "scores", [q, k], rows, signed_bits(bits), rms=rms, attrs={"heads": s.heads})
        score_bits, prob_bits = self.pick(s.score_bits), self.pick(s.prob_bits)
        scores = self.shift_to(f"{p}.scores", acc, score_bits, 2.0 ** (2 - score_bits + self.pick((0, 1))))
        attrs = softmax.constants(prob_bits, s.max_tokens) | {"heads": s.heads}
        probs = self.node(
            f"{p}.probs",
            "softmax",
            [scores],
            rows,
            prob_bits,
            signed=False,
            rms=2.0**prob_bits / 4,
            scale=2.0**-prob_bits,
            attrs=attrs,
            exp_table=softmax.exp_table(self.tensors[scores], prob_bits),
        )
        limit = context_op.bound(prob_bits, largest(self.tensors[v]), s.max_tokens)
        acc = self.node(
            f"{p}.context.acc", "context", [probs, v], ("T", s.heads * dim), signed_bits(limit), rms=2.0**prob_bits * self.rms[v] / 2, attrs={"heads": s.heads}
        )
        return self.shift_to(f"{p}.context", acc, self.pick(s.act_bits), 0.25)

    def layer(self, p, x):
        s = self.shape
        out = self.linear(f"{p}.attention.output", self.attention(p, x), s.hidden, self.pick(s.act_bits))
        x = self.layernorm(f"{p}.attention.norm", self.add(f"{p}.attention.sum", out, x), self.pick(s.act_bits))
        bits = self.pick(s.act_bits)
        up = self.linear(f"{p}.ffn.up", x, s.intermediate, bits, scale=2.0 ** (3 - bits))
        act = self.table(f"{p}.ffn.act", up, s.activation, self.pick(s.act_bits))
        down = self.linear(f"{p}.ffn.down", act, s.hidden, self.pick(s.act_bits))
        return self.layernorm(f"{p}.ffn.norm", self.add(f"{p}.ffn.sum", down, x), self.pick(s.act_bits))

    def build(self) -> Graph:
        s = self.shape
        tables = {key: self.rng.integers(-127, 128, (rows, s.hidden)) for key, rows in (("word", s.vocabulary), ("position", s.max_tokens), ("segment", 2))}
        self.node("embeddings.sum", "embed", ["input_ids", "token_type_ids"], ("T", s.hidden), 10, rms=120, **tables)
        x = self.layernorm("embeddings.norm", "embeddings.sum", self.pick(s.act_bits))
        for i in range(s.layers):
            x = self.layer(f"layer.{i}", x)
        if s.head == "sequence":
            first = self.node("pooler.first", "first_token", [x], (1, s.hidden), self.tensors[x].bits, rms=self.rms[x])
            pre = self.linear("pooler.pre", first, s.hidden, 8, scale=2.0**-5, acc="pooler.acc")
            x = self.table("pooler", pre, "tanh", 8)
        self.linear("logits", x, s.labels, 16)
        return graph_file.check(
            Graph(
                name="random",
                nodes=tuple(self.nodes),
                tensors=self.tensors,
                params=self.params,
                max_tokens=s.max_tokens,
                meta={"layers": s.layers, "hidden": s.hidden, "heads": s.heads, "intermediate": s.intermediate, "head": s.head},
            )
        )


def random_encoder(seed: int = 0, **shape) -> Graph:
    """A checked random graph; keyword arguments are Shape's."""
    return RandomEncoder(Shape(**shape), seed).build()


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
