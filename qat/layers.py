# SPDX-License-Identifier: Apache-2.0
"""The operators of docs/numerics.md as modules. Each knows its tensor's name and, if rescaled, its accumulator's."""

from __future__ import annotations

import brevitas.nn as qnn
import torch
from bitloom.hw.graph import Tensor as GraphTensor
from bitloom.hw.ops import softmax as softmax_op
from bitloom.hw.ops import table as table_op
from bitloom.qat import functional as F
from bitloom.qat.quantizers import UNSET, ActQuant, BiasQuant, DyadicWeight, Grid, IntegerBias, PowerOfTwoAct, WeightQuant
from torch import Tensor, nn
from torch.nn import functional as TF


def graph_tensor(name: str, grid: Grid, shape: tuple = ("T", 1)) -> GraphTensor:
    """The tensor of the integer graph that a grid describes."""
    return GraphTensor(name=name, shape=shape, bits=grid.bits, signed=grid.signed, scale=2.0**grid.e)


class Linear(qnn.QuantLinear):
    """Brevitas QuantLinear with dyadic weight scales, an integer bias and a rescaled output.

    source   grid of the input
    bits     of the output
    """

    def __init__(
        self,
        name: str,
        source: Grid,
        in_features: int,
        out_features: int,
        *,
        bits: int,
        weight_bits: int,
        narrow: bool,
        acc: str | None = None,
    ):
        weight_quant, grid = WeightQuant(out_features, weight_bits, narrow), ActQuant(bits)
        bias_quant = BiasQuant(weight_quant, source)
        super().__init__(
            in_features,
            out_features,
            bias=True,
            weight_quant=DyadicWeight.let(tensor_quant=weight_quant, narrow_range=narrow),
            bias_quant=IntegerBias.let(tensor_quant=bias_quant),
            output_quant=PowerOfTwoAct.let(tensor_quant=grid, signed=True),
        )
        for proxy in (self.weight_quant, self.bias_quant, self.output_quant):
            proxy.skip_create_quant_tensor = True  # plain tensors between layers: the graph knows the scales
        self.tensor, self.acc = name, acc or f"{name}.acc"
        self._parts = (weight_quant, bias_quant, grid, source)

    weight_grid = property(lambda self: self._parts[0])
    bias_grid = property(lambda self: self._parts[1])
    grid = property(lambda self: self._parts[2])
    source = property(lambda self: self._parts[3])

    @torch.no_grad()
    def copy_from(self, linear: nn.Linear, factor: float = 1.0) -> None:
        """Take over a float layer's weights and bias, times `factor`, and fit the weight scales to them."""
        self.weight.copy_(linear.weight * factor)
        if linear.bias is None:
            self.bias.zero_()
        else:
            self.bias.copy_(linear.bias * factor)
        self.weight_grid.fit(self.weight)


class Requant(qnn.QuantIdentity):
    """Rescale to a new grid: scores and context (shift only) and the residual add.

    factors  grids whose product the accumulator is; empty for the add
    """

    def __init__(self, name: str, bits: int, factors: tuple[Grid, ...] = ()):
        grid = ActQuant(bits, factors=factors)
        super().__init__(act_quant=PowerOfTwoAct.let(tensor_quant=grid, signed=True))
        self.act_quant.skip_create_quant_tensor = True
        self.tensor, self.acc = name, f"{name}.acc" if factors else None
        self._parts = (grid,)

    grid = property(lambda self: self._parts[0])


class LayerNorm(Grid):
    """Integer LayerNorm of a [.., H] stream."""

    def __init__(self, name: str, source: Grid, hidden: int, bits: int, eps: float):
        super().__init__(bits)
        self.tensor, self.eps, self._source = name, eps, (source,)
        self.weight, self.bias = nn.Parameter(torch.ones(hidden)), nn.Parameter(torch.zeros(hidden))

    grid = property(lambda self: self)
    source = property(lambda self: self._source[0])

    def plan(self) -> F.LayerNormPlan:
        return F.layernorm_plan(len(self.weight), self.source.bits, self.source.e, self.bits, self.e, self.eps)

    def integers(self) -> tuple[Tensor, Tensor, int]:
        """Integer gamma and beta, float64 [H], and the shift n."""
        gamma, beta, shift = F.layernorm_affine(self.weight, self.bias, self.e)
        return gamma, beta, int(shift)

    @torch.no_grad()
    def copy_from(self, norm: nn.LayerNorm) -> None:
        self.weight.copy_(norm.weight)
        self.bias.copy_(norm.bias)

    def forward(self, x: Tensor) -> Tensor:
        if self.observer is not None:
            return self.observer(TF.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps))
        return F.layernorm(x, self.weight, self.bias, self.plan())


