# SPDX-License-Identifier: Apache-2.0
"""Random integer encoders for tests: any shape and bit mix, scaled so that codes spread over their range without saturating much."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from bitloom.hw import ops
from bitloom.hw.graph import Graph, GraphBuilder, Tensor
from bitloom.hw.graph_file import check
from bitloom.qat.config import QuantConfig
from bitloom.qat.net.attention import Border, Context, FixedContext, Scores, Softmax
from bitloom.qat.net.bilstm import BilstmShape
from bitloom.qat.net.cells import CellsShape
from bitloom.qat.net.cnn import CnnShape
from bitloom.qat.net.convolution import Concat, TokenMax, TokenMean, TokenWindow, Upsample, WindowMax, WindowMean
from bitloom.qat.net.encoder import Encoder
from bitloom.qat.net.hourglass import HourglassShape
from bitloom.qat.net.hybrid import HybridShape
from bitloom.qat.net.kept import KeepTokens
from bitloom.qat.net.kinds import build
from bitloom.qat.net.network import INPUTS, Network
from bitloom.qat.net.off_ramps import OffRamps
from bitloom.qat.net.operator import MARKED, Operator
from bitloom.qat.net.operators import Add, Embeddings, FirstToken, LayerNorm, Linear, Table
from bitloom.qat.net.recurrence import Lstm
from bitloom.qat.net.shape import EncoderShape, LayerShape, NetworkShape

ALL_BITS = {
    "weight_bits": tuple(range(1, 9)),
    "act_bits": tuple(range(2, 9)),
    "score_bits": tuple(range(4, 11)),
    "prob_bits": (4, 6, 8),
    "residual_bits": (8, 10, 12, 16),
    "gate_bits": tuple(range(4, 11)),
    "cell_bits": tuple(range(8, 17)),
}


CODEBOOKS = {"index_bits": (0, 0, 1, 2, 3, 4)}


def coded(seed: int) -> dict:
    """Codebooks for each fourth of the random encoders; those of the golden digests stay as they are."""
    return CODEBOOKS if seed >= 20 and seed % 4 == 1 else {}


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A random encoder; bits are drawn from the given choices, layer by layer."""

    layers: int = 2
    hidden: int = 32
    heads: int = 2
    head_dim: int | None = None  # hidden / heads if not given; fewer in a pruned head
    intermediate: int = 64
    embedding: int | None = None  # hidden if not given
    max_tokens: int = 16
    vocabulary: int = 50
    labels: int = 2
    head: str = "sequence"
    activation: str = "gelu"
    patterns: tuple[str, ...] = ()  # of further heads, of all layers
    keys: str | tuple[str, ...] = "T"  # those that a query sees (hw/keys.py), of all layers or of each
    weight_bits: tuple[int, ...] = (4,)
    narrow: bool = False  # without the least weight of its bits, as training has it: more rows may share a multiplier
    index_bits: tuple[int, ...] = (0,)  # 0: no codebook; what weights of one bit have in any case
    act_bits: tuple[int, ...] = (8,)
    score_bits: tuple[int, ...] = (8,)
    prob_bits: tuple[int, ...] = (8,)
    residual_bits: tuple[int, ...] = (10,)
    gate_bits: tuple[int, ...] = (8,)
    cell_bits: tuple[int, ...] = (16,)
    tile: tuple[int, int] = (8, 8)  # rows and columns of the tiles of a matrix that
    zero_tiles: tuple[float, ...] = (0.0,)  # are zero to one of these shares; tiles at the edges are smaller
    keep: int | tuple[int | None, ...] | None = None  # share of the tokens that stays behind attention, in 256ths, of all layers or of each
    exits: tuple[float, int] | None = None  # off-ramps: threshold in shares of a logit's typical size, patience
    balanced: tuple[tuple[int, int], ...] = ((1, 1),)  # (weights of a row that are not zero, of so many side by side)


