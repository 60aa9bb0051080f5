# SPDX-License-Identifier: Apache-2.0
"""The operators of docs/numerics.md as modules, but for those of attention: the leaves of a network's forward pass."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as TF

from bitloom.hw import ops
from bitloom.hw.graph import GraphBuilder
from bitloom.hw.graph import Tensor as GraphTensor
from bitloom.qat import functional as F
from bitloom.qat.brevitas import qnn
from bitloom.qat.net.operator import EXACT_BITS, MARKED, OF_WEIGHTS, Bits, Operator, Rescaled, graph_tensor, integers
from bitloom.qat.quantizers import SPARE_BITS, ActQuant, BiasQuant, Grid, IntegerBias, PowerOfTwoAct
from bitloom.qat.weights import quantizer, require_rounded
from bitloom.qat.weights.codebook import Coding
from bitloom.qat.weights.dyadic import Dyadic, DyadicWeight, WeightQuant

LOGIT_BITS = 16


class Linear(Operator, qnn.QuantLinear):
    """Brevitas QuantLinear with dyadic weight scales, an integer bias and a rescaled output.

    bits   of the output; None: the setting `activations`
    name, acc  names of the tensors where they are not the module's path
    """

    def __init__(self, in_features: int, out_features: int, *, bits: int | None = None, acc: str | None = None):
        weight_quant, grid = WeightQuant(out_features), ActQuant(bits or 8)
        bias_quant = BiasQuant(weight_quant, grid)
        super().__init__(
            in_features,
            out_features,
            bias=True,
            weight_quant=DyadicWeight.let(tensor_quant=weight_quant),
            bias_quant=IntegerBias.let(tensor_quant=bias_quant),
            output_quant=PowerOfTwoAct.let(tensor_quant=grid, signed=True),
        )
        for proxy in (self.weight_quant, self.bias_quant, self.output_quant):
            proxy.skip_create_quant_tensor = True  # plain tensors between layers: the graph knows the scales
        self.fixed_bits, self.acc_name = bits, acc
        self._parts = (weight_quant, bias_quant, grid)

    weight_grid = property(lambda self: self._parts[0])
    bias_grid = property(lambda self: self._parts[1])
    grid = property(lambda self: self._parts[2])

    @property
    def settings(self) -> frozenset[str]:
        output = {"activations", "activation_scales"} if self.fixed_bits is None else set()
        return frozenset(OF_WEIGHTS | output | ({"residual"} if self.adds_only else set()))

    def configure(self, bits: Bits) -> None:
        name = self.tensor
        self.acc = self.acc_name or f"{name}.acc"
        coding, width, narrow = bits.coding(name), bits.of(name, "weights"), bits.of(name, "weight_range") == "narrow"
        coding.check(name, width, narrow, (self.out_features, self.in_features))
        if "learned_rounding" in bits.quant.post_training:
            require_rounded(name, coding, width)
        self._code_weights(coding)
        self.weight_grid.configure(width, narrow)
        if self.fixed_bits is None:
            self.grid.configure(bits.residual(name, projection=True) if self.adds_only else bits.of(name, "activations"))
        self.bias_grid.sources, self.weight_grid.rescaled = self._sources, (self,)

    def _code_weights(self, coding: Coding | Dyadic) -> None:
        """Take the quantizer of that coding, where the weights have another."""
        if coding == self.weight_grid.coding:
            return
        quant = quantizer(self.out_features, self.in_features, coding)
        self.weight_quant.quant_injector = self.weight_quant.quant_injector.let(tensor_quant=quant)
        self.weight_quant.init_tensor_quant()
        self._parts = (quant, *self._parts[1:])
        self.bias_grid.take(quant)
        self.weight.requires_grad_(not coding.kept)

    def weight_exponents(self) -> tuple[int, int] | tuple[()]:
        """For `snap_scale`: the least scale and the coarsest exponent whose shift to the output is one that `requant` has.

        The least scale has the largest shift n with a mantissa m of 2**15. Products with it are far below the output's rounding, and the
        bias times m, within 2**n times SPARE_BITS more than the output, is exact in float64.
        Empty while the scales are still being looked for.
        """
        source = self._sources[0].grid
        if source.observer is not None or not (source.calibrated and self.grid.calibrated):
            return ()
        even, shift = self.grid.e - source.e, min(ops.requant.SHIFT_MAX, EXACT_BITS - SPARE_BITS - self.grid.bits)
        return even - shift + F.MANTISSA_BITS - 1, even

    def least_exponents(self) -> Iterator[tuple[Grid, int]]:
        yield self.grid, self.source.e + int(F.snap_scale(self.weight_grid.log_scale)[1])

    @torch.no_grad()
    def revive(self) -> None:
        """Weights that are all zero have no scale of their own: take one that suits the output.

        Their accumulator is then 8 bits finer than the output, for the bias; 24 bits with weights of one bit, which cannot be 0, so that
        all of them together stay below its rounding.
        """
        if not self.weight.any():
            finer = 24 if self.weight_grid.bits == 1 else 8
            self.weight_grid.log_scale.fill_(math.log(2.0) * (self.grid.e - self.source.e - finer))

    @torch.no_grad()
    def copy_from(self, linear: nn.Linear, factor: float = 1.0) -> None:
        """Take over a float layer's weights and bias, times `factor`, and fit the weight scales to them."""
        self.weight.copy_(linear.weight * factor)
        if linear.bias is None:
            self.bias.zero_()
        else:
            self.bias.copy_(linear.bias * factor)
        self.weight_grid.fit(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        return TF.linear(x, self.weight, self.bias) if self.grid.plain else qnn.QuantLinear.forward(self, x)

    def append(self, b: GraphBuilder, inputs: list[GraphTensor]) -> GraphTensor:
        """n = e_y - e_x - e_w, m the mantissas of the weight scales."""
        weight, bias = integers(self.weight_grid.codes(self.weight)), integers(self.bias_grid.codes(self.bias))
        book = self.weight_grid.book()
        acc = ops.linear.append(b, self.acc, inputs[0], weight, bias, self.weight_grid.bits, None if book is None else integers(book))
        shift, grid = self.grid.e - self.source.e - int(self.weight_grid.snapped()[1]), self.grid
        return ops.requant.append(b, self.tensor, acc, integers(self.weight_grid.multipliers()), shift, bits=grid.bits, signed=grid.signed, scale=2.0**grid.e)

    def units(self) -> dict[str, Tensor | float]:
        return {self.acc: self.bias_grid.scale()}

    @property
    def rescaling(self) -> nn.Module:
        return self.output_quant


class Add(Rescaled):
    """A residual sum."""

    settings = frozenset({"residual", "activation_scales"})

    def configure(self, bits: Bits) -> None:
        self.grid.configure(bits.residual(self.tensor))

    def least_exponents(self) -> Iterator[tuple[Grid, int]]:
        finer, coarser = sorted((source.grid for source in self._sources), key=lambda grid: grid.e)
        yield self.grid, coarser.e - ops.add.MULT_BITS
        yield finer, max(coarser.e - ops.add.MULT_BITS, self.grid.e - ops.add.SHIFT_MAX)
        yield coarser, self.grid.e - ops.add.SHIFT_MAX

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.rescale(a + b)

    def append(self, b: GraphBuilder, inputs: list[GraphTensor]) -> GraphTensor:
        return ops.add.append(b, self.tensor, *inputs, **self.factors(inputs))

    def factors(self, inputs: list[GraphTensor]) -> dict[str, int | float]:
        """Of the node: multipliers, shift, bits and scale."""
        scale = 2.0**self.grid.e
        mult_a, mult_b, shift = ops.add.rescale(*inputs, scale)
        return {"mult_a": mult_a, "mult_b": mult_b, "shift": shift, "bits": self.grid.bits, "scale": scale}


class LayerNorm(Operator, Grid):
    """Integer LayerNorm of a [.., H] stream."""

    settings = frozenset({"activations", "activation_scales"})

    def __init__(self, hidden: int, eps: float):
        super().__init__(8)
        self.eps = eps
        self.weight, self.bias = nn.Parameter(torch.ones(hidden)), nn.Parameter(torch.zeros(hidden))

    grid = property(lambda self: self)

    def configure(self, bits) -> None:
        Grid.configure(self, bits.of(self.tensor, "activations"))

    def least_exponents(self) -> Iterator[tuple[Grid, int]]:
        yield self.source, ops.layernorm.finest(len(self.weight), self.source.bits, self.eps)
        top = float(self.weight.detach().abs().max())
        yield self, math.frexp(top)[1] - 11 - ops.layernorm.FRAC_BITS if top else self.e  # else shift n is below 0

    def plan(self) -> F.LayerNormPlan:
        return F.layernorm_plan(len(self.weight), self.source.bits, self.source.e, self.bits, self.e, self.eps)

    @torch.no_grad()
    def copy_from(self, norm: nn.LayerNorm) -> None:
        self.weight.copy_(norm.weight)
        self.bias.copy_(norm.bias)

    def forward(self, x: Tensor) -> Tensor:
        if self.observer is not None:
            return self.observer(TF.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps))
        return F.layernorm(x, self.weight, self.bias, self.plan(), self.learned_scale())

    def append(self, b: GraphBuilder, inputs: list[GraphTensor]) -> GraphTensor:
        gamma, beta, shift = F.layernorm_affine(self.weight, self.bias, self.e)
        codes = integers(gamma), integers(beta)
        return ops.layernorm.append(b, self.tensor, inputs[0], *codes, eps=self.plan().eps, shift=int(shift), bits=self.bits, scale=2.0**self.e)