class Softmax(Grid):
    """Integer softmax over rows of scores."""

    def __init__(self, name: str, source: Grid, bits: int, max_tokens: int):
        super().__init__(bits, signed=False, exponent=-bits)
        self.tensor, self.max_tokens, self._source, self._table = name, max_tokens, (source,), None

    grid = property(lambda self: self)
    source = property(lambda self: self._source[0])

    def plan(self) -> F.SoftmaxPlan:
        return F.softmax_plan(self.source.e, self.source.bits, self.bits, self.max_tokens)

    def forward(self, x: Tensor, real: Tensor | None) -> Tensor:
        if self.observer is not None:
            return torch.softmax(x if real is None else x.masked_fill(~real, -torch.inf), -1)
        key = (self.source.e, x.dtype, x.device)
        if self._table is None or self._table[0] != key:
            entries = softmax_op.exp_table(graph_tensor("", self.source), self.bits)
            self._table = (key, torch.as_tensor(entries).to(x))
        return F.softmax(x, real, self._table[1], self.plan())


SMOOTH = {"gelu": TF.gelu, "relu": torch.relu, "tanh": torch.tanh}


class Table(Grid):
    """A function of one code, by table: GELU, ReLU, tanh."""

    def __init__(self, name: str, function: str, source: Grid, bits: int):
        super().__init__(bits, signed=function != "relu", exponent=1 - bits if function == "tanh" else UNSET)
        self.tensor, self.function, self._source, self._table = name, function, (source,), None

    grid = property(lambda self: self)
    source = property(lambda self: self._source[0])

    def entries(self):
        """Output codes, int64 NumPy [2**bits of the input]."""
        return table_op.entries(self.function, graph_tensor("", self.source), graph_tensor("", self))

    def _tables(self, like: Tensor) -> tuple[Tensor, Tensor]:
        key = (self.source.e, self.e, like.dtype, like.device)
        if self._table is None or self._table[0] != key:
            codes = torch.as_tensor(self.entries())
            x = (torch.arange(self.source.low, self.source.high + 1) * 2.0**self.source.e).double().requires_grad_()
            with torch.enable_grad():
                (slope,) = torch.autograd.grad(SMOOTH[self.function](x).sum(), x)
            exact = SMOOTH[self.function](x.detach()) * 2.0**-self.e
            slope = slope * ((exact >= self.low - 0.5) & (exact <= self.high + 0.5))
            self._table = (key, (codes * 2.0**self.e).to(like), slope.to(like))
        return self._table[1], self._table[2]

    def forward(self, x: Tensor) -> Tensor:
        if self.observer is not None:
            y = SMOOTH[self.function](x)
            return y if self.function == "tanh" else self.observer(y)  # tanh's range is known: -1 .. 1
        return F.table(x, *self._tables(x), self.source.e, self.source.low)


class Embeddings(Grid):
    """word[id] + position[i] + segment[s], three tables on one grid; the sum needs two bits more and no rounding."""

    def __init__(self, name: str, vocabulary: int, positions: int, segments: int, hidden: int, table_bits: int):
        super().__init__(table_bits + 2)
        self.tensor, self.table_bits = name, table_bits
        self.word = nn.Parameter(torch.empty(vocabulary, hidden).normal_(std=0.02))
        self.position = nn.Parameter(torch.empty(positions, hidden).normal_(std=0.02))
        self.segment = nn.Parameter(torch.empty(segments, hidden).normal_(std=0.02))

    grid = property(lambda self: self)

    def observed_range(self) -> tuple[int, int]:
        return F.code_range(self.table_bits, True)  # an observer is shown the addends

    def quantize_rows(self, rows: Tensor) -> Tensor:
        return F.quantize(rows, self.e, *F.code_range(self.table_bits, True))

    def forward(self, ids: Tensor, segments: Tensor) -> Tensor:
        word, position = TF.embedding(ids, self.word), self.position[: ids.shape[1]]
        if self.observer is not None:
            addends = word, position.expand_as(word), TF.embedding(segments, self.segment)
            return sum(self.observer(addend) for addend in addends)
        rows = self.quantize_rows(word)
        return rows + self.quantize_rows(position) + TF.embedding(segments, self.quantize_rows(self.segment))