class RandomEncoder:
    """Random integers for every operator of a network's forward pass; tracks each tensor's typical size to choose shifts."""

    def __init__(self, shape: Shape, seed: int):
        self.shape, self.rng = shape, np.random.default_rng(seed)
        self.b = GraphBuilder(shape.max_tokens)
        self.rms: dict[str, float] = {}
        self.prob_bits = 0  # of the softmax that comes next
        own = np.random.default_rng((seed, 1))  # that of all else stays
        self.joined, self.finer = (
            int(own.choice(shape.act_bits)),
            int(own.integers(-2, 2)),
        )  # bits of what concatenations take, and octaves of means beside what they are of

    def pick(self, choices: tuple[int, ...]) -> int:
        return int(self.rng.choice(choices))

    def normal_or(self, x: Tensor, bits: int) -> int:
        """An activation's bits: drawn for tokens, given for what stands behind a sentence's first token."""
        return self.pick(self.shape.act_bits) if x.kind == "token" else bits

    def embeddings(self, op: Embeddings, inputs: tuple[str, str]) -> Tensor:
        rows = (("word", self.shape.vocabulary), ("position", self.shape.max_tokens), ("segment", 2))
        tables = {key: self.rng.integers(-127, 128, (count, op.word.shape[1])) for key, count in rows}
        self.rms[op.tensor] = 120
        if op.marked:
            sums = ops.embed.append(self.b, MARKED, inputs, *ops.border.marked(*tables.values()), bits=11, scale=0.5)
            return ops.requant.append(self.b, op.tensor, sums, [1], 1, bits=10, scale=1.0)
        return ops.embed.append(self.b, op.tensor, inputs, **tables, bits=10, scale=1.0)

    def border(self, op: Border, sums: Tensor, segments: str) -> Tensor:
        return ops.border.append(self.b, op.tensor, self.b.tensors[MARKED])

    def layernorm(self, op: LayerNorm, x: Tensor) -> Tensor:
        bits = self.pick(self.shape.act_bits)
        scale = 2.0 ** (2 - (bits - 1))
        gamma, beta = self.rng.normal(1, 0.2, x.channels), self.rng.normal(0, 0.2, x.channels)
        g, b, shift = ops.layernorm.affine(gamma, beta, scale)
        self.rms[op.tensor] = 1 / scale
        return ops.layernorm.append(self.b, op.tensor, x, g, b, eps=ops.layernorm.constants(x, 1e-12)["eps"], shift=shift, bits=bits, scale=scale)

    def thinned(self, weight: np.ndarray, bits: int) -> np.ndarray:
        """The weights with some that are zero; those of one bit cannot be."""
        if bits > 1 and self.shape.balanced != ((1, 1),):
            keep, group = self.shape.balanced[int(self.rng.integers(len(self.shape.balanced)))]
            width = -(-weight.shape[1] // group)
            stay = self.rng.permuted(np.tile(np.arange(group) < keep, (len(weight), width, 1)), axis=2)
            weight = np.where(stay.reshape(len(weight), -1)[:, : weight.shape[1]], weight, 0)
        if bits == 1 or self.shape.zero_tiles == (0.0,):
            return weight
        rows, columns = (-(-size // tile) for size, tile in zip(weight.shape, self.shape.tile, strict=True))
        zero = np.zeros(rows * columns, dtype=bool)
        zero[self.rng.permutation(zero.size)[: round(float(self.rng.choice(self.shape.zero_tiles)) * zero.size)]] = True
        gone = np.repeat(np.repeat(zero.reshape(rows, columns), self.shape.tile[0], axis=0), self.shape.tile[1], axis=1)
        return np.where(gone[: weight.shape[0], : weight.shape[1]], 0, weight)

    def weights(self, channels: int, inputs: int) -> tuple[np.ndarray, int, np.ndarray | None]:
        """Codes [channels, inputs], their bits, and the codebook that they come from."""
        bits, index = self.pick(self.shape.weight_bits), self.pick(self.shape.index_bits) if self.shape.index_bits != (0,) else 0
        low, high = ops.linear.weight_range(bits)
        if bits == 1:
            return self.rng.choice([-1, 1], (channels, inputs)), bits, None
        low += self.shape.narrow
        if not index:
            return self.rng.integers(low, high + 1, (channels, inputs)), bits, None
        books = channels if index == 1 and self.rng.integers(2) else 1  # each channel's own
        book = np.sort(self.rng.integers(low, high + 1, (books, 1 << index)))
        chosen = self.rng.integers(0, 1 << index, (channels, inputs))
        return np.take_along_axis(np.broadcast_to(book, (channels, 1 << index)), chosen, axis=1), bits, book

    def linear(self, op: Linear, x: Tensor) -> Tensor:
        bits_out = op.fixed_bits or self.normal_or(x, 8)
        scale = 2.0 ** (3 - bits_out) if op.into_table else 0.25
        channels = op.out_features
        weight, bits, book = self.weights(channels, x.channels)
        if book is None or (book == 0).any(axis=1).all():
            weight = self.thinned(weight, bits)
        rms = max(1.0, math.sqrt(x.channels) * float(np.sqrt((weight**2).mean()))) * self.rms[x.name]
        bias = np.floor(self.rng.normal(0, rms / 4, channels) + 0.5).astype(np.int64)
        acc = ops.linear.append(self.b, op.acc, x, weight, bias, bits, book)
        target = 2.0 ** (bits_out - 1) / 3
        ratio = target / rms * self.rng.uniform(0.6, 1.4, channels)
        shift = 15 - math.floor(math.log2(ratio.max()))
        mult = np.clip(np.floor(ratio * 2.0**shift + 0.5), 1, 65535)
        self.rms[op.tensor] = target
        return ops.requant.append(self.b, op.tensor, acc, mult, shift, bits=bits_out, scale=scale)

    def shift_to(self, op: Operator, acc: Tensor, rms: float, bits: int, scale: float) -> Tensor:
        """A requant by shift only."""
        target = 2.0 ** (bits - 1) / 3
        shift = max(0, math.ceil(math.log2(rms / target)))
        self.rms[op.tensor] = rms / 2**shift
        return ops.requant.append(self.b, op.tensor, acc, [1], shift, bits=bits, scale=scale)

    def scores(self, op: Scores, q: Tensor, k: Tensor, *border: Tensor) -> Tensor:
        acc = ops.scores.append(self.b, op.acc, q, k, op.heads, op.keys, *border)
        rms = math.sqrt(q.channels // op.heads) * self.rms[q.name] * self.rms[k.name]
        bits, self.prob_bits = self.pick(self.shape.score_bits), self.pick(self.shape.prob_bits)
        return self.shift_to(op, acc, rms, bits, 2.0 ** (2 - bits + self.pick((0, 1))))

    def softmax(self, op: Softmax, x: Tensor, *border: Tensor) -> Tensor:
        self.rms[op.tensor] = 2.0**self.prob_bits / 4
        return ops.softmax.append(self.b, op.tensor, x, self.prob_bits, *border)

    def context(self, op: Context, p: Tensor, v: Tensor) -> Tensor:
        acc = ops.context.append(self.b, op.acc, p, v, op.heads)
        return self.shift_to(op, acc, 2.0**p.bits * self.rms[v.name] / 2, self.pick(self.shape.act_bits), 0.25)

    def pattern(self, op: FixedContext, v: Tensor) -> Tensor:
        acc = ops.pattern.append(self.b, op.acc, v, op.patterns)
        return self.shift_to(op, acc, 40 * self.rms[v.name], self.pick(self.shape.act_bits), 0.25)

    def summed(self, op: Add, a: Tensor, b: Tensor) -> dict[str, int]:
        """A residual sum's bits, multipliers and shift."""
        bits = self.pick(self.shape.residual_bits)
        mult_a, mult_b, shift = 2 ** self.pick((0, 1, 2)), 2 ** self.pick((0, 1)), self.pick((0, 1, 2))
        self.rms[op.tensor] = math.hypot(self.rms[a.name] * mult_a, self.rms[b.name] * mult_b) / 2**shift
        return {"mult_a": mult_a, "mult_b": mult_b, "shift": shift, "bits": bits}

    def add(self, op: Add, a: Tensor, b: Tensor) -> Tensor:
        return ops.add.append(self.b, op.tensor, a, b, **self.summed(op, a, b))

    def upsample(self, op: Upsample, a: Tensor, b: Tensor) -> Tensor:
        return ops.upsample.append(self.b, op.tensor, a, b, op.stride, **self.summed(op, a, b))

    def table(self, op: Table, x: Tensor) -> Tensor:
        bits = self.joined if op.into_concat else self.normal_or(x, 8)
        scale = 2.0 ** (1 - bits) if op.function == "tanh" else 2.0 ** (3 - bits) if op.into_concat else x.scale
        self.rms[op.tensor] = self.rms[x.name] * 0.6
        return ops.table.append(self.b, op.tensor, x, op.function, bits=bits, signed=op.function != "relu", scale=scale)

    def keep_tokens(self, op: KeepTokens, x: Tensor, p: Tensor) -> Tensor:
        self.rms[op.tensor] = self.rms[x.name]
        return ops.keep_tokens.append(self.b, op.tensor, x, p, op.keep)

    def first_token(self, op: FirstToken, x: Tensor) -> Tensor:
        self.rms[op.tensor] = self.rms[x.name]
        return ops.first_token.append(self.b, op.tensor, x)

    def token_window(self, op: TokenWindow, x: Tensor) -> Tensor:
        self.rms[op.tensor] = self.rms[x.name]
        return ops.token_window.append(self.b, op.tensor, x, op.kernel, op.dilation, op.stride)

    def window_max(self, op: WindowMax, x: Tensor) -> Tensor:
        self.rms[op.tensor] = self.rms[x.name] * 1.2
        return ops.window_max.append(self.b, op.tensor, x, op.kernel, op.stride)

    def window_mean(self, op: WindowMean, x: Tensor) -> Tensor:
        """Of about the range of what it pools."""
        bits = self.joined if op.into_concat else self.normal_or(x, 8)
        octaves = bits - x.bits  # of the same range
        shift = ops.token_mean.reciprocal_bits(x.bits, op.kernel) - octaves
        self.rms[op.tensor] = self.rms[x.name] * 2.0**octaves * 0.7
        return ops.window_mean.append(self.b, op.tensor, x, op.kernel, op.stride, shift, bits=bits, scale=x.scale * 2.0**-octaves)

    def token_max(self, op: TokenMax, x: Tensor) -> Tensor:
        self.rms[op.tensor] = self.rms[x.name] * 1.5
        return ops.token_max.append(self.b, op.tensor, x)

    def token_mean(self, op: TokenMean, x: Tensor) -> Tensor:
        """On a grid up to four times as fine, or half as fine."""
        bits, octaves = self.joined, self.finer
        shift = ops.token_mean.reciprocal_bits(x.bits, self.b.max_tokens) + octaves
        self.rms[op.tensor] = self.rms[x.name] * 2.0 ** (-1 - octaves)
        return ops.token_mean.append(self.b, op.tensor, x, shift, bits=bits, scale=x.scale * 2.0**octaves)

    def concat(self, op: Concat, a: Tensor, b: Tensor) -> Tensor:
        self.rms[op.tensor] = max(self.rms[a.name], self.rms[b.name])
        return ops.concat.append(self.b, op.tensor, a, b)

    def lstm(self, op: Lstm, x: Tensor) -> Tensor:
        hidden, bits, act, gate = op.hidden, self.joined, int(self.rng.integers(4, 9)), self.pick(self.shape.gate_bits)
        weight_bits = self.pick(self.shape.weight_bits)
        low, high = ops.linear.weight_range(weight_bits)
        weight = self.rng.integers(low, high + 1, (4 * hidden, x.channels + hidden))
        weight = np.where(weight >= 0, 1, -1) if weight_bits == 1 else weight
        size = 2.0 ** (bits - 1) / 3  # of a state
        rms = max(1.0, float(np.sqrt((weight**2).mean())) * math.hypot(math.sqrt(x.channels) * self.rms[x.name], math.sqrt(hidden) * size))
        bias = np.floor(self.rng.normal(0, rms / 2, 4 * hidden) + 0.5).astype(np.int64)
        ratio = 2.0 ** (gate - 1) / 3 / rms * self.rng.uniform(0.6, 1.4, 4 * hidden)
        shift = 15 - math.floor(math.log2(ratio.max()))
        mult = np.clip(np.floor(ratio * 2.0**shift + 0.5), 1, 65535)
        self.rms[op.tensor] = size
        k = ops.lstm.shifts(act, gate, self.pick(self.shape.cell_bits), self.pick((4, 8, 10)), bits)
        how = {"direction": ops.lstm.DIRECTIONS[op.backward], "last": op.last}
        return ops.lstm.append(self.b, op.tensor, x, weight, bias, mult, shift, weight_bits, k, bits=bits, **how)

    def off_ramps(self, op: OffRamps, *logits: Tensor) -> Tensor:
        share, patience = self.shape.exits
        threshold = np.round(share * self.rms[logits[-1].name] * self.rng.uniform(0.5, 1.5, len(logits) - 1))
        return ops.off_ramps.append(self.b, op.tensor, logits, np.clip(threshold, 0, 1 << logits[-1].bits), patience)

    def build(self, network: Network, name: str = "random", meta: dict | None = None) -> Graph:
        """The graph of a network's forward pass; its parameters and bits do not count."""
        made = {key: key for key in INPUTS}
        operators = {step.path: network.get_submodule(step.path) for step in network.steps}
        for step in network.steps:
            op = operators[step.path]
            op.into_concat = _joined(network, operators, step.path)
            op.into_table = any(isinstance(operators[s.path], Table) for s in network.steps if step.path in s.reads)
            inputs = [made[r] for r in step.reads]
            made[step.path] = self.embeddings(op, inputs) if isinstance(op, Embeddings) else RANDOM[type(op)](self, op, *inputs)
        return check(self.b.graph(name, network.outputs(), meta or {}))


RANDOM = {
    FixedContext: RandomEncoder.pattern,
    Border: RandomEncoder.border,
    LayerNorm: RandomEncoder.layernorm,
    Linear: RandomEncoder.linear,
    Scores: RandomEncoder.scores,
    Softmax: RandomEncoder.softmax,
    Context: RandomEncoder.context,
    Add: RandomEncoder.add,
    Table: RandomEncoder.table,
    KeepTokens: RandomEncoder.keep_tokens,
    FirstToken: RandomEncoder.first_token,
    TokenWindow: RandomEncoder.token_window,
    WindowMax: RandomEncoder.window_max,
    WindowMean: RandomEncoder.window_mean,
    TokenMax: RandomEncoder.token_max,
    TokenMean: RandomEncoder.token_mean,
    Upsample: RandomEncoder.upsample,
    Concat: RandomEncoder.concat,
    Lstm: RandomEncoder.lstm,
    OffRamps: RandomEncoder.off_ramps,
}


def _joined(network: Network, operators: dict, path: str) -> bool:
    """A concatenation takes it, or what pools it."""
    readers = [step.path for step in network.steps if path in step.reads]
    passed = (TokenMax, TokenMean, Concat)
    return any(isinstance(operators[r], Concat) or isinstance(operators[r], passed) and _joined(network, operators, r) for r in readers)


def network_of(shape: Shape) -> Network:
    """The encoder of that shape, whatever its weights."""
    width = shape.head_dim or shape.hidden // (shape.heads + len(shape.patterns))
    keys = (shape.keys,) * shape.layers if isinstance(shape.keys, str) else shape.keys
    keeps = shape.keep if isinstance(shape.keep, tuple) else (shape.keep,) * shape.layers
    layer = LayerShape(heads=shape.heads, head_width=width, intermediate=shape.intermediate, activation=shape.activation, patterns=shape.patterns)
    encoder = EncoderShape(
        hidden=shape.hidden,
        embedding=shape.embedding,
        layers=tuple(replace(layer, keys=own, keep=keep) for own, keep in zip(keys, keeps, strict=True)),
        vocabulary=shape.vocabulary,
        positions=shape.max_tokens,
        labels=shape.labels,
        head=shape.head,
        pooler=None if shape.exits else "tanh",
        exits=shape.exits is not None,
        max_tokens=shape.max_tokens,
    )
    return Encoder(encoder).bind(QuantConfig(), shape.max_tokens)


def random_encoder(seed: int = 0, **shape) -> Graph:
    """A checked random graph; keyword arguments are Shape's."""
    s = Shape(**shape)
    meta = {"layers": s.layers, "hidden": s.hidden, "heads": s.heads, "intermediate": s.intermediate, "head": s.head}
    return RandomEncoder(s, seed).build(network_of(s), meta=meta)


def random_network(seed: int, shape: NetworkShape, **bits) -> Graph:
    """A checked random graph of a network of any kind; bits are Shape's."""
    network = build(shape).bind(QuantConfig(), shape.max_tokens)
    return RandomEncoder(Shape(max_tokens=shape.max_tokens, vocabulary=shape.vocabulary, **bits), seed).build(network, meta={"model": shape.about()})


def random_cnn(seed: int = 0, *, max_tokens: int = 16, bits: dict | None = None, **cnn) -> Graph:
    """Of a convolutional network; keyword arguments are CnnShape's."""
    return random_network(seed, CnnShape(vocabulary=50, positions=max_tokens, max_tokens=max_tokens, **cnn), **(bits or {}))


def random_cells(seed: int = 0, *, max_tokens: int = 16, bits: dict | None = None, **cells) -> Graph:
    """Of a network of cells; keyword arguments are CellsShape's."""
    return random_network(seed, CellsShape(vocabulary=50, positions=max_tokens, max_tokens=max_tokens, **cells), **(bits or {}))


def random_hybrid(seed: int = 0, *, max_tokens: int = 16, bits: dict | None = None, layers: int = 1, heads: int = 2, intermediate: int = 20, **own) -> Graph:
    """Of a hybrid one; keyword arguments are HybridShape's, of `layers` alike."""
    layer = LayerShape(heads=heads, head_width=own["hidden"] // heads, intermediate=intermediate)
    shape = HybridShape(layers=(layer,) * layers, vocabulary=50, positions=max_tokens, max_tokens=max_tokens, **own)
    return random_network(seed, shape, **(bits or {}))


def random_hourglass(
    seed: int = 0, *, max_tokens: int = 16, bits: dict | None = None, heads: int = 2, intermediate: int = 20, layers=(1, 1, 0), **own
) -> Graph:
    """Of an hourglass; keyword arguments are HourglassShape's, `layers` those below, in the middle and above."""
    layer = LayerShape(heads=heads, head_width=own["hidden"] // heads, intermediate=intermediate)
    shape = HourglassShape(layers=(layer,) * sum(layers), below=layers[0], middle=layers[1], vocabulary=50, positions=max_tokens, max_tokens=max_tokens, **own)
    return random_network(seed, shape, **(bits or {}))


def random_bilstm(seed: int = 0, *, max_tokens: int = 16, bits: dict | None = None, **bilstm) -> Graph:
    """Of a recurrent one; keyword arguments are BilstmShape's."""
    return random_network(seed, BilstmShape(vocabulary=50, positions=max_tokens, max_tokens=max_tokens, **bilstm), **(bits or {}))


def random_sentences(graph: Graph, lengths, seed: int = 0) -> tuple[list[list[int]], list[list[int]]]:
    """Token and segment ids of sentences of the given lengths."""
    rng = np.random.default_rng(seed)
    words = len(graph.params[f"{graph.entry}.word"])
    ids = [rng.integers(0, words, n).tolist() for n in lengths]
    return ids, [np.sort(rng.integers(0, 2, n)).tolist() for n in lengths]