class Table(Operator, Grid):
    """A function of one code, by table: GELU, ReLU, tanh and their like.

    function  of hw/ops/table.py; name: of the tensor where it is not the module's path
    """

    def __init__(self, function: str, name: str | None = None):
        super().__init__(8, signed=function != "relu")
        self.function, self.name, self._table = function, name, None
        self.settings = frozenset({"activations"} | ({"activation_scales"} if function != "tanh" else set()))

    grid = property(lambda self: self)

    def configure(self, bits) -> None:
        Grid.configure(self, bits.of(self.tensor, "activations"))
        self._table = None  # of other widths
        if self.function == "tanh":  # its range is known: -1 .. 1
            self.set_exponent(1 - self.bits)

    def entries(self) -> np.ndarray:
        """Output codes, int64 [2**bits of the input]."""
        return ops.table.entries(self.function, graph_tensor("", self.source), graph_tensor("", self))

    def _tables(self, like: Tensor) -> F.Entries:
        key = (self.source.e, self.e, like.dtype, like.device)
        if self._table is None or self._table[0] != key:
            codes = torch.as_tensor(self.entries())
            x = (torch.arange(self.source.low, self.source.high + 1) * 2.0**self.source.e).double().requires_grad_()
            smooth = F.SMOOTH[self.function]
            with torch.enable_grad():
                (slope,) = torch.autograd.grad(smooth(x).sum(), x)
            exact = smooth(x.detach()) * 2.0**-self.e
            inside = (exact >= self.low - 0.5) & (exact <= self.high + 0.5)
            found = codes * 2.0**self.e, slope * inside, codes - exact * inside
            self._table = (key, F.Entries(*(values.to(like) for values in found)))
        return self._table[1]

    def forward(self, x: Tensor) -> Tensor:
        if self.observer is not None:
            y = F.SMOOTH[self.function](x)
            return y if self.function == "tanh" else self.observer(y)
        return F.table(x, self._tables(x), self.source.e, self.source.low, (2.0**self.e, self.high), self.learned_scale())

    def append(self, b: GraphBuilder, inputs: list[GraphTensor]) -> GraphTensor:
        return ops.table.append(b, self.tensor, inputs[0], self.function, bits=self.bits, signed=self.signed, scale=2.0**self.e)


class Embeddings(Operator, Grid):
    """word[id] + position[i] + segment[s], three tables on one grid; the sum needs two bits more and no rounding.

    marked  what the host sends tells the tokens' segments too (hw/ops/border.py): the sums' codes come behind a rescaling
    """

    settings = frozenset({"embeddings"})

    def __init__(self, vocabulary: int, positions: int, segments: int, hidden: int, marked: bool = False):
        super().__init__(8 + 2)
        self.marked, self.rescaling = marked, Unmark() if marked else None
        self.word = nn.Parameter(torch.empty(vocabulary, hidden).normal_(std=0.02))
        self.position = nn.Parameter(torch.empty(positions, hidden).normal_(std=0.02))
        self.segment = nn.Parameter(torch.empty(segments, hidden).normal_(std=0.02))

    grid = property(lambda self: self)

    def configure(self, bits) -> None:
        self.table_bits = bits.of(self.tensor, "embeddings")
        Grid.configure(self, self.table_bits + 2)

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
        sums = rows + self.quantize_rows(position) + TF.embedding(segments, self.quantize_rows(self.segment))
        if not self.marked:
            return sums
        marks = segments.clamp(max=1)[..., None] * 2.0 ** (self.e - 1)
        return self.rescaling(sums - marks, marks)

    def units(self) -> dict[str, Tensor | float]:
        return {MARKED: 2.0 ** (self.e - 1)} if self.marked else {}

    def append(self, b: GraphBuilder, inputs: list[str]) -> GraphTensor:
        tables = (integers(self.quantize_rows(table.double()) * 2.0**-self.e) for table in (self.word, self.position, self.segment))
        if not self.marked:
            return ops.embed.append(b, self.tensor, inputs, *tables, bits=self.bits, scale=2.0**self.e)
        sums = ops.embed.append(b, MARKED, inputs, *ops.border.marked(*tables), bits=self.bits + 1, scale=2.0 ** (self.e - 1))
        return ops.requant.append(b, self.tensor, sums, np.ones(1, dtype=np.int64), 1, bits=self.bits, scale=2.0**self.e)


class Unmark(nn.Module):
    """Sums of embeddings from marked ones: half an LSB back where there is a mark."""

    def forward(self, marked: Tensor, marks: Tensor) -> Tensor:
        return marked + marks


class FirstToken(Operator, nn.Module):
    """The sentence's first token, as it is."""

    grid = property(lambda self: self._sources[0].grid)

    def forward(self, x: Tensor, real: Tensor | None = None) -> Tensor:
        """[B, T, C] -> [B, C]; real: for nothing, as the first one always is, but other poolings ask"""
        return x[:, 0]

    def append(self, b: GraphBuilder, inputs: list[GraphTensor]) -> GraphTensor:
        return ops.first_token.append(b, self.tensor, inputs[0])
